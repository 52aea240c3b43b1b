"""A container engine for the length of a test module: in a network namespace of its own, without a registry.

``nsenter`` and not ``ip netns exec``: the latter mounts a fresh /sys over the control groups that the engine needs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
"""The Debian whose Python is ours, so that wheels made here serve in a base made of it."""
PACKAGES = "python3,ca-certificates,iproute2"
START_SECONDS = 60
BASE = "loom-base:test"
IMAGE = "loom-sidecar:test"
"""As scripts/build_image and examples/compose take them from the environment."""


class Engine:
    """Commands of the engine, against the daemon of this test alone."""

    def __init__(self, socket: Path) -> None:
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"}
        self.environment |= {"BASE": BASE, "IMAGE": IMAGE}

    def run(self, *arguments: str, timeout: float = 120) -> str:
        """What ``docker ARGUMENTS`` prints; :class:`AssertionError` with both its streams when it fails."""
        done = self.try_run(*arguments, timeout=timeout)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def try_run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    def import_base(self, folder: Path, tag: str) -> None:
        """Makes a base system with Python and imports it as image ``tag``."""
        suite = SUITES.get(sys.version_info[:2])
        assert suite is not None, f"no Debian release is known to have Python {sys.version_info[:2]}"
        root = folder / "rootfs"
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite, str(root)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert made.returncode == 0, f"debootstrap: {made.stdout[-2000:]}\n{made.stderr[-2000:]}"
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
            command = ["docker", "import", "-", tag]
            subprocess.run(command, env=self.environment, stdin=archive.stdout, capture_output=True, check=True)


@contextmanager
def container_engine() -> Iterator[Engine]:
    """Starts the daemon, waits until it answers, and takes everything away again."""
    namespace = f"loom-engine-{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="loom-engine-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        subprocess.run(["ip", "netns", "add", namespace], check=True)
        try:
            subprocess.run(["ip", "-n", namespace, "link", "set", "lo", "up"], check=True)
            with (folder / "log").open("wb") as log:
                command = ["nsenter", f"--net=/run/netns/{namespace}", "dockerd", "--storage-driver", "overlay2"]
                command += ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
                command += ["-H", f"unix://{folder}/sock", "-p", f"{folder}/pid"]
                daemon = subprocess.Popen(command, stdout=log, stderr=log)
            try:
                yield _answering(Engine(folder / "sock"), daemon, folder / "log")
            finally:
                daemon.terminate()
                try:
                    daemon.wait(30)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
        finally:
            subprocess.run(["ip", "netns", "del", namespace], check=False)


def _answering(engine: Engine, daemon: subprocess.Popen[bytes], log: Path) -> Engine:
    deadline = time.monotonic() + START_SECONDS
    while engine.try_run("info").returncode != 0:
        ended = daemon.poll() is not None
        assert not ended and time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.2)  # the daemon says nowhere else that it is up
    return engine
