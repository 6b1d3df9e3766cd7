"""
The build fails where the fast path asks for a name that nothing declares (``scripts/declared_names.py``).

Cython takes such a name for Python's: a typo would be an AttributeError in the middle of a request.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
DECLARED = """
cdef class Taker:
    cdef int size
    cdef object kept
    cpdef int take(self, int count) except -1
"""
TAKER = '''
import os


cdef class Taker:
    """Takes."""

    cpdef int take(self, int count) except -1:
        """So many."""
        self.size += count
        return self.size

    def word(self) -> str:
        """Of this module: declared, too."""
        return os.strerror(self.size)
'''
USER = """
from wsproxy._fast.taker cimport Taker


def use(Taker taker, bytes text, list names) -> object:
    taker.size = taker.take(1)
    return {line}
"""


def build(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Builds a tree of two modules, of which the second has ``line``, as ``make build`` does."""
    fast = folder / "wsproxy" / "_fast"
    fast.mkdir(parents=True)
    for package in (fast.parent, fast):
        (package / "__init__.py").touch()
    (fast / "taker.pxd").write_text(DECLARED)
    (fast / "taker.pyx").write_text(TAKER)
    (fast / "user.pyx").write_text(USER.format(line=line))
    (folder / "scripts").mkdir()
    shutil.copy(PROJECT / "setup.py", folder)
    shutil.copy(PROJECT / "scripts" / "declared_names.py", folder / "scripts")
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("taker.width", "found taker.width; allowed is a name that Taker declares"),
        ("taker.taek(1)", "found taker.taek; allowed is a name that Taker declares, such as take"),
        ("taker.word()", "found taker.word; allowed is a name that Taker declares"),
        (
            "taker.kept.size",
            "found taker.kept.size of an object without a type; allowed is a typed",
        ),
        ("names[0].size", "found (...).size of an object without a type; allowed is a typed one"),
        (
            "text.strip().lowre()",
            "found (...).lowre; allowed is a name that bytes has, such as lower",
        ),
        ("getattr(taker, 'size')", "found getattr(); allowed is an attribute of a typed object"),
    ],
    ids=["attribute", "method", "method-not-in-pxd", "object-field", "item", "bytes", "getattr"],
)
def test_a_name_that_nothing_declares_fails_the_build(
    tmp_path: Path, line: str, complaint: str
) -> None:
    done = build(tmp_path, line)
    assert done.returncode != 0
    places = re.findall(r"^(wsproxy/\S+?):(\d+):\d+: (found .*)", done.stderr, re.MULTILINE)
    assert [(source, number) for source, number, _ in places] == [("wsproxy/_fast/user.pyx", "7")]
    assert places[0][2].startswith(complaint)
    assert not list(tmp_path.rglob("*.so"))


def test_declared_names_are_built(tmp_path: Path) -> None:
    """What the failures above stand on."""
    done = build(tmp_path, "taker.take(len(text.strip().lower()) + len(names))")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wsproxy").rglob("*.so"))) == 2
