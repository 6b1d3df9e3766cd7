"""``files`` of an ``[[edge]]`` in the real process: whole files, parts, versions, compressed ones; and who may not have them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.certificates import Authority
from tests.support.client import Client, ask, get, request
from tests.support.origin import keep_answering
from tests.support.process import STEPS, WAIT_S
from tests.support.proxy import Proxy, lane, running_proxy, tcp_table
from tests.support.tls_pipe import TlsClient, client_context

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = """
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
certificates = [{{ chain = "shop.pem", key = "shop.key" }}]
[log]
most_a_second = 10_000
access = "{folder}/access.log"
access_format = "%m %U %>s %B"
[[edge]]
paths = ["/static/private/*"]
deny = ["all"]
[[edge]]
paths = ["/static/*"]
files = {{ root = "www", strip = "/static", precompressed = ["gz"], cache_control = "max-age=60" }}
[[edge]]
paths = ["/old/*"]
files = {{ root = "www/old", strip = "/old", index = ["start.htm"], charset = "" }}
[[edge]]
headers.set = {{ "X-Frame-Options" = "DENY" }}
"""
BIG = os.urandom(9_000_000)  # more than the kernel takes at once (tcp_wmem: 4 MiB)
SCRIPT = b"let a = 1;\n" * 500


@dataclass(slots=True)
class Site:
    proxy: Proxy
    folder: Path

    async def open(self, *, tls: bool = False) -> Client:
        if tls:
            context = client_context(self.folder / "ca.pem")
            return await TlsClient.open(self.proxy.ports[1], context, "shop.example")
        return await Client.connect(self.proxy.port)

    def open_files(self) -> list[str]:
        """What workers have open below the folder of the files."""
        found = []
        for pid in self.proxy.workers():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    found.append(str(fd.readlink()))
                except FileNotFoundError:
                    continue
        return [path for path in found if path.startswith(f"{self.folder}/www")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("static")
    ca = Authority()
    ca.write_pem(folder)
    ca.issue("shop.example").write_pem(folder, "shop")
    root = folder / "www"
    for name in ("old", "private", "css"):
        (root / name).mkdir(parents=True)
    (root / "index.html").write_bytes(b"<p>index")
    (root / "big.bin").write_bytes(BIG)
    (root / "a.js").write_bytes(SCRIPT)
    (root / "a.js.gz").write_bytes(zlib.compress(SCRIPT, wbits=31))
    (root / "old" / "start.htm").write_bytes("<p>älter".encode("latin-1"))
    (root / "private" / "key").write_bytes(b"secret")
    (root / "css" / "index.html").write_bytes(b"css")
    for path in root.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    app = lane("app")
    settings = SETTINGS.format(folder=folder)
    async with (
        running_proxy([app], settings=settings, listen=None, folder=folder) as proxy,
        app.origin.serving(keep_answering),
    ):
        yield Site(proxy, folder)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_files_of_every_kind_on_one_connection(site: Site, tls: bool) -> None:
    """Between them requests that go to a server; each file has what the tables say of its path."""
    async with await site.open(tls=tls) as client:
        answer = await client.ask(get("/static/"))
        assert (answer.status, answer.body) == (200, b"<p>index")
        assert [answer.get(name) for name in (b"cache-control", b"x-frame-options", b"vary")] == [
            b"max-age=60",
            b"DENY",
            b"Accept-Encoding",
        ]
        assert (await client.ask(get("/app/x"))).get(b"cache-control") is None
        answer = await client.ask(get("/static/a.js", "Accept-Encoding: gzip, br"))
        assert zlib.decompress(answer.body, 31) == SCRIPT
        assert answer.get(b"content-encoding") == b"gzip"
        assert answer.get(b"content-type") == b"text/javascript; charset=utf-8"
        assert (await client.ask(get("/static/a.js"))).body == SCRIPT
        assert (await client.ask(get("/static/big.bin"))).body == BIG
        answer = await client.ask(get("/old/"))
        assert (answer.body, answer.get(b"content-type")) == (
            "<p>älter".encode("latin-1"),
            b"text/html",
        )
        assert (await client.ask(get("/static/css"))).get(b"location") == b"/static/css/"
        assert (await client.ask(get("/static/none"))).status == 404
        assert (await client.ask(request("DELETE", "/static/a.js"))).get(b"allow") == b"GET, HEAD"
        assert (await client.ask(get("/app/x"))).status == 200


async def test_download_goes_on_where_it_ended(site: Site) -> None:
    """And begins anew where the file is another one."""
    async with await site.open() as client:
        answer = await client.ask(get("/static/big.bin", "Range: bytes=0-999999"))
        assert (answer.status, answer.body) == (206, BIG[:1_000_000])
        tag = (answer.get(b"etag") or b"").decode()
        lines = "Range: bytes=1000000-", f"If-Range: {tag}"
        answer = await client.ask(get("/static/big.bin", *lines))
        assert (answer.status, answer.body) == (206, BIG[1_000_000:])
        assert answer.get(b"content-range") == b"bytes 1000000-%d/%d" % (len(BIG) - 1, len(BIG))
        answer = await client.ask(
            get("/static/big.bin", "Range: bytes=1000000-", 'If-Range: "other"')
        )
        assert (answer.status, answer.body) == (200, BIG)
        answer = await client.ask(get("/static/big.bin", f"Range: bytes={len(BIG)}-"))
        assert (answer.status, answer.get(b"content-range")) == (416, b"bytes */%d" % len(BIG))
        answer = await client.ask(get("/static/big.bin", "Range: bytes=0-1,5-6"))
        assert (answer.status, answer.body) == (200, BIG)


async def test_version_that_the_client_has_is_not_sent_again(site: Site) -> None:
    async with await site.open() as client:
        first = await client.ask(get("/static/a.js", "Accept-Encoding: gzip"))
        tag = (first.get(b"etag") or b"").decode()
        changed = (first.get(b"last-modified") or b"").decode()
        for line in (f"If-None-Match: {tag}", f"If-Modified-Since: {changed}"):
            answer = await client.ask(get("/static/a.js", "Accept-Encoding: gzip", line))
            assert (answer.status, answer.get(b"etag")) == (304, tag.encode())
            assert answer.get(b"x-frame-options") == b"DENY"
        # The plain one is another version.
        assert (await client.ask(get("/static/a.js", f"If-None-Match: {tag}"))).status == 200
        answer = await client.ask(get("/static/a.js", 'If-Match: "x"'))
        assert answer.status == 412
        assert (await client.ask(get("/static/a.js"))).body == SCRIPT


async def test_client_of_http_1_0_gets_files(site: Site) -> None:
    async with await site.open() as client:
        answer = await client.ask(get("/static/big.bin", version="1.0"))
        assert (answer.body, answer.closes) == (BIG, True)
        assert await client.rest() == b""


@pytest.mark.parametrize(
    "target",
    [
        "/static/private/key",
        "/static/%70rivate/key",
        "/static//private/key",
        "/static/css/../private/key",
        "/static/./private/key",
        "/static/css/%2e%2e/private/key",
        "/static/private;x/key",
        "//static/private/key",
        "/x/../static/private/key",
        "/static%2fprivate/key",
        "/static/private%2fkey",
        "/static/private/../private/key",
    ],
)
async def test_denied_file_is_denied_by_any_spelling(site: Site, target: str) -> None:
    answer = await ask(site.proxy.port, get(target))
    assert answer.status in (403, 404)
    assert b"secret" not in answer.body


async def test_clients_that_leave_free_the_file(site: Site) -> None:
    """Also those that stand still when they do."""
    for _ in range(5):
        async with await Client.connect(site.proxy.port, receive_buffer=4096) as client:
            await client.send(get("/static/big.bin"))
            await client.head()
            assert site.open_files()
            client.reset()
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while site.open_files():
        assert asyncio.get_running_loop().time() < deadline, site.open_files()
        await asyncio.sleep(1 / STEPS)


async def test_clients_that_do_not_read_keep_nobody_waiting(site: Site) -> None:
    """More of them than there are threads that read: each holds its open file, and no thread."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(96):
            slow = await stack.enter_async_context(
                await Client.connect(site.proxy.port, receive_buffer=4096)
            )
            await slow.send(get("/static/big.bin"))
            await slow.head()
        assert len([each for each in site.open_files() if each.endswith("big.bin")]) == 96
        for _ in range(20):
            answer = await ask(site.proxy.port, get("/static/a.js"))
            assert (answer.status, answer.body) == (200, SCRIPT)


async def test_kernel_takes_little_ahead_of_a_slow_client(site: Site) -> None:
    """Not megabytes, which thousands of such clients would make gigabytes of."""
    async with await Client.connect(site.proxy.port, receive_buffer=4096) as slow:
        await slow.send(get("/static/big.bin"))
        await slow.head()
        ends = f":{site.proxy.port:04X}", f":{slow.sock.getsockname()[1]:04X}"
        taken = -1
        seen: list[int] = []
        while taken != max(seen, default=0):  # until it takes no more
            taken = max(seen, default=0)
            await asyncio.sleep(10 / STEPS)
            for near, far, _, queues, _ in tcp_table():
                if near.endswith(ends[0]) and far.endswith(ends[1]):
                    seen.append(int(queues.partition(":")[0], 16))
        assert 0 < taken < 1_000_000


async def test_access_log_has_each_answer(site: Site) -> None:
    """What was sent, in bytes of its body."""
    log = site.folder / "access.log"
    async with await site.open() as client:
        await client.ask(get("/static/a.js?logged"))
        await client.ask(get("/static/big.bin?logged", "Range: bytes=0-9"))
        await client.ask(request("HEAD", "/static/big.bin?logged"), head_only=True)
    expected = [
        f"GET /static/a.js 200 {len(SCRIPT)}",
        "GET /static/big.bin 206 10",
        "HEAD /static/big.bin 200 0",
    ]
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while (lines := log.read_text().splitlines() if log.exists() else [])[-3:] != expected:
        assert asyncio.get_running_loop().time() < deadline, lines[-5:]
        await asyncio.sleep(1 / STEPS)


async def test_log_says_which_table_and_why_not(site: Site) -> None:
    start = len(site.proxy.lines)
    assert (await ask(site.proxy.port, get("/static/nowhere"))).status == 404
    found = await site.proxy.line(r"404: no such file; \[\[edge\]\] 2", start)
    assert re.search(r"127\.0\.0\.1", found.string)
