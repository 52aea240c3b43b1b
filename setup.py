"""Builds what is compiled. Everything else about the distribution is in pyproject.toml.

Two kinds of compiled code, both optional:

* a *twin* is ``_name_c.pyx`` beside ``_name_py.py``: Cython, found by its name;
* the modules named in ``sidecar/compiled.py`` are ordinary ones that mypyc turns into C from their annotations. They
  have no twin: the same file is what runs where they are not compiled (docs/adr/0003-typed-modules.md).

Where no C compiler (or no Python headers) is at hand the build goes on without them and Python runs the sources.
Everything else fails it: Cython's and mypyc's own errors, and code that a working compiler rejects.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = runpy.run_path("sidecar/compiled.py")["SOURCES"]


def can_compile() -> bool:
    """Whether this machine turns a file that includes Python.h into an object."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text("#include <Python.h>\n", encoding="ascii")
        command = [*compiler, f"-I{sysconfig.get_path('include')}", "-c", str(probe), "-o", f"{folder}/probe.o"]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def twins() -> list[Extension]:
    sources = sorted(Path("sidecar").rglob("_*_c.pyx"))
    return [
        Extension(".".join(source.with_suffix("").parts), [str(source)], extra_compile_args=["-O2"])
        for source in sources
    ]


def typed() -> list[Extension]:
    from mypyc.build import mypycify

    said = io.StringIO()
    try:
        # mypyc tells of what it takes for slow or unusual; that is of interest only when it fails.
        with contextlib.redirect_stdout(said):
            # Under a name of ours, the group's library lies in the package and goes wherever that goes.
            return mypycify(list(SOURCES), opt_level="2", target_dir="build/mypyc", group_name="sidecar.typed")
    except SystemExit:
        sys.stderr.write(said.getvalue())
        raise


# Cython runs in any case, so that its errors never hide behind a missing compiler.
compilable = cythonize(twins(), build_dir="build/cython", compiler_directives={"language_level": "3"})
wanted = os.environ.get("SIDECAR_PURE") != "1" and can_compile()
setup(ext_modules=[*compilable, *typed()] if wanted else [])
