"""Builds the compiled twins. Everything else about the distribution is in pyproject.toml.

A twin is ``_name_c.pyx`` beside ``_name_py.py``; every one under ``sidecar/`` is found by its name, so a new twin
needs no line here. Where no C compiler (or no Python headers) is at hand the build goes on without them and the Python
twins serve. Everything else fails it: Cython's own errors, and code that a working compiler rejects.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


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


# Cython runs in any case, so that its errors never hide behind a missing compiler.
compilable = cythonize(twins(), build_dir="build/cython", compiler_directives={"language_level": "3"})
setup(ext_modules=compilable if can_compile() else [])
