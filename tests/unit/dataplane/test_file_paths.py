"""Which file a path names, and that nothing outside of the folder, nothing hidden and nothing but a file ever is reached."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wsproxy.dataplane.file_paths import Folder, read_path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``root`` beside what must not be reached."""
    top = tmp_path_factory.mktemp("paths")
    root = top / "root"
    (root / "sub").mkdir(parents=True)
    (root / "index.html").write_bytes(b"inside index")
    (root / "sub" / "index.html").write_bytes(b"inside sub")
    (root / "secret.txt").write_bytes(b"inside secret")
    (root / ".hidden").write_bytes(b"outside: hidden")
    (top / "secret.txt").write_bytes(b"outside")
    (top / "rooted").mkdir()
    (top / "rooted" / "index.html").write_bytes(b"outside")
    (root / "out").symlink_to(top / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "in").symlink_to("sub")
    (root / "absolute").symlink_to(root / "sub")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    ("target", "path", "is_canonical"),
    [
        (b"/", "/", True),
        (b"/a/b.txt", "/a/b.txt", True),
        (b"/a/", "/a/", True),
        (b"/a?b/../c", "/a", True),
        (b"/a;jsessionid=1/b;x", "/a/b", True),
        (b"/a%20b", "/a%20b", True),
        (b"/%c3%a4", "/%C3%A4", True),
        (b"/%C3%a4", "/%C3%A4", True),
        (b"/(a)+b@c:d!$&'*,=~-._", "/(a)+b@c:d!$&'*,=~-._", True),
        (b"/%61", "/a", False),
        (b"/%28a)", "/(a)", False),
        (b"//a", "/a", False),
        (b"/a//b", "/a/b", False),
        (b"/./a", "/a", False),
        (b"/a/../b", "/b", False),
        (b"/a/..", "/", False),
        (b"/a/.", "/a/", False),
        (b"/a\\b", "/a%5Cb", False),
        (b"/%252e%252e", "/%252e%252e", True),
        (b"/.well-known/acme", "/.well-known/acme", True),
    ],
)
def test_path_is_read(target: bytes, path: str, is_canonical: bool) -> None:
    found = read_path(target)
    assert found is not None
    assert (found.path, found.is_canonical) == (path, is_canonical)


@pytest.mark.parametrize(
    "target",
    [
        b"", b"*", b"a", b"/..", b"/a/../..", b"/%2e%2e/a", b"/a%2fb", b"/a%2Fb", b"/a%00", b"/.git/config", b"/a/.htaccess",
        b"/a/.well-known", b"/%2egit", b"/..;x/a", b"/..data/a",
    ],
)  # fmt: skip
def test_nothing_is_named(target: bytes) -> None:
    assert read_path(target) is None


any_target = st.binary(max_size=40).map(lambda raw: b"/" + quote_from_bytes(raw).encode())


@given(target=st.one_of(any_target, st.binary(max_size=40).map(lambda raw: b"/" + raw)))
def test_canonical_path_is_its_own(target: bytes) -> None:
    """So that telling it ends there; and it names what was asked for, on this host."""
    found = read_path(target)
    if found is not None:
        again = read_path(found.path.encode())
        assert again is not None
        assert again.is_canonical
        assert (again.names, again.is_folder) == (found.names, found.is_folder)
        assert found.path.startswith("/")
        assert not found.path.startswith("//")
        assert found.path.isascii()
        assert not set(found.path) & set(' \r\n\\"<>')


parts = st.sampled_from(
    ["..", ".", "", "sub", "up", "out", "in", "absolute", "loop", "secret.txt", "root", "rooted", "index.html", "pipe",
     ".hidden", "%2e%2e", "..%2f..", "%2e.", "..\\..", "~", "%00", "%252e%252e"]
)  # fmt: skip
made_targets = st.lists(parts, max_size=8).map(lambda found: ("/" + "/".join(found)).encode())


@given(target=st.one_of(made_targets, any_target))
@example(target=b"/up/root/../secret.txt")
@example(target=b"/up/root/sub/index.html")
@example(target=b"/in/index.html")
@example(target=b"/absolute/index.html")
def test_what_is_opened_lies_inside(tree: Path, target: bytes) -> None:
    wanted = read_path(target)
    file = None if wanted is None else Folder(str(tree)).open(wanted.names)
    if file is not None:
        with os.fdopen(file.file, "rb") as opened:
            assert opened.read().startswith(b"inside")


@pytest.mark.parametrize(
    ("names", "is_there"),
    [
        ((b"index.html",), True),
        ((b"in", b"index.html"), True),
        ((b"absolute", b"index.html"), True),
        ((b"sub",), False),
        ((), False),
        ((b"out",), False),
        ((b"up", b"secret.txt"), False),
        ((b"loop",), False),
        ((b"pipe",), False),
        ((b"index.html", b"x"), False),
        ((b"a" * 5000,), False),
    ],
)
def test_files_alone_are_opened(tree: Path, names: tuple[bytes, ...], is_there: bool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    file = Folder(str(tree)).open(names)
    assert (file is not None) is is_there
    if file is not None:
        os.close(file.file)
    assert len(os.listdir("/proc/self/fd")) == before


def test_folder_may_be_replaced_by_moving_a_link(tmp_path: Path) -> None:
    """As releases are put in place; no reload is needed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "page").write_text(name)
    current = tmp_path / "current"
    current.symlink_to("one")
    folder = Folder(str(current))
    found = []
    for name in ("one", "two"):
        (tmp_path / "new").symlink_to(name)
        (tmp_path / "new").rename(current)
        file = folder.open((b"page",))
        assert file is not None
        found.append(os.read(file.file, 10))
        os.close(file.file)
    assert found == [b"one", b"two"]


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Folder(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Folder(str(tmp_path / "file"))
