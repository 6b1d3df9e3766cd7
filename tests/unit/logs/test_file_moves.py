"""A log that goes on in another file: what came before is in the old one, what follows in the new one, nothing anywhere else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from wsproxy.logs.file import LogFile


@pytest.mark.parametrize("seed", range(20))
async def test_lines_are_where_the_log_was_when_they_came(tmp_path: Path, seed: int) -> None:
    """Whatever the thread is at; and a file that is rotated meanwhile is none that is moved."""
    rng = random.Random(seed)
    names = ["a", "b", "c"]
    wanted: dict[str, list[str]] = {name: [] for name in names}
    now = rng.choice(names)
    file = LogFile(str(tmp_path / now))
    for number in range(200):
        file.add(f"line {number}\n")
        wanted[now].append(f"line {number}")
        what = rng.random()
        if what < 0.2:
            file.flush()
        elif what < 0.3:
            now = rng.choice(names)
            file.move(str(tmp_path / now))
        elif what < 0.33:
            file.reopen()
    file.close()
    found = {
        name: (tmp_path / name).read_text().splitlines() if (tmp_path / name).exists() else []
        for name in names
    }
    assert found == wanted
    assert file.missing == 0


async def test_log_stays_where_it_is_written_where_the_new_file_cannot_be(tmp_path: Path) -> None:
    """Better there than nowhere; and it goes on in the new one as soon as that can be."""
    old, new = tmp_path / "old", tmp_path / "folder" / "new"
    file = LogFile(str(old))
    file.add("one\n")
    file.move(str(new))
    file.add("two\n")
    file.flush()
    while old.read_text() != "one\ntwo\n" if old.exists() else True:
        os.sched_yield()
    new.parent.mkdir()
    file.add("three\n")
    file.close()
    assert (old.read_text(), new.read_text()) == ("one\ntwo\n", "three\n")
    assert file.missing == 0


async def test_log_that_was_written_nowhere_begins(tmp_path: Path) -> None:
    file = LogFile("")
    file.move(str(tmp_path / "log"))
    file.add("one\n")
    file.close()
    assert (tmp_path / "log").read_text() == "one\n"
