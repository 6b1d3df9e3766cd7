"""Which published version is tried, and what is remembered of it: over new starts, rollbacks, the guard and a loader that is ended."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from wsproxy.admin.reloads import Entry, Result
from wsproxy.config.published import KEPT_FILES, PublishedFolder, Version
from wsproxy.errors import StartError
from wsproxy.reload.published import Published, begin_with
from wsproxy.reload.sources import Sources

FILE = "/etc/wsproxy/plugin-cfg.xml"


def version(number: int) -> Version:
    id_ = hashlib.md5(b"%d" % number).hexdigest()
    sha = hashlib.sha256(b"<Config/>").hexdigest()
    return Version(number, id_, sha, 9, "alice@web1", 1_000_000 + number)


def entry(result: Result, *problems: str) -> Entry:
    return Entry(1, "", "", result, 5, "", "", problems=list(problems))


@pytest.fixture
def folder(tmp_path: Path) -> PublishedFolder:
    return PublishedFolder(tmp_path)


def begun(
    folder: PublishedFolder, path: str = FILE, start: str = FILE, *, is_first: bool = True
) -> Published:
    found = Published(folder)
    found.begins(path, start, is_first=is_first)
    return found


def put(folder: PublishedFolder, number: int) -> Version:
    found = version(number)
    folder.put(found, b"<Config/>")
    return found


def path_of(folder: PublishedFolder, number: int) -> str:
    return str(folder.file_of(version(number)))


def test_each_is_tried_once(folder: PublishedFolder) -> None:
    """And the one in use is what a start begins with."""
    one = begun(folder)
    assert one.due() is None
    first = put(folder, 1)
    assert one.due() == first
    one.taken(first, entry("in use"), 60.0)
    assert one.due() is None
    assert folder.good() == first
    tried = folder.read_standing().tried
    assert tried is not None
    assert (tried.result, tried.generation, tried.guard_s) == ("in use", 5, 60.0)
    second = put(folder, 2)
    assert one.due() == second


def test_the_same_number_again_is_another_one(folder: PublishedFolder) -> None:
    """Etcd has lost all, and numbers begin anew."""
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    other = Version(1, "f" * 32, version(1).sha256, 9, "bob", 5)
    folder.put(other, b"<Config/>")
    assert one.due() == other


def test_refused_leaves_what_is_in_use(folder: PublishedFolder) -> None:
    """It is not tried again by itself; at a reload it is, and by another program."""
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    second = put(folder, 2)
    one.taken(second, entry("refused", "a.xml:1: found x"), 0)
    assert one.due() is None
    assert one.refused() == second
    assert folder.good() == version(1)
    tried = folder.read_standing().tried
    assert tried is not None
    assert (tried.number, tried.problems) == (2, ("a.xml:1: found x",))
    again = begun(folder, path_of(folder, 1), is_first=False)
    assert again.due() is None
    assert begun(folder, path_of(folder, 1)).due() == second


@pytest.mark.parametrize("result", ["undone", "left"])
def test_what_was_taken_back_is_not_tried_again(folder: PublishedFolder, result: str) -> None:
    """Not by a new start either; the one before is good again."""
    one = begun(folder)
    for number in (1, 2):
        one.taken(put(folder, number), entry("in use"), 0)
    file = one.returned(path_of(folder, 1), result, "why", 7)  # type: ignore[arg-type]
    assert str(file) == path_of(folder, 1)
    assert folder.good() == version(1)
    assert (one.due(), one.refused()) == (None, None)
    again = begun(folder, path_of(folder, 1))
    assert (again.due(), again.refused()) == (None, None)
    tried = folder.read_standing().tried
    assert tried is not None
    assert (tried.number, tried.result, tried.problems) == (2, result, ("why",))


def test_back_to_the_file_of_the_command_line(folder: PublishedFolder) -> None:
    """A start begins with that one, then."""
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    assert one.returned(FILE, "left", "why", 3) is None
    assert folder.good() is None
    assert one.due() is None


def test_a_loader_that_was_ended_amid_it(folder: PublishedFolder) -> None:
    """What is in use is the truth: a version that is said to be in use, and is not, is tried again."""
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    second = put(folder, 2)
    one.taken(second, entry("in use"), 0)
    again = begun(folder, path_of(folder, 1), is_first=False)
    assert again.due() == second
    assert folder.good() == version(1)


def test_what_a_full_disk_did_not_take_is_written_later(folder: PublishedFolder) -> None:
    """What became of a version is known to the next start, and to the group, as soon as there is room."""
    one = begun(folder)
    first = put(folder, 1)
    half = folder.standing_file.with_name(".standing.json.new")
    half.mkdir()  # stands for the disk: nobody can write there
    one.taken(first, entry("in use"), 60.0)
    assert one.due() is None
    assert folder.good() is None
    half.rmdir()
    assert one.due() is None
    assert folder.good() == first


def test_what_kills_loaders_is_given_up(folder: PublishedFolder) -> None:
    """As refused, with the reason."""
    one = begun(folder)
    second = put(folder, 2)
    one.give_up("3 loaders were killed")
    assert one.due() is None
    assert one.refused() == second
    tried = folder.read_standing().tried
    assert tried is not None
    assert tried.problems == ("3 loaders were killed",)


def test_the_one_in_use_stays_however_many_are_refused(folder: PublishedFolder) -> None:
    """With its file."""
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    for number in range(2, KEPT_FILES + 5):
        one.taken(put(folder, number), entry("refused"), 0)
    assert folder.good() == version(1)
    assert len(list(folder.path.glob("*.xml"))) <= 3


def test_what_a_rollback_may_return_to_stays(folder: PublishedFolder) -> None:
    """The last that were in use, whatever was refused in between, and that of the program's start."""
    begun(folder).taken(put(folder, 1), entry("in use"), 0)
    one = begun(folder, path_of(folder, 1), path_of(folder, 1))
    for number in range(2, 3 * KEPT_FILES):
        one.taken(put(folder, number), entry("refused" if number % 2 else "in use"), 0)
    for number in (1, 2 * KEPT_FILES):
        assert str(one.returned(path_of(folder, number), "left", "why", 9)) == path_of(
            folder, number
        )
        assert folder.good() == version(number)
    assert len(list(folder.path.glob("*.xml"))) <= KEPT_FILES + 3


def test_a_damaged_file_does_not_end_the_loader(folder: PublishedFolder) -> None:
    """A start has refused it; what happens later is told and begun anew."""
    folder.standing_file.write_bytes(b"{")
    folder.wanted_file.write_bytes(b"{")
    assert begun(folder).due() is None


def sources(folder: PublishedFolder | None) -> Sources:
    return Sources((Path(FILE),), None, (), None, (), None, folder)


def test_a_start_begins_with_the_good_one(folder: PublishedFolder) -> None:
    """And says which, and whether somebody has changed it; else with FILE."""
    assert begin_with(sources(None)) == (sources(None), [])
    assert begin_with(sources(folder))[0].named == (Path(FILE),)
    one = begun(folder)
    one.taken(put(folder, 1), entry("in use"), 0)
    found, [(_, line)] = begin_with(sources(folder))
    assert found.named == (folder.file_of(version(1)),)
    assert line.startswith(f"{path_of(folder, 1)}: the published version 1 (by alice@web1, ")
    folder.file_of(version(1)).write_bytes(b"<Config />")
    assert "somebody has changed it" in begin_with(sources(folder))[1][1][1]
    folder.file_of(version(1)).unlink()
    with pytest.raises(StartError):
        begin_with(sources(folder))
