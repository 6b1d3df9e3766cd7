"""Static files: which answer a request gets, and that it is sent whole or cut off. What a path names: ``test_file_paths``."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path

import msgspec
import pytest

from tests.support.bed import Bed, config_of, server
from wsproxy.config.settings import FallbackSettings, Settings
from wsproxy.config.settings_content import FilesSettings
from wsproxy.dataplane.files import FileSite

PAGE = b"<p>hello"
NOW_S = 2_000_000_000.0
CHANGED_S = 1_000_000_000


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``root`` beside what must not be reached."""
    top = tmp_path_factory.mktemp("files")
    root = top / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_bytes(PAGE)
    (root / "sub" / "index.html").write_bytes(PAGE * 2)
    for page in (root / "index.html", root / "sub" / "index.html"):
        os.utime(page, (CHANGED_S, CHANGED_S))
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


def site(tree: Path, **more: object) -> FileSite:
    return FileSite(msgspec.convert({"root": str(tree), **more}, FilesSettings))


def get(
    files: FileSite, target: bytes, *, is_head: bool = False, now_s: float = NOW_S, **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, field lines and body; the file is closed."""
    asked = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    found = files.answer(target, asked, is_head=is_head, now_s=now_s)
    lines = dict(line.split(": ", 1) for line in found.lines.splitlines())
    body = b""
    if found.file >= 0:
        with os.fdopen(found.file, "rb") as file:
            file.seek(found.at)
            body = file.read(found.length)
            assert body.startswith(found.first)
    assert (found.page, found.file < 0) in ((True, True), (False, False))
    return found.status, lines, body


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/", "index.html"),
        (b"/index.html", "index.html"),
        (b"/sub/", "sub/index.html"),
        (b"/index.html?q=/../x", "index.html"),
        (b"/index.html;jsessionid=x", "index.html"),
        (b"/a%20b.txt", "a b.txt"),
        (b"/in/index.html", "sub/index.html"),
        (b"/empty/", None),
        (b"/empty", None),
        (b"/index.html/", None),
        (b"/none", None),
        (b"/../secret.txt", None),
        (b"/out", None),
        (b"/up/secret.txt", None),
        (b"/loop", None),
        (b"/pipe", None),
        (b"/%ff", None),
        (b"*", None),
        (b"/" + b"a" * 5000, None),
    ],
)
def test_file_is_found(tree: Path, target: bytes, found: str | None) -> None:
    status, _, body = get(site(tree), target)
    if found is None:
        assert status == 404
    else:
        assert (status, body) == (200, (tree / found).read_bytes())


@pytest.mark.parametrize(
    ("target", "where"),
    [
        (b"/sub", "/sub/"),
        (b"/sub?x=/y", "/sub/?x=/y"),
        (b"//sub", "/sub/"),
        (b"/./index.html", "/index.html"),
        (b"/sub/../index.html?", "/index.html?"),
        (b"/%69ndex.html", "/index.html"),
    ],
)
def test_other_spelling_is_told_the_path(tree: Path, target: bytes, where: str) -> None:
    assert get(site(tree), target)[:2] == (301, {"Location": where})


def test_prefix_is_taken_off(tree: Path) -> None:
    """As Alias does; a folder's own path keeps it."""
    files = site(tree, strip="/static/")
    assert get(files, b"/static/")[2] == PAGE
    assert get(files, b"/static/sub/index.html")[2] == PAGE * 2
    assert get(files, b"/static/sub")[1] == {"Location": "/static/sub/"}
    assert get(files, b"/static")[1] == {"Location": "/static/"}
    for target in (b"/", b"/sub/", b"/static2/sub/", b"/static/../sub/"):
        assert get(files, target)[0] == 404


def test_index_is_the_first_that_is_there(tree: Path) -> None:
    assert get(site(tree, index=["none", "a b.txt", "index.html"]), b"/")[2] == b"blank"
    assert get(site(tree, index=[]), b"/")[0] == 404
    assert get(site(tree, index=[]), b"/sub")[0] == 404


def test_fields_of_a_file(tree: Path) -> None:
    """HEAD has the same, and no body."""
    files = site(tree, cache_control="max-age=60")
    status, lines, _ = get(files, b"/index.html")
    assert (status, lines) == (
        200,
        {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(PAGE)),
            "Last-Modified": "Sun, 09 Sep 2001 01:46:40 GMT",
            "ETag": f'"{len(PAGE):x}-{CHANGED_S * 10**9:x}"',
            "Accept-Ranges": "bytes",
            "Cache-Control": "max-age=60",
        },
    )
    assert get(files, b"/index.html", is_head=True) == (200, lines, b"")
    assert get(files, b"/index.html", is_head=True, range="bytes=0-0") == (200, lines, b"")


def test_tag_does_not_hang_on_the_inode(tree: Path, tmp_path: Path) -> None:
    """The same file on two proxies is the same version."""
    shutil.copy2(tree / "index.html", tmp_path / "index.html")
    tags = [get(site(root), b"/index.html")[1]["ETag"] for root in (tree, tmp_path)]
    assert tags[0] == tags[1]


def test_file_that_was_changed_just_now_has_a_weak_tag(tree: Path) -> None:
    """It may be changed again within the same tick; a part of it must not be joined to a part of another."""
    now_s = CHANGED_S + 1.0
    lines = get(site(tree), b"/index.html", now_s=now_s)[1]
    assert lines["ETag"].startswith("W/")
    tag = lines["ETag"]
    assert get(site(tree), b"/index.html", now_s=now_s, range="bytes=0-0", if_range=tag)[0] == 200


def test_file_of_tomorrow_was_changed_now(tree: Path) -> None:
    """RFC 9110 8.8.2.1."""
    lines = get(site(tree), b"/index.html", now_s=CHANGED_S - 86400.0)[1]
    assert lines["Last-Modified"] == "Sat, 08 Sep 2001 01:46:40 GMT"


def test_not_modified(tree: Path) -> None:
    files = site(tree, cache_control="no-cache")
    _, lines, _ = get(files, b"/index.html")
    status, told, body = get(files, b"/index.html", if_none_match=lines["ETag"])
    assert (status, body) == (304, b"")
    kept = ("Last-Modified", "ETag", "Accept-Ranges", "Cache-Control")
    assert told == {name: lines[name] for name in kept}
    assert get(files, b"/index.html", if_match='"x"')[:2] == (412, {})


def test_part_of_a_file(tree: Path) -> None:
    whole = (tree / "big.bin").read_bytes()
    status, lines, body = get(site(tree), b"/big.bin", range="bytes=100-199999")
    assert (status, body) == (206, whole[100:200_000])
    assert lines["Content-Range"] == "bytes 100-199999/300000"
    assert lines["Content-Length"] == "199900"
    assert get(site(tree), b"/big.bin", range="bytes=300000-")[:2] == (
        416,
        {"Content-Range": "bytes */300000"},
    )


def test_compressed_file_beside_it(tmp_path: Path) -> None:
    """The best that the client takes; other version, same type; Vary in any case."""
    for name in ("page.js", "page.js.gz", "page.js.zst", "only.js"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (CHANGED_S, CHANGED_S))
    files = site(tmp_path, precompressed=["zst", "br", "gz"])
    tags = set()
    for accepted, name, coding in (
        ("gzip, br, zstd", "page.js.zst", "zstd"),
        ("gzip, br", "page.js.gz", "gzip"),
        ("gzip;q=0.5, zstd;q=0.4, br", "page.js.gz", "gzip"),
        ("br", "page.js", None),
        ("gzip;q=0", "page.js", None),
    ):
        status, lines, body = get(files, b"/page.js", accept_encoding=accepted)
        assert (status, body, lines.get("Content-Encoding")) == (200, name.encode(), coding)
        assert lines["Content-Type"] == "text/javascript; charset=utf-8"
        assert lines["Vary"] == "Accept-Encoding"
        assert (
            get(files, b"/page.js", accept_encoding=accepted, if_none_match=lines["ETag"])[0] == 304
        )
        tags.add(lines["ETag"])
    assert len(tags) == 3
    assert get(files, b"/page.js")[2] == b"page.js"
    status, lines, body = get(files, b"/page.js", accept_encoding="gzip", range="bytes=5-")
    assert (status, body, lines["Content-Encoding"]) == (206, b"js.gz", "gzip")
    status, lines, body = get(files, b"/only.js", accept_encoding="gzip")
    assert (body, lines.get("Content-Encoding"), lines["Vary"]) == (
        b"only.js",
        None,
        "Accept-Encoding",
    )
    status, lines, body = get(files, b"/page.js.gz", accept_encoding="gzip")
    assert (body, lines["Content-Type"], lines.get("Content-Encoding")) == (
        b"page.js.gz",
        "application/gzip",
        None,
    )


def test_compressed_file_that_is_older_is_not_sent(tmp_path: Path) -> None:
    """The file was changed since."""
    for name, seconds in (("a.js", CHANGED_S + 1), ("a.js.gz", CHANGED_S)):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (seconds, seconds))
    files = site(tmp_path, precompressed=["gz"])
    assert get(files, b"/a.js", accept_encoding="gzip")[2] == b"a.js"


def test_compressed_file_outside_is_not_sent(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.js").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    (root / "a.js.gz").symlink_to(tmp_path / "secret")
    files = site(root, precompressed=["gz"])
    assert get(files, b"/a.js", accept_encoding="gzip")[2] == b"inside"


def test_no_answer_leaves_a_descriptor(tree: Path, tmp_path: Path) -> None:
    """Whatever it is; those that send a file are closed by who has it."""
    (tmp_path / "a.js").write_text("a")
    (tmp_path / "a.js.gz").write_text("b")
    files = site(tmp_path, precompressed=["zst", "gz"])
    before = len(os.listdir("/proc/self/fd"))
    for target in (b"/a.js", b"//a.js", b"/none", b"/", b"/.x"):
        for each in (files, site(tree)):
            get(each, target)
            get(each, target, accept_encoding="zstd, gzip")
            get(each, target, if_match='"x"')
            get(each, target, range="bytes=9-")
    assert len(os.listdir("/proc/self/fd")) == before


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


async def test_want_of_a_descriptor_is_no_file_that_is_gone(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """503: caches and crawlers believe a 404. What is not there is still told when there is room again."""
    async with Bed(config_of(server("s", 1)), settings_for(tree)) as bed:
        client = await bed.client()
        await client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert await client.read_answer() == (200, PAGE)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        try:
            await client.send(b"GET /secret.txt HTTP/1.1\r\nHost: h\r\n\r\n")
            status, _ = await client.read_answer()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert status == 503
        assert "503: Too many open files" in caplog.text
        await client.send(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await client.read_answer())[0] == 404


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
