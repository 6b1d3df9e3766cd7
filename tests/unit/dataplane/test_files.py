"""Static files: what is found, and that nothing outside the directory ever is."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.bed import Bed, config_of, server
from wsproxy.config.settings import FallbackSettings, Settings
from wsproxy.dataplane.files import FileFallback

PAGE = b"<p>hello"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``root`` beside what must not be reached."""
    top = tmp_path_factory.mktemp("files")
    root = top / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_bytes(PAGE)
    (root / "sub" / "index.html").write_bytes(PAGE * 2)
    (root / "a b.txt").write_bytes(b"blank")
    (root / "big.bin").write_bytes(os.urandom(300_000))
    (root / "secret.txt").write_bytes(b"")
    (top / "secret.txt").write_bytes(b"outside")
    (top / "rooted").mkdir()
    (top / "rooted" / "index.html").write_bytes(b"outside")
    (root / "out").symlink_to(top / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "in").symlink_to("sub")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/", "index.html"),
        (b"/index.html", "index.html"),
        (b"/sub", "sub/index.html"),
        (b"/sub/", "sub/index.html"),
        (b"/sub/../index.html", "index.html"),
        (b"//index.html", "index.html"),
        (b"/index.html?q=/../x", "index.html"),
        (b"/index.html;jsessionid=x", "index.html"),
        (b"/a%20b.txt", "a b.txt"),
        (b"/in/index.html", "sub/index.html"),
        (b"/empty/", None),
        (b"/none", None),
        (b"/../secret.txt", None),
        (b"/../rooted/", None),
        (b"/%2e%2e/secret.txt", None),
        (b"/sub/..%2f../secret.txt", None),
        (b"/out", None),
        (b"/up/secret.txt", None),
        (b"/loop", None),
        (b"/pipe", None),
        (b"/index.html%00.txt", None),
        (b"/%ff", None),
        (b"*", None),
        (b"", None),
        (b"/" + b"a" * 5000, None),
    ],
)
def test_find(tree: Path, target: bytes, found: str | None) -> None:
    expected = None if found is None else tree / found
    assert FileFallback(tree).find(target) == expected


parts = st.sampled_from(
    ["..", ".", "", "sub", "up", "out", "in", "loop", "secret.txt", "root", "rooted", "index.html", "%2e%2e",
     "..%2f..", "%2e.", "..\\..", "~", "%00", "%252e%252e"]
)  # fmt: skip
made_targets = st.lists(parts, max_size=8).map(lambda found: ("/" + "/".join(found)).encode())
any_targets = st.binary(max_size=40).map(lambda raw: b"/" + quote_from_bytes(raw).encode())


@given(target=st.one_of(made_targets, any_targets, st.binary(max_size=40)))
@example(target=b"/up/root/../secret.txt")
def test_what_is_found_lies_inside(tree: Path, target: bytes) -> None:
    found = FileFallback(tree).find(target)
    if found is not None:
        assert found == found.resolve()
        assert tree.resolve() in found.parents
        assert found.is_file()


def settings_for(tree: Path) -> Settings:
    return Settings(fallback=FallbackSettings(mode="directory", directory=str(tree)))


async def test_file_is_sent_whole_and_the_connection_goes_on(tree: Path) -> None:
    async with Bed(config_of(server("s", 1)), settings_for(tree)) as bed:
        client = await bed.client(receive_buffer=4096)
        for name in ("big.bin", "secret.txt", "big.bin"):
            await client.send(b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % name.encode())
            assert await client.read_answer() == (200, (tree / name).read_bytes())


async def test_head_has_the_length_alone(tree: Path) -> None:
    async with Bed(config_of(server("s", 1)), settings_for(tree)) as bed:
        client = await bed.client()
        await client.send(b"HEAD /big.bin HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"\r\nContent-Length: 300000\r\n" in await client.read_head()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await client.read_answer() == (200, PAGE)


async def test_other_methods_are_refused_with_what_is_allowed(tree: Path) -> None:
    async with Bed(config_of(server("s", 1)), settings_for(tree)) as bed:
        client = await bed.client()
        await client.send(b"DELETE / HTTP/1.1\r\nHost: h\r\n\r\n")
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nAllow: GET, HEAD\r\n" in head


async def test_file_that_may_not_be_read_is_not_found(tree: Path) -> None:
    """Also what disappears between finding and opening; the exchange must not wait for ever."""
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    closed = tree / "closed.txt"
    closed.write_bytes(b"x")
    closed.chmod(0)
    async with Bed(config_of(server("s", 1)), settings_for(tree)) as bed:
        client = await bed.client()
        await client.send(b"GET /closed.txt HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.read_answer())[0] == 404


def test_file_that_is_gone_when_it_is_opened_is_not_found(tree: Path) -> None:
    class Racing(FileFallback):
        def find(self, target: bytes) -> Path | None:
            found = super().find(target)
            assert found is not None
            found.unlink()
            return found

    (tree / "brief.txt").write_bytes(b"x")
    assert Racing(tree).open(b"/brief.txt") is None


async def test_file_that_shrinks_while_it_is_sent_cuts_the_client(tmp_path: Path) -> None:
    """Its length was announced: only the cut says that it is not whole."""
    shrinking = tmp_path / "log"
    shrinking.write_bytes(bytes(20_000_000))
    async with Bed(config_of(server("s", 1)), settings_for(tmp_path)) as bed:
        client = await bed.client(receive_buffer=4096)
        await client.send(b"GET /log HTTP/1.1\r\nHost: h\r\n\r\n")
        await client.read_head()
        os.truncate(shrinking, 1)
        assert len(await client.read_to_end()) < 20_000_000
        await bed.until(lambda: bed.engine.open_streams == 0)
