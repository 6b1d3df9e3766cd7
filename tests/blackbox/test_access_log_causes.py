"""How a request ended, in its line, where the real process and the real command are what ends it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.blackbox.test_access_log import SWITCH, UPGRADE, settings_of
from tests.support.client import Client, get, request
from tests.support.logfiles import lines_with
from tests.support.origin import OriginConnection
from tests.support.proxy import Lane, lane, running_proxy
from wsproxy.cli.main import main

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


async def test_a_tunnel_in_which_nobody_says_anything(tmp_path: Path) -> None:
    """Closed by wsServerIdleTimeout: in order, with all bytes of both ways, and not for the client's fault."""
    cluster = lane("a", server='wsServerIdleTimeout="1"')
    async with (
        running_proxy(
            [cluster], folder=tmp_path, settings=settings_of("%U %s %B %X %{cause}x")
        ) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/a/x", *UPGRADE))
        server = await cluster.origin.accept()
        await server.answer(SWITCH)
        await client.head()
        await server.send(b"seven b")
        await client.exactly(7)
        assert await server.end() == b""
        assert await client.rest() == b""
        (line,) = await lines_with(tmp_path / "access.log")
    assert line == "/a/x 101 7 - sD"


async def within_request(client: Client, cluster: Lane) -> OriginConnection:
    await client.send(request("POST", "/a/x", "Content-Length: 10") + b"12345")
    server = await cluster.origin.accept()
    await server.head()
    await server.exactly(5)
    return server


async def before_answer(client: Client, cluster: Lane) -> OriginConnection:
    await client.send(get("/a/x"))
    server = await cluster.origin.accept()
    await server.request()
    return server


async def within_answer(client: Client, cluster: Lane) -> OriginConnection:
    server = await before_answer(client, cluster)
    await server.send(HEAD + b"12345")
    await client.head()
    await client.exactly(5)
    return server


async def within_tunnel(client: Client, cluster: Lane) -> OriginConnection:
    await client.send(get("/a/x", *UPGRADE))
    server = await cluster.origin.accept()
    await server.answer(SWITCH)
    await client.head()
    await server.send(b"12345")
    await client.exactly(5)
    return server


@pytest.mark.parametrize(
    ("begin", "told"),
    [
        (within_request, "/a/x 500 0 X KR"),
        (before_answer, "/a/x 500 0 X KH"),
        (within_answer, "/a/x 200 5 X KD"),
        (within_tunnel, "/a/x 101 5 X KD"),
    ],
)
async def test_a_request_that_an_operator_kills(begin: Any, told: str, tmp_path: Path) -> None:
    """`wsproxy kill REQUEST`, by the id that the line has, too."""
    cluster = lane("a")
    socket = tmp_path / "admin.sock"
    settings = settings_of("%U %s %B %X %{cause}x %L") + f'[admin]\nsocket = "{socket}"\n'

    async def run(*words: str) -> Any:
        done = await asyncio.to_thread(
            CliRunner().invoke, main, [*words, "--json", "--socket", str(socket)]
        )
        assert done.exit_code == 0, done.output
        return json.loads(done.output)

    async with (
        running_proxy([cluster], folder=tmp_path, settings=settings) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        server = await begin(client, cluster)
        (row,) = (await run("requests"))["requests"]
        await run("kill", row["id"])
        assert await client.is_cut()
        await server.end()
        (line,) = await lines_with(tmp_path / "access.log")
    assert re.fullmatch(rf"{told} {row['id']}", line), (line, row["id"])
