from __future__ import annotations

import sidecar
from sidecar.__main__ import main


def test_the_program_answers(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sidecar {sidecar.__version__}\n"
