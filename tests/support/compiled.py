"""
Cython modules of the tests themselves: what must be handed to the fast path as its own kind of object.

Compiled when first asked for, into ``build/tests``, again where they or a ``.pxd`` of the fast path changed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension  # type: ignore[import-untyped]
from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "tests"


def compiled(name: str) -> ModuleType:
    """``tests/support/<name>.pyx`` as a module."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process may want the same
        built = _build(name)
    spec = importlib.util.spec_from_file_location(name, built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _build(name: str) -> Path:
    extension = Extension(
        name, [f"tests/support/{name}.pyx"], extra_compile_args=["-O1", "-g0", "-w"]
    )
    (made,) = cythonize(  # type: ignore[no-untyped-call]
        [extension],
        language_level=3,
        build_dir=str(FOLDER),
        include_path=[str(ROOT)],
        quiet=True,
        compiler_directives={"nonecheck": False, "binding": False},
    )
    command = build_ext(Distribution({"ext_modules": [made]}))
    command.build_lib = command.build_temp = str(FOLDER)
    command.ensure_finalized()
    command.run()
    return Path(command.get_ext_fullpath(name))
