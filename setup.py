"""Builds the compiled twins. Everything else about the distribution is in pyproject.toml.

A twin is ``_name_c.pyx`` beside ``_name_py.py``; every one under ``sidecar/`` is found by its name, so a new twin
needs no line here. The extensions are optional: where no C compiler is at hand the build goes on without them and
the Python twins serve. Cython itself runs before the compiler does, so a mistake in a ``.pyx`` still fails the build.
"""

from __future__ import annotations

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup


def twins() -> list[Extension]:
    sources = sorted(Path("sidecar").rglob("_*_c.pyx"))
    return [
        Extension(".".join(source.with_suffix("").parts), [str(source)], extra_compile_args=["-O2"], optional=True)
        for source in sources
    ]


setup(ext_modules=cythonize(twins(), build_dir="build/cython", compiler_directives={"language_level": "3"}))
