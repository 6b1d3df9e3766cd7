"""Events of a running proxy as a listener gets them, over the Unix socket and by TCP; and the dashboard's files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import WAIT_S
from wsproxy._fast.state.segment import SharedState
from wsproxy.admin.dashboard import POLICY
from wsproxy.admin.events import MOST_LISTENERS
from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.admin.page import PAGE_FILES
from wsproxy.admin.server import serve
from wsproxy.admin.tcp import Token
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import build_plan

SECRET = "0123456789abcdef"
SHORT_S = 0.2
XML = """<Config><ServerCluster Name="farm">
<Server Name="s1" CloneID="c1"><Transport Hostname="127.0.0.1" Port="1"/></Server>
<Server Name="s2" CloneID="c2"><Transport Hostname="127.0.0.1" Port="2"/></Server>
</ServerCluster><UriGroup Name="all"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="all"/></Config>"""


class Asked:
    """One connection with one question."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.head = b""

    async def begin(self, path: str, *fields: str, method: str = "GET", body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", *(fields or ("Host: h",)), "Connection: close"]
        lines += [f"Content-Length: {len(body)}", "", ""]
        self.writer.write("\r\n".join(lines).encode() + body)
        async with asyncio.timeout(WAIT_S):
            self.head = await self.reader.readuntil(b"\r\n\r\n")
        self.status = int(self.head.split()[1])

    async def event(self, wanted: str) -> Any:
        """The next one of this name."""
        async with asyncio.timeout(WAIT_S):
            while True:
                text = (await self.reader.readuntil(b"\n\n")).decode()
                lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
                if lines.get("event") == wanted:
                    return json.loads(lines["data"])


@asynccontextmanager
async def asked(
    where: Path | tuple[str, int], path: str, *fields: str, method: str = "GET", body: bytes = b""
) -> AsyncIterator[Asked]:
    opening = (
        asyncio.open_unix_connection(where)
        if isinstance(where, Path)
        else asyncio.open_connection(*where)
    )
    found = Asked(*await opening)
    try:
        await found.begin(path, *fields, method=method, body=body)
        yield found
    finally:
        found.writer.close()
        with contextlib.suppress(OSError):
            await found.writer.wait_closed()


class Bed:
    def __init__(self, path: Path, tcp: tuple[str, int]) -> None:
        self.path, self.tcp = path, tcp


@asynccontextmanager
async def serving(folder: Path, connection_s: float = WAIT_S) -> AsyncIterator[Bed]:
    file = folder / "plugin-cfg.xml"
    file.write_text(XML)
    plan = build_plan(load_config(file).config, Settings(), SharedState())
    plan.apply()
    live = LiveProxy(ProxyFacts(os.getpid(), "2026-11-21T10:00:00+00:00", 1, plan, None))
    secret = folder / "token"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    path = folder / "a.sock"
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen()
    unix.setblocking(False)
    tcp = socket.create_server(("127.0.0.1", 0))
    tcp.setblocking(False)
    async with asyncio.timeout(2 * WAIT_S), asyncio.TaskGroup() as group:
        group.create_task(serve(live, unix, connection_s, tcp=tcp, token=Token(str(secret))))
        async with asked(path, "/health"):  # its handler of SIGTERM is there
            pass
        yield Bed(path, tcp.getsockname()[:2])
        os.kill(os.getpid(), signal.SIGTERM)


async def say(bed: Bed, verb: str, server: str) -> None:
    body = json.dumps({"target": server, "reason": "a test"}).encode()
    async with asked(bed.path, f"/v1/{verb}", method="POST", body=body) as answer:
        assert answer.status == 200


async def test_listener_hears_how_servers_are_and_what_becomes_of_them(tmp_path: Path) -> None:
    async with serving(tmp_path) as bed, asked(bed.path, "/v1/events") as one:
        assert b"Content-Type: text/event-stream" in one.head
        found = await one.event("state")
        assert [each["state"] for each in found["servers"]] == ["up", "up"]
        await say(bed, "drain", "s2")
        while found["servers"][1]["state"] != "drained":
            found = await one.event("state")
        assert found["servers"][1]["why"] == "a test"
        async with asked(bed.path, "/v1/events") as other:
            (change,) = await other.event("changes")
        assert (change["kind"], change["server"]) == ("drain_on", "s2")
        since = change["number"]
        async with asked(bed.path, f"/v1/events?since={since}") as third:
            await third.event("state")
            await say(bed, "resume", "s2")
            (change,) = await third.event("changes")
        assert (change["kind"], change["number"]) == ("drain_off", since + 1)


async def test_listener_stays_longer_than_a_question_may(tmp_path: Path) -> None:
    """A connection is cut after ``SHORT_S`` here; three looks take two seconds."""
    async with serving(tmp_path, SHORT_S) as bed, asked(bed.path, "/v1/events") as one:
        for _ in range(3):
            await one.event("state")


async def test_no_more_listeners_than_there_is_room_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as bed, contextlib.AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(asked(bed.path, "/v1/events"))
            for _ in range(MOST_LISTENERS)
        ]
        assert {each.status for each in held} == {200}
        async with asked(bed.path, "/v1/events") as refused:
            assert refused.status == 503
            assert b"close a dashboard" in await refused.reader.read()
        held[0].writer.close()
        status = 503
        while status != 200:  # its end is noticed with the next look
            async with asked(bed.path, "/v1/events") as again:
                status = again.status
            await asyncio.sleep(0.05)


async def test_end_waits_for_no_listener(tmp_path: Path) -> None:
    async with serving(tmp_path) as bed:
        one = Asked(*await asyncio.open_unix_connection(bed.path))
        await one.begin("/v1/events")
        await one.event("state")
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(one.reader.read(), WAIT_S)
    one.writer.close()


@pytest.mark.parametrize("since", ["x", "-1", "1" * 30])
async def test_what_is_no_number_is_refused(tmp_path: Path, since: str) -> None:
    async with serving(tmp_path) as bed:
        for path in ("/v1/events", "/v1/heat"):
            async with asked(bed.path, f"{path}?since={since}") as answer:
                assert answer.status == 400


async def test_files_need_no_token_and_what_they_ask_for_does(tmp_path: Path) -> None:
    async with serving(tmp_path) as bed:
        for path, (_, kind) in PAGE_FILES.items():
            async with asked(bed.tcp, path, "Host: proxy.shop.example:9180") as file:
                assert file.status == 200
                assert f"Content-Security-Policy: {POLICY}".encode() in file.head
                assert f"Content-Type: {kind}".encode() in file.head
                assert b"X-Content-Type-Options: nosniff" in file.head
        for path in ("/v1/events", "/v1/heat", "/v1/servers"):
            async with asked(bed.tcp, path, "Host: 127.0.0.1") as answer:
                assert answer.status == 401
            shown = f"Authorization: Bearer {SECRET}"
            async with asked(bed.tcp, path, "Host: 127.0.0.1", shown) as answer:
                assert answer.status == 200


DRAIN = b'{"target": "s1"}'


@pytest.mark.parametrize(
    "fields",
    [
        ("Host: localhost:9180", "Origin: http://evil.example"),
        ("Host: evil.example:9180", "Origin: http://evil.example:9180"),
        ("Host: localhost:9180", "Sec-Fetch-Site: cross-site"),
    ],
)
async def test_page_of_another_site_drains_nothing(tmp_path: Path, fields: tuple[str, ...]) -> None:
    """Also where the Unix socket is reached through a tunnel, whose end on the operator's machine is open to his browser."""
    async with serving(tmp_path) as bed:
        for where, status in ((bed.path, 403), (bed.tcp, 401)):
            async with asked(where, "/v1/drain", *fields, method="POST", body=DRAIN) as answer:
                assert answer.status == status
        async with asked(bed.path, "/v1/servers") as answer:
            found = json.loads(await answer.reader.read())
        assert found["servers"][0]["state"] == "up"
        own = ("Host: localhost:9180", "Origin: http://localhost:9180")
        async with asked(bed.path, "/v1/drain", *own, method="POST", body=DRAIN) as answer:
            assert answer.status == 200
