"""Files below a folder: what is opened lies inside and is a file, whatever its path says and whoever changes links meanwhile."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from wsproxy._fast.net.below import has_folder_below, open_below

pytestmark = pytest.mark.asan


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    (made / "sub").mkdir(parents=True)
    (made / "sub" / "page").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "page").write_text("outside")
    (tmp_path / "root-of-others").mkdir()  # begins as root does
    (tmp_path / "root-of-others" / "page").write_text("outside")
    for name, to in {
        "in": "sub/page", "deep": "sub", "absolute": str(made / "sub"), "out": "../outside", "near": "../root-of-others",
        "loop": "loop", "gone": "nowhere", "self": ".",
    }.items():  # fmt: skip
        (made / name).symlink_to(to)
    os.mkfifo(made / "pipe")
    return made


def opened(root: bytes, path: bytes) -> bytes | str:
    """What the file has, or the name of its errno; no descriptor is left."""
    before = len(os.listdir("/proc/self/fd"))
    file, size, changed_ns = open_below(root, path)
    if file < 0:
        assert (size, changed_ns) == (0, 0)
        assert len(os.listdir("/proc/self/fd")) == before
        return errno.errorcode[-file]
    status = os.fstat(file)
    assert (size, changed_ns) == (status.st_size, status.st_mtime_ns)
    assert not os.get_inheritable(file)
    found = os.read(file, 100)
    os.close(file)
    assert len(os.listdir("/proc/self/fd")) == before
    return found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"sub/page", b"inside"), (b"in", b"inside"), (b"deep/page", b"inside"), (b"absolute/page", b"inside"),
        (b"self/self/sub/page", b"inside"), (b"sub/../sub/page", b"inside"), (b"sub//page", b"inside"),
        (b"sub", "EACCES"), (b"", "EACCES"), (b".", "EACCES"), (b"pipe", "EACCES"),
        (b"out/page", "ENOENT"), (b"out", "ENOENT"), (b"near/page", "ENOENT"), (b"../outside/page", "ENOENT"),
        (b"..", "ENOENT"), (b"gone", "ENOENT"), (b"none", "ENOENT"), (b"sub/page\0x", "ENOENT"),
        (b"sub/page/x", "ENOTDIR"), (b"loop", "ELOOP"), (b"a" * 300, "ENAMETOOLONG"), (b"a/" * 4000, "ENAMETOOLONG"),
    ],
)  # fmt: skip
def test_only_files_inside_are_opened(root: Path, path: bytes, found: bytes | str) -> None:
    assert opened(bytes(root), path) == found


@pytest.mark.parametrize("length", range(3900, 4200, 7))
def test_path_of_any_length_is_looked_for_or_too_long(root: Path, length: int) -> None:
    """Around what a path may have, with the folder's own in front of it."""
    assert opened(bytes(root), b"./" * (length // 2) + b"in") in (b"inside", "ENAMETOOLONG")


def test_root_of_all_has_everything_below(root: Path) -> None:
    assert opened(b"/", bytes(root / "sub" / "page").lstrip(b"/")) == b"inside"
    assert opened(bytes(root / "deep"), b"page") == b"inside"  # a link as root
    assert opened(bytes(root / "none"), b"page") == "ENOENT"
    assert opened(bytes(root) + b"\0", b"in") == "ENOENT"


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (b"sub", 1), (b"deep", 1), (b"", 1), (b"self", 1), (b"in", 0), (b"pipe", 0), (b"out", -errno.ENOENT),
        (b"none", -errno.ENOENT), (b"loop", -errno.ELOOP), (b"sub\0", 0),
    ],
)  # fmt: skip
def test_folders_inside_are_found(root: Path, path: bytes, answer: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    assert has_folder_below(bytes(root), path) == answer
    assert len(os.listdir("/proc/self/fd")) == before


def test_folder_that_becomes_a_link_while_it_is_walked_is_not_followed(tmp_path: Path) -> None:
    """What was checked is what is opened, or nothing is, however often somebody puts a link in its place meanwhile."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "secret.txt").write_text("inside")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("outside")
    (root / "link").symlink_to(outside)
    is_over = threading.Event()

    def swap() -> None:
        sub, was, link = root / "sub", root / "was", root / "link"
        while not is_over.is_set():
            sub.rename(was)
            link.rename(sub)
            sub.rename(link)
            was.rename(sub)

    swapper = threading.Thread(target=swap)
    swapper.start()
    found = set()
    try:
        for _ in range(20_000):  # opens the one outside some ten times, where links are followed
            file, _, _ = open_below(bytes(root), b"sub/secret.txt")
            if file >= 0:
                found.add(os.read(file, 10))
                os.close(file)
    finally:
        is_over.set()
        swapper.join()
    assert found == {b"inside"}
