"""Cython reads each ``.pxd`` once (``scripts/pxd_once.py``), and the compiler Python's headers, if it can (``setup.py``)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
# `top` asks for `bottom` through `middle` only, and all have something of their own and of others in their .pxd. One is for some
# versions of Cython only.
SOURCES = {
    "bottom.pxd": "cdef class Bottom:\n    cdef int size\n\ncdef inline int twice(int value) noexcept:\n    return value * 2\n",
    "bottom.pyx": "cdef class Bottom:\n    def __cinit__(self, int size):\n        self.size = size\n",
    "middle.pxd": "from wsproxy._fast.bottom cimport Bottom, twice\n\ncdef class Middle(Bottom):\n    cdef int doubled(self) noexcept\n",
    "middle.pyx": "cdef class Middle(Bottom):\n    cdef int doubled(self) noexcept:\n        return twice(self.size)\n",
    "for_one.cython-30.pxd": "cdef inline int half(int value) noexcept:\n    return value // 2\n",
    "top.pyx": (
        "from wsproxy._fast.for_one cimport half\nfrom wsproxy._fast.middle cimport Middle\n\n"
        "def answer():\n    return (<Middle>Middle(half(42))).doubled()\n"
    ),
}


def build(folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """What ``make build`` does, with these files and variables of the environment otherwise."""
    fast = folder / "wsproxy" / "_fast"
    fast.mkdir(parents=True, exist_ok=True)
    for package in (fast.parent, fast):
        (package / "__init__.py").touch()
    for name, text in SOURCES.items():
        (fast / name).write_text(text)
    (fast / "bottom.pxd").write_text(changes.pop("bottom", SOURCES["bottom.pxd"]))
    shutil.copytree(PROJECT / "scripts", folder / "scripts", dirs_exist_ok=True)
    text = (PROJECT / "setup.py").read_text()
    assert "WORTH_IT = 8 " in text
    (folder / "setup.py").write_text(text.replace("WORTH_IT = 8 ", "WORTH_IT = 0 "))
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, **changes},
        text=True,
        capture_output=True,
        check=False,
    )


def answer(folder: Path) -> str:
    """What the modules say that were built."""
    words = "import wsproxy._fast.top as top; print(top.answer())"
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=folder, text=True, capture_output=True, check=False
    )
    return done.stdout.strip() or done.stderr


def test_a_mistake_in_a_pxd_fails_the_build_once(tmp_path: Path) -> None:
    """It is said once, not by each module that asks for the file; put right, all is built."""
    wrong = SOURCES["bottom.pxd"].replace("cdef int size", "cdef itn size")
    done = build(tmp_path, bottom=wrong)
    assert done.returncode != 0
    assert done.stderr.count("bottom.pxd:2:9: 'itn' is not a type identifier") == 1
    assert not list(tmp_path.rglob("*.so"))

    assert build(tmp_path).returncode == 0
    assert answer(tmp_path) == "42"


@pytest.mark.parametrize(
    ("refused", "has_read_ahead"),
    [("c-header", False), ("--version", False), ("no such flag", True)],
)
def test_a_compiler_that_reads_no_headers_ahead_will_do(
    tmp_path: Path, refused: str, has_read_ahead: bool
) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text(f'#!/bin/sh\ncase "$*" in *"{refused}"*) exit 1;; esac\nexec gcc "$@"\n')
    compiler.chmod(0o755)
    done = build(tmp_path, CC=str(compiler))
    assert done.returncode == 0, done.stderr
    assert bool(list(tmp_path.rglob("*.gch"))) == has_read_ahead
    assert answer(tmp_path) == "42"
