from __future__ import annotations

from sidecar.cli.parse import dispatch
from tests.support.guest import Guest
from tests.support.runtime import write_config


def test_the_plan_of_a_good_one_goes_to_stdout(tmp_path, capfd):
    (tmp_path / "probe.wasm").write_bytes(Guest().on("proxy_on_request_headers").binary())
    text = "plugins:\n  - {name: probe, path: probe.wasm, priority: 7}\n"
    text += "routes:\n  - {id: a, path: /a/*, methods: [GET], upstream: app, plugins: []}\n"
    path = write_config(tmp_path, text, port=2001, app=2002)
    assert dispatch(["validate", "-c", str(path)]) == 0
    out = capfd.readouterr().out.splitlines()
    assert "listener inbound: inbound on 127.0.0.1:2001, unmatched to app" in out
    assert "plugin probe: priority 7, both, on_request_headers" in out
    assert "route a: both GET /a/* to app; no plugins" in out
    assert out[-1] == "the configuration is valid"


def test_every_mistake_is_told_at_once_with_file_and_line(tmp_path, capfd):
    path = write_config(tmp_path, "nonsense: 1\nlimits: {header_count: many}\n")
    lines = len(path.read_text().splitlines())
    assert dispatch(["validate", "-c", str(path)]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"{path}:{lines - 1}", f"{path}:{lines}"]


def test_every_plugin_is_started_and_each_failure_told(tmp_path, capfd):
    (tmp_path / "good.wasm").write_bytes(Guest().binary())
    (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0nonsense")
    (tmp_path / "no.wasm").write_bytes(Guest().on("proxy_on_configure", result=0).binary())
    names = ("bad", "good", "no")
    text = "plugins:\n" + "".join(f"  - {{name: {name}, path: {name}.wasm}}\n" for name in names)
    path = write_config(tmp_path, text)
    assert dispatch(["validate", "-c", str(path)]) == 1
    problems = [line for line in capfd.readouterr().err.splitlines() if line.startswith(str(path))]
    assert [line.split(": ")[1] for line in problems] == ["plugins[0]", "plugins[2]"]


def test_one_that_may_be_absent_is_named_in_the_plan(tmp_path, capfd):
    (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0nonsense")
    text = "plugins:\n  - {name: bad, path: bad.wasm, on_failure: {load: open}}\n"
    assert dispatch(["validate", "-c", str(write_config(tmp_path, text))]) == 0
    assert "plugin bad: absent, traffic passes" in capfd.readouterr().out


def test_plugins_are_looked_at_though_something_else_is_wrong(tmp_path, capfd):
    (tmp_path / "bad.wasm").write_bytes(b"\0asm\1\0\0\0nonsense")
    text = "plugins:\n  - {name: gone, path: gone.wasm}\n  - {path: bad.wasm}\n  - {name: bad, path: bad.wasm}\n"
    path = write_config(tmp_path, text + "nonsense: 1\n")
    assert dispatch(["validate", "-c", str(path)]) == 1
    problems = [line for line in capfd.readouterr().err.splitlines() if line.startswith(str(path))]
    places = [line.split(": ")[1] for line in problems]
    assert places == ["plugins[0].path", "plugins[1].name", "plugins[2]", "nonsense"]


def test_a_fragment_may_name_plugins_that_are_not_there_yet(tmp_path, capfd):
    path = tmp_path / "part.yaml"
    path.write_text("plugins:\n  - {name: later, path: later.wasm}\n")
    assert dispatch(["validate", "-c", str(path)]) == 0
    assert "warning: " in capfd.readouterr().err
