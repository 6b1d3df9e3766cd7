"""What the log, the changes and the access log tell of requests that fail: which one, where, why, and when it is over."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.client import Client, ask, get, request
from tests.support.logfiles import lines_with
from tests.support.origin import OriginConnection, keep_answering
from tests.support.proxy import Lane, Proxy, lane, running_proxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "QWERTZUIOPASDFGHJKLYX"
# Routes of their own, by VirtualHost; the lanes take any.
ROUTES = """
<VirtualHostGroup Name="shop"><VirtualHost Name="shop.example:80"/><VirtualHost Name="*:443"/></VirtualHostGroup>
<UriGroup Name="shop"><Uri Name="/shop/*"/></UriGroup>
<Route ServerCluster="farm" VirtualHostGroup="shop" UriGroup="shop"/>
"""
SETTINGS = """
[log]
access = "access.log"
access_format = '%r %>s WAS=%{WAS}e %L'
[admin]
socket = "x.sock"
[explain]
trusted = ["127.0.0.1"]
[upstream]
splice = true
[timeouts]
body_s = 30
"""
KEPT = {"nothing": "0", "one KB": "1", "all": "64"}
# More than one KB, and more than a pipe is worth.
BODIES = {"small": 10, "large": 60_000}
HOW = ("closes", "bad answer", "hangs", "bad chunk", "cut")
OUTCOMES = {
    "closes": r"answered 50[02] by wsproxy after a failure .*connection closed before the answer",
    "bad answer": r"answered 502 by wsproxy after a failure .*answer is not HTTP/1.1",
    "hangs": r"answered 504 by wsproxy after a failure .*ServerIOTimeout",
    "bad chunk": r"(answered 502 by wsproxy|cut off within the answer) after a failure .*answer is not HTTP/1.1: chunk size",
    "cut": r"cut off within the answer after a failure .*connection closed, within its answer",
}


@dataclass(slots=True)
class Bench:
    proxy: Proxy
    folder: Path
    lanes: dict[str, Lane]

    async def changes(self, kind: str, server: str) -> list[dict[str, Any]]:
        """Of /v1/changes."""
        return await asyncio.to_thread(self._changes, kind, server)

    def _changes(self, kind: str, server: str) -> list[dict[str, Any]]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / "x.sock"))
        try:
            connection.request("GET", "/v1/changes")
            changes = json.loads(connection.getresponse().read())["changes"]
        finally:
            connection.close()
        return [each for each in changes if (each["kind"], each["cluster"]) == (kind, server)]

    async def access_line(self, path: str) -> str:
        lines = await lines_with(self.folder / "access.log", path)
        [found] = [line for line in lines if path in line]
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("telling")
    lanes = {
        name: lane(f"keep{at}", attributes=f'PostBufferSize="{size}"', server='ServerIOTimeout="1"')
        for at, (name, size) in enumerate(KEPT.items())
    }
    lanes["down"] = lane("down", attributes='PostBufferSize="0"', server='ServerIOTimeout="-1"')
    lanes["up"] = lane("up", 2, attributes='RetryInterval="1" PostBufferSize="0"')
    lanes["farm"] = lane("farm")
    async with running_proxy(
        list(lanes.values()), settings=SETTINGS, routes=ROUTES, folder=folder
    ) as proxy:
        yield Bench(proxy, folder, lanes)


def get_from(host: str, path: str, *lines: str) -> bytes:
    """A GET with this Host."""
    return "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


async def hang(connection: OriginConnection) -> None:
    """Reads a request and says nothing to it."""
    await connection.request()
    await connection.end()


async def fail(connection: OriginConnection, how: str) -> None:
    """Reads the request whole and fails it in this way."""
    await connection.request()
    if how == "bad answer":
        await connection.send(b"garbage\r\n\r\n")
    elif how == "bad chunk":
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    elif how == "cut":
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    if how == "hangs":
        await connection.end()
    connection.close()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kept", KEPT)
async def test_the_line_of_a_failed_request_names_it(bench: Bench, kept: str, how: str) -> None:
    """Method, path and request id, without the session: whatever was kept of it, on a connection's first request and a later one."""
    one = bench.lanes[kept]
    for size in BODIES.values():
        for is_first in (True,) if how == "hangs" else (True, False):  # a hang takes a second
            path = f"/{one.name}/{how.replace(' ', '-')}/{size}/{is_first}"
            start = len(bench.proxy.lines)
            async with await Client.connect(bench.proxy.port) as client:
                if not is_first:
                    async with one.origin.serving(keep_answering):
                        assert (await client.ask(get(f"/{one.name}/warm"))).status == 200
                target = f"{path};jsessionid=0000{SECRET}:c0?q={SECRET}"
                await client.send(request("POST", target, body=b"x" * size))
                await fail(await one.origin.accept(), how)
                line = await bench.proxy.line(f"POST {path}: {OUTCOMES[how]}", start)
            told = re.search(r"; id=([0-9a-f]{8}-[0-9a-f]{8})$", line.string.strip())
            assert told, line.string
            logged = await bench.access_line(path)
            assert logged.endswith(told[1])
            assert f"WAS=127.0.0.1:{one.origin.port} " in logged
    assert not [line for line in bench.proxy.lines if SECRET in line]


async def test_a_change_names_the_request_whose_body_was_not_kept(bench: Bench) -> None:
    """In /v1/changes, with its id; so does the line of the mark. The access log names the server that hung."""
    one = bench.lanes["down"]
    async with one.origin.serving(hang):
        answer = await ask(bench.proxy.port, request("POST", "/down/order?x=1", body=b"abc"))
    assert answer.status == 504
    [change] = await bench.changes("marked_down", "down")
    assert change["request"] == "POST /down/order"
    mark = await bench.proxy.line("ERROR .*Marking s0 down: cluster down, .*: ServerIOTimeout; id=")
    assert mark.string.strip().endswith(f"id={change['request_id']}")
    logged = await bench.access_line("/down/order")
    assert f" 504 WAS=127.0.0.1:{one.origin.port} {change['request_id']}" in logged


async def test_the_server_that_had_the_request_is_named(tmp_path: Path) -> None:
    """Also where wsproxy answers because of the client: an upload that stalls, and one that is too large. Not where none had it."""
    one = lane("one", attributes='PostSizeLimit="1"')
    settings = SETTINGS.replace("body_s = 30", "body_s = 0.3")
    async with running_proxy([one], settings=settings, folder=tmp_path) as proxy:
        head = "POST /one/{} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        for path, more, status in (("stalls", "", 408), ("large", f"800\r\n{'x' * 2048}\r\n", 413)):
            async with await Client.connect(proxy.port) as client:
                await client.send(head.format(path).encode())
                server = await one.origin.accept()
                await server.until(b"abc\r\n")
                await client.send(more.encode())
                assert (await client.answer()).status == status
                await proxy.line(rf"POST /one/{path}: {status}: .*; id=[0-9a-f-]{{17}}$")
        assert (await ask(proxy.port, request("POST", "/one/x", body=b"x" * 2048))).status == 413
        lines = await lines_with(tmp_path / "access.log", "/one/x")
    named = [re.sub(r".* (\S+) HTTP/1.1 (\d+) WAS=(\S+) .*", r"\1 \2 \3", line) for line in lines]
    address = f"127.0.0.1:{one.origin.port}"
    assert named == [f"/one/stalls 408 {address}", f"/one/large 413 {address}", "/one/x 413 -"]


async def test_each_mark_has_its_end(bench: Bench) -> None:
    """One line that the server is up again: for how long it was not, what it answered, and why it had been down."""
    pair = bench.lanes["up"]
    first, second = (member.origin for member in pair.members)
    start = len(bench.proxy.lines)
    first.refuse()
    async with second.serving(keep_answering):
        while not any("s0 is still down" in line for line in bench.proxy.lines[start:]):
            answer = await ask(bench.proxy.port, request("POST", "/up/order", body=b"x" * 5000))
            assert answer.status == 200
        first.reopen()
        async with first.serving(keep_answering):
            while not any("s0 is up again" in line for line in bench.proxy.lines[start:]):
                body = b"x" * 5000
                assert (await ask(bench.proxy.port, request("POST", "/up/y", body=body))).status
    lines = [line for line in bench.proxy.lines[start:] if "s0" in line and "ERROR" in line]
    assert sum("Marking s0 down: cluster up" in line for line in lines) == len(lines) == 1
    [up] = [line for line in bench.proxy.lines[start:] if "is up again" in line]
    found = re.search(
        rf"WARNING .*s0 is up again after (\d+\.\d) s: cluster up, 127\.0\.0\.1:{first.port}: it answered POST /up/y with 200; "
        r"it was down because of: could not connect: .*; id=[0-9a-f-]{17}$",
        up.strip(),
    )
    assert found, up
    assert 1 <= float(found[1]) < 30
    [change] = await bench.changes("up", "up")
    assert change["request"] == "POST /up/y"


async def test_a_404_says_why(bench: Bench) -> None:
    """In the log: no VirtualHost, or no Uri, and the nearest; to a client nothing of it unless it is trusted and asks."""
    start = len(bench.proxy.lines)
    page = await ask(bench.proxy.port, get_from("h:8080", "/shop/x"))
    assert page.status == 404
    assert b"VirtualHost" not in page.head + page.body
    await bench.proxy.line(
        "404: no route for /shop/x: no Uri takes /shop/x; Uri /shop/\\* is for VirtualHostGroup shop", start
    )  # fmt: skip
    await ask(bench.proxy.port, get_from("shop.example", "/shp/x"))
    await bench.proxy.line(
        r"404: no route for /shp/x: VirtualHostGroup shop takes shop\.example:80, no Uri takes /shp/x \(nearest: /shop/\*\); id=",
        start,
    )
    asked = await ask(bench.proxy.port, get_from("shop.example", "/shp/x", "X-Wsproxy-Explain: 1"))
    assert b"no Route matches: VirtualHostGroup shop takes shop.example:80" in asked.head


async def test_the_host_may_end_with_a_dot(bench: Bench) -> None:
    """``shop.example.`` is the host ``shop.example``, with a port or without; the server gets Host as it came."""
    origin = bench.lanes["farm"].origin
    async with origin.serving(keep_answering):
        for host in ("shop.example.", "SHOP.example.:80"):
            assert (await ask(bench.proxy.port, get_from(host, "/shop/x"))).status == 200
            assert f"Host: {host}".encode() in origin.requests[-1]
        assert (await ask(bench.proxy.port, get_from("shop.example..", "/shop/x"))).status == 404
