"""``setup.py``: what is built again, and what is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[3]
MODULES = ("first", "second")


def build(folder: Path) -> dict[str, int]:
    """What ``make build`` does; when each C file and each library was written."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = [*folder.rglob("*.so"), *folder.rglob("wsproxy/_fast/*.c")]
    return {path.name.partition(".")[0] + path.suffix: path.stat().st_mtime_ns for path in made}


def newer(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """What was written in between."""
    assert before.keys() == after.keys()
    return {name for name in after if after[name] != before[name]}


def test_a_change_of_flags_builds_again_what_it_is_about(tmp_path: Path) -> None:
    """One module with another compiler level is compiled again, all are where Cython is told something else, none for nothing."""
    fast = tmp_path / "wsproxy" / "_fast"
    fast.mkdir(parents=True)
    for package in (fast.parent, fast):
        (package / "__init__.py").touch()
    for name in MODULES:
        (fast / f"{name}.pyx").write_text("cdef int answer() noexcept:\n    return 42\n")
    (tmp_path / "scripts").mkdir()
    for script in ("declared_names.py", "pxd_once.py"):
        shutil.copy(PROJECT / "scripts" / script, tmp_path / "scripts")
    text = (PROJECT / "setup.py").read_text()
    setup = tmp_path / "setup.py"
    setup.write_text(text)
    fresh = build(tmp_path)
    assert fresh.keys() == {
        f"{name}{what}" for name in (*MODULES, "shared") for what in (".c", ".so")
    }

    setup.write_text(text + "\n# said otherwise\n")
    again = build(tmp_path)
    assert newer(fresh, again) == set()

    setup.write_text(text.replace("\nHOT = {\n", '\nHOT = {\n    "second",\n', 1))
    hotter = build(tmp_path)
    assert newer(again, hotter) == {"second.so"}

    setup.write_text(setup.read_text().replace('"cdivision": True', '"cdivision": False', 1))
    told = build(tmp_path)
    assert newer(hotter, told) == set(told)

    assert 'NOT_SHARED = ["AutoPickle", "MemoryView"]' in text
    setup.write_text(setup.read_text().replace('["AutoPickle", "MemoryView"]', '["AutoPickle"]', 1))
    shared = build(tmp_path)
    assert newer(told, shared) == set(shared)
