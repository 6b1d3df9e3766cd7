"""The folder of published versions: whole files, what names them, which one is good; and nothing that etcd says leads out of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from wsproxy.config.published import (
    Place,
    PublishedFolder,
    Standing,
    Tried,
    Version,
    age,
    folder_flaw,
    write_whole,
)
from wsproxy.errors import StartError


def version(number: int = 1, content: bytes = b"<Config/>", comment: str = "") -> Version:
    id_ = hashlib.md5(b"%d" % number).hexdigest()
    sha = hashlib.sha256(content).hexdigest()
    return Version(number, id_, sha, len(content), "alice@web1", 1_000_000 + number, comment)


@pytest.fixture
def folder(tmp_path: Path) -> PublishedFolder:
    return PublishedFolder(tmp_path)


def test_nothing_is_there(folder: PublishedFolder) -> None:
    """A start has the FILE of its command line."""
    assert folder.good() is None
    assert folder.read_wanted() is None
    assert folder.read_place() is None
    assert folder.read_standing() == Standing()


def test_what_is_put_there_is_wanted_and_its_owners_alone(folder: PublishedFolder) -> None:
    """And good only when the loader says so."""
    one = version()
    folder.put(one, b"<Config/>")
    assert folder.read_wanted() == one
    assert folder.file_of(one).read_bytes() == b"<Config/>"
    assert {oct(each.stat().st_mode & 0o777) for each in folder.path.iterdir()} == {"0o600"}
    assert folder.good() is None
    folder.write_standing(Standing(one.id, Tried(1, one.id, "in use"), (one,)))
    assert folder.good() == one
    assert folder.is_as_published(one)
    folder.file_of(one).write_bytes(b"<Config />")
    assert not folder.is_as_published(one)


def test_files_that_nobody_returns_to_are_removed(folder: PublishedFolder) -> None:
    """All but those of the standing, the one that was wanted and the one that is; what is not ours stays."""
    one, two, three, four = (version(number) for number in range(1, 5))
    (folder.path / "mine.xml").write_text("x")
    for each in (one, two):
        folder.put(each, b"<Config/>")
    folder.write_standing(Standing(one.id, None, (one,)))
    folder.put(three, b"<Config/>")
    folder.put(four, b"<Config/>")
    there = {each.name for each in folder.path.glob("*.xml")}
    assert there == {"mine.xml", *(each.file_name for each in (one, three, four))}


def test_a_file_that_is_gone_is_told(folder: PublishedFolder) -> None:
    """A start does not go on with another one in silence."""
    folder.write_standing(Standing(version().id, None, (version(),)))
    file = folder.file_of(version())
    for place in (None, "/etc/passwd"):
        if place:
            file.symlink_to(place)
        with pytest.raises(StartError, match=rf"whose file {file.name} is not there; allowed"):
            folder.good()


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"current": 1}', b'{"versions": [{"number": 1, "id": "../../x"}]}']
)
def test_what_cannot_be_read_is_told(folder: PublishedFolder, text: bytes) -> None:
    """With the file, and what to do."""
    folder.standing_file.write_bytes(text)
    with pytest.raises(
        StartError, match=r"standing\.json: found what cannot be read .*; allowed is"
    ):
        folder.read_standing()


def test_no_name_leads_elsewhere() -> None:
    """An id is 32 hexadecimal digits, a number at least 1."""
    good = msgspec.json.encode(version())
    for bad in (
        good.replace(version().id.encode(), b"../" * 8),
        good.replace(b'"number":1', b'"number":0'),
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(bad, type=Version)


def test_only_its_own_files_are_versions(folder: PublishedFolder) -> None:
    """By their place and their name."""
    assert folder.holds(str(folder.file_of(version())))
    assert not folder.holds(str(folder.path / "plugin-cfg.xml"))
    assert not folder.holds(f"/tmp/{version().file_name}")


def test_in_words() -> None:
    """Who, how old and why; control characters do nothing."""
    later = version(comment="a\x1b[2J").at_ms + 7_200_000
    assert (
        version(comment="a\x1b[2J").in_words(later)
        == r'version 1 (by alice@web1, 2 h ago, "a\x1b[2J")'
    )
    again = msgspec.structs.replace(version(3), returned_to=1)
    assert (
        again.in_words(again.at_ms) == "version 3 (by alice@web1, 0 s ago, a return to version 1)"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0 s"), (61, "61 s"), (300, "5 min"), (9000, "2 h"), (400_000, "5 d")],
)
def test_age(seconds: float, said: str) -> None:
    """In the largest unit of which there are two."""
    assert age(seconds) == said


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """And no draft."""
    file = tmp_path / "x"
    write_whole(file, b"old")
    (tmp_path / ".x.new").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_whole(file, b"new")
    assert file.read_bytes() == b"old"


def test_the_etcd_of_our_own_is_found(folder: PublishedFolder) -> None:
    """As it was said."""
    place = Place("https://127.0.0.1:1", "ca", "certificate", "key")
    folder.write_place(place)
    assert folder.read_place() == place


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    """Not there, no folder, everybody's."""
    assert folder_flaw(str(tmp_path)) == ""
    assert "No such file" in folder_flaw(str(tmp_path / "gone"))
    (tmp_path / "file").write_text("")
    assert "which is no folder" in folder_flaw(str(tmp_path / "file"))
    os.chmod(tmp_path, 0o777)
    assert "which everybody may write to" in folder_flaw(str(tmp_path))
    os.chmod(tmp_path, 0o1777)  # as /tmp: who is first may put a standing.json there
    assert "which everybody may write to" in folder_flaw(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_somebody_else_cannot_be_used(tmp_path: Path) -> None:
    """Its owner may replace each file in it."""
    os.chown(tmp_path, 12345, -1)
    assert "of user 12345, who may replace what is in it" in folder_flaw(str(tmp_path))


def test_what_was_written_half_is_removed(folder: PublishedFolder) -> None:
    """By a process that was killed: 10 MB each time."""
    half = folder.path / ".published-7-0123abcd.xml.new"
    half.write_bytes(b"<Conf")
    folder.put(version(), b"<Config/>")
    assert not half.exists()
