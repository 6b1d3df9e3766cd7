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
"""
USE = """

def use_{at}(Taker taker, bytes text, list names) -> object:
    taker.size = taker.take(1)
    return {line}
"""
COMPLAINTS = {
    "attribute": (
        "taker.width",
        "found taker.width; allowed is a name that Taker declares",
    ),
    "method": (
        "taker.taek(1)",
        "found taker.taek; allowed is a name that Taker declares, such as take",
    ),
    "method-not-in-pxd": (
        "taker.word()",
        "found taker.word; allowed is a name that Taker declares",
    ),
    "object-field": (
        "taker.kept.size",
        "found taker.kept.size of an object without a type; allowed is a typed",
    ),
    "item": (
        "names[0].size",
        "found (...).size of an object without a type; allowed is a typed one",
    ),
    "bytes": (
        "text.strip().lowre()",
        "found (...).lowre; allowed is a name that bytes has, such as lower",
    ),
    "getattr": (
        "getattr(taker, 'size')",
        "found getattr(); allowed is an attribute of a typed object",
    ),
}


def build(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """Builds a tree of two modules, of which the second has these lines, a function each, as ``make build`` does."""
    fast = folder / "wsproxy" / "_fast"
    fast.mkdir(parents=True)
    for package in (fast.parent, fast):
        (package / "__init__.py").touch()
    (fast / "taker.pxd").write_text(DECLARED)
    (fast / "taker.pyx").write_text(TAKER)
    uses = [USE.format(at=at, line=line) for at, line in enumerate(lines)]
    (fast / "user.pyx").write_text("".join([USER, *uses]))
    (folder / "scripts").mkdir()
    shutil.copy(PROJECT / "setup.py", folder)
    for script in ("declared_names.py", "pxd_once.py"):
        shutil.copy(PROJECT / "scripts" / script, folder / "scripts")
    return subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, str]]]:
    """One build with all that is wrong, as each takes seconds: its folder, and its complaints with the line each is about."""
    folder = tmp_path_factory.mktemp("names")
    done = build(folder, *[line for line, _ in COMPLAINTS.values()])
    assert done.returncode != 0
    source = (folder / "wsproxy" / "_fast" / "user.pyx").read_text().splitlines()
    places = re.findall(r"^wsproxy/_fast/user.pyx:(\d+):\d+: (found .*)", done.stderr, re.MULTILINE)
    assert done.stderr.count(": found ") == len(places)
    return folder, [(source[int(number) - 1], complaint) for number, complaint in places]


@pytest.mark.parametrize(("line", "complaint"), COMPLAINTS.values(), ids=COMPLAINTS)
def test_a_name_that_nothing_declares_fails_the_build(
    refused: tuple[Path, list[tuple[str, str]]], line: str, complaint: str
) -> None:
    folder, complaints = refused
    found = [words for source, words in complaints if source == f"    return {line}"]
    assert len(found) == 1
    assert found[0].startswith(complaint)
    assert len(complaints) == len(COMPLAINTS)
    assert not list(folder.rglob("*.so"))


def test_declared_names_are_built(tmp_path: Path) -> None:
    """What the failures above stand on."""
    done = build(tmp_path, "taker.take(len(text.strip().lower()) + len(names))")
    assert done.returncode == 0, done.stderr
    made = {path.name.partition(".")[0] for path in (tmp_path / "wsproxy").rglob("*.so")}
    assert made == {"taker", "user", "shared"}
