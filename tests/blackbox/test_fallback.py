"""``[fallback]`` in the real proxy: what answers where no Route matches."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.client import Answer, Client, IncompleteError, ask, get, request
from tests.support.origin import Origin, field, keep_answering
from tests.support.process import STEPS
from tests.support.proxy import Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
BIG = os.urandom(MIB) * 8
SHORT_S = 0.6


def undated(answer: Answer) -> list[tuple[bytes, bytes]]:
    """Its fields without Date, which another second may have changed."""
    return [field for field in answer.fields if field[0] != b"date"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def files(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    """A proxy with a directory; its time limits are shorter than a slow download."""
    base = tmp_path_factory.mktemp("files")
    (base / "secret.txt").write_text("secret")
    root = base / "root"
    (root / "sub dir").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "index.html").write_text("<p>root</p>")
    (root / "sub dir" / "index.html").write_text("<p>sub</p>")
    (root / "page.html").write_text("<p>page</p>")
    (root / ".hidden").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / "naïve.txt").write_text("naïve")
    (root / "nothing.txt").write_text("")
    (root / "big.bin").write_bytes(BIG)
    (root / "link.html").symlink_to(root / "page.html")
    (root / "escape.txt").symlink_to(base / "secret.txt")
    (root / "escape").symlink_to(base)
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    settings = (
        f'[fallback]\nmode = "directory"\ndirectory = "{root}"\n'
        f"[timeouts]\nhead_s = {SHORT_S}\nkeepalive_s = {SHORT_S}\nbody_s = {SHORT_S}\n"
    )
    async with running_proxy([lane("app")], settings=settings) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("target", "body", "kind"),
    [
        ("/", b"<p>root</p>", b"text/html; charset=utf-8"),
        ("/page.html", b"<p>page</p>", b"text/html; charset=utf-8"),
        ("/page.html?x=/../y", b"<p>page</p>", b"text/html; charset=utf-8"),
        ("/page.html;jsessionid=0000abc:c1", b"<p>page</p>", b"text/html; charset=utf-8"),
        ("/sub%20dir/", b"<p>sub</p>", b"text/html; charset=utf-8"),
        ("/na%C3%AFve.txt", "naïve".encode(), b"text/plain; charset=utf-8"),
        ("/nothing.txt", b"", b"text/plain; charset=utf-8"),
        ("/link.html", b"<p>page</p>", b"text/html; charset=utf-8"),
    ],
)
async def test_file_is_served(files: Proxy, target: str, body: bytes, kind: bytes) -> None:
    """With its type and length, and the connection is kept; HEAD says the same without the body."""
    async with await Client.connect(files.port) as client:
        answer = await client.ask(get(target))
        assert (answer.status, answer.body, answer.get(b"content-type")) == (200, body, kind)
        assert answer.get(b"last-modified")
        head = await client.ask(request("HEAD", target), head_only=True)
        assert undated(head) == undated(answer)


@pytest.mark.parametrize(
    "target",
    [
        "/missing.txt",
        "/empty/",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub%20dir/../../secret.txt",
        "/.hidden",
        "/.git/config",
        "//etc/passwd",
        "/%2Fetc/passwd",
        "/escape.txt",
        "/escape/secret.txt",
        "/loop",
        "/pipe",
        "/page.html%00.txt",
        "/%ff",
        "/page.html/",
        "/page.html/x",
        "/" + "a" * 5000,
        "/..",
    ],
)
async def test_nothing_else_is_served(files: Proxy, target: str) -> None:
    """404, neither a secret nor an error, and the connection is kept."""
    async with await Client.connect(files.port) as client:
        answer = await client.ask(get(target))
        assert answer.status == 404
        assert b"secret" not in answer.body
        assert (await client.ask(get("/page.html"))).body == b"<p>page</p>"


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/%70age%2Ehtml", "/page.html"),
        ("/sub%20dir/../page.html?x=1", "/page.html?x=1"),
        ("//page.html", "/page.html"),
        ("/sub%20dir", "/sub%20dir/"),
        ("/sub%20dir?q=a/b", "/sub%20dir/?q=a/b"),
        ("//sub%20dir", "/sub%20dir/"),
    ],
)
async def test_file_has_one_path(files: Proxy, target: str, path: str) -> None:
    """Another spelling is told it, and never another host; so a rule for a path holds for its file."""
    async with await Client.connect(files.port) as client:
        answer = await client.ask(get(target))
        assert (answer.status, answer.get(b"location")) == (301, path.encode())
        assert (await client.ask(get(path))).status == 200


async def test_other_methods_are_405(files: Proxy) -> None:
    """Files are read only."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await ask(files.port, request(method, "/page.html", body=b"data"))
        assert answer.status == 405
        assert b"GET" in (answer.get(b"allow") or b"")


@pytest.mark.parametrize("size", [10, 5000, 300_000])
async def test_client_that_ended_its_sending_behind_a_body_is_answered(
    files: Proxy, size: int
) -> None:
    """The body is not read, and whether it is whole does not matter: its end must not take the answer away."""
    message = request("GET", "/page.html", body=b"x" * size)
    for data, what in ((message, "whole"), (message[:-1], "a part")):
        async with await Client.connect(files.port) as client:
            await client.send(data)
            client.half_close()
            answer = await client.answer()
            assert (answer.status, answer.body, answer.closes) == (200, b"<p>page</p>", True), what
            assert await client.rest() == b""


async def test_pipelined_files_come_in_order(files: Proxy) -> None:
    """Small, big, missing, small."""
    async with await Client.connect(files.port) as client:
        await client.send(get("/page.html") + get("/big.bin") + get("/missing") + get("/"))
        assert (await client.answer()).body == b"<p>page</p>"
        assert (await client.answer()).body == BIG
        assert (await client.answer()).status == 404
        assert (await client.answer()).body == b"<p>root</p>"


async def test_big_file_for_a_slow_reader(files: Proxy) -> None:
    """The proxy holds little of it, and a download that moves is not cut off, however long it takes."""
    before = files.resident_bytes()
    async with await Client.connect(files.port, receive_buffer=65536) as client:
        await client.send(get("/big.bin"))
        await client.head()
        got = b""
        for _ in range(20):
            got += await client.exactly(40_000)
            await asyncio.sleep(SHORT_S / STEPS)  # the behaviour under test is about time
        assert files.resident_bytes() - before < MIB * 4
        got += await client.exactly(len(BIG) - len(got))
        assert got == BIG
        assert (await client.ask(get("/page.html"))).status == 200


async def test_big_file_for_a_client_that_does_not_read(files: Proxy) -> None:
    """Cut off after body_s."""
    async with await Client.connect(files.port, receive_buffer=2048) as client:
        await client.send(get("/big.bin"))
        await client.head()
        await asyncio.sleep(4 * SHORT_S)  # the behaviour under test is about time
        with pytest.raises(IncompleteError):
            await client.exactly(len(BIG))


async def test_client_that_leaves_within_a_file(files: Proxy) -> None:
    """No trace in the log (the fixture looks), and the next client is served."""
    for _ in range(5):
        async with await Client.connect(files.port) as client:
            await client.send(get("/big.bin"))
            await client.head()
            client.reset()
    assert (await ask(files.port, get("/page.html"))).status == 200


async def test_no_route_is_404_by_default() -> None:
    """A plain page that nobody caches; the log has the path without session id and query."""
    async with running_proxy([lane("app")]) as proxy, await Client.connect(proxy.port) as client:
        answer = await client.ask(get("/nowhere;jsessionid=0000secret:c1?password=x"))
        assert (answer.status, answer.closes) == (404, False)
        assert answer.get(b"cache-control") == b"no-store"
        head = await client.ask(request("HEAD", "/nowhere"), head_only=True)
        assert undated(head) == undated(answer)
        await proxy.line(r"404: no route for /nowhere: no Uri takes /nowhere; id=[0-9a-f-]{17}$")
        assert not [line for line in proxy.lines if "secret" in line or "password" in line]


async def test_fallback_upstream_gets_what_no_route_takes() -> None:
    """Another web server; the routes' requests do not go there; when it is gone: 503."""
    web = Origin()
    app = lane("app")
    settings = f'[fallback]\nmode = "upstream"\nupstream = "127.0.0.1:{web.port}"\n'
    async with (
        running_proxy([app], settings=settings) as proxy,
        app.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        async with web.serving(keep_answering):
            assert (await client.ask(request("POST", "/style.css", body=b"data"))).status == 200
            assert (await client.ask(get("/app/x"))).status == 200
        assert [message.split()[1] for message in web.requests] == [b"/style.css"]
        assert [message.split()[1] for message in app.origin.requests] == [b"/app/x"]
        assert field(web.requests[0], b"$wsra") == b"127.0.0.1"
        web.refuse()
        assert (await client.ask(get("/style.css"))).status == 503
    web.close()
