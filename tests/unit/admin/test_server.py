"""The admin process from inside: connections that take too long are cut, whatever they wait for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.process import WAIT_S
from wsproxy._fast.state.segment import SharedState, now_ms
from wsproxy.admin.door import MOST_CONNECTIONS
from wsproxy.admin.live import LiveProxy, ProxyFacts
from wsproxy.admin.messages import ExplainQuestion, digest_of
from wsproxy.admin.server import serve
from wsproxy.admin.tcp import Token
from wsproxy.config.settings import Settings
from wsproxy.config.xml import load_config
from wsproxy.dataplane.plan import Plan, build_plan

SHORT_S = 0.3
STATUS = b"GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n"
HALF_BODY = b"POST /v1/explain HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{"
XML = """<Config><ServerCluster Name="farm"{more}>
<Server Name="s1" CloneID="c1"><Transport Hostname="127.0.0.1" Port="1"/></Server>
<Server Name="s2" CloneID="c2"><Transport Hostname="127.0.0.1" Port="2"/></Server>
</ServerCluster><UriGroup Name="all"><Uri Name="/*"/></UriGroup><Route ServerCluster="farm" UriGroup="all"/></Config>"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    file = tmp_path / "plugin-cfg.xml"
    file.write_text(XML.format(more=""))
    made = build_plan(load_config(file).config, Settings(), SharedState())
    made.apply()
    return made


@pytest.fixture
def live(plan: Plan) -> LiveProxy:
    return LiveProxy(ProxyFacts(os.getpid(), "2026-11-21T10:00:00+00:00", 1, plan, None))


def listening(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    sock.setblocking(False)
    return sock


@pytest_asyncio.fixture
async def path(live: LiveProxy, tmp_path: Path) -> AsyncIterator[str]:
    """Where it answers; ended as the supervisor ends it."""
    found = str(tmp_path / "a.sock")
    async with asyncio.TaskGroup() as group:
        group.create_task(serve(live, listening(tmp_path / "a.sock"), SHORT_S))
        reader, writer = await asyncio.open_unix_connection(
            found
        )  # it answers: its handler is there
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        await asyncio.wait_for(reader.read(), WAIT_S)
        writer.close()
        yield found
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/explain HT",
        HALF_BODY,
        STATUS,
    ],
    ids=["nothing", "half a head", "half a body", "kept open"],
)
async def test_connection_lasts_so_long_and_no_longer(path: str, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()


@pytest.mark.parametrize("sent", [b"", HALF_BODY], ids=["nothing", "half a body"])
async def test_end_waits_for_nobody(live: LiveProxy, tmp_path: Path, sent: bytes) -> None:
    """A client that hangs does not keep the process, which the supervisor would have to kill, and call that a failure."""
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        serving = group.create_task(serve(live, listening(tmp_path / "a.sock"), 10 * WAIT_S))
        _, hanging = await asyncio.open_unix_connection(tmp_path / "a.sock")
        hanging.write(sent)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "a.sock")
        writer.write(STATUS)
        for each in (hanging, writer):
            group.create_task(finished(each, serving))
        await reader.readuntil(b"}")  # what the first sent was read by then, too
        os.kill(os.getpid(), signal.SIGTERM)


async def finished(writer: asyncio.StreamWriter, serving: asyncio.Task[None]) -> None:
    await asyncio.shield(serving)
    writer.close()


async def test_compressed_question_is_refused_and_logged_nowhere(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    head = "POST /v1/explain HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\nConnection: close\r\n"
    writer.write(f"{head}\r\nxxxx".encode())
    answer = await asyncio.wait_for(reader.read(), WAIT_S)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"question: " in answer
    assert not caplog.records


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization Bearer hush-hush-hush\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization: hush-hush-hush" + b"x" * 10_000,
        b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nX: hush-hush-hush\r\n\r\n",
    ],
    ids=["no field", "too long", "two lengths"],
)
async def test_what_is_no_http_is_no_error_of_ours(
    path: str, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can send it by TCP: one line without what was sent, which may be a token, and no traceback."""
    caplog.set_level(logging.INFO)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(sent)
    with contextlib.suppress(ConnectionResetError):
        assert (await asyncio.wait_for(reader.read(), WAIT_S)).startswith(b"HTTP/1.0 400 ")
    writer.close()
    [record] = caplog.records
    assert (record.name, record.levelno, record.exc_info) == ("wsproxy.admin", logging.INFO, None)
    assert "found what is no HTTP question" in caplog.text
    assert "hush" not in caplog.text


async def test_who_fills_tcp_keeps_nobody_out_of_the_unix_socket(
    live: LiveProxy, tmp_path: Path
) -> None:
    """No token is needed to connect, and operators must not need luck."""
    tcp = socket.create_server(("127.0.0.1", 0))
    tcp.setblocking(False)
    port = tcp.getsockname()[1]
    file = tmp_path / "token"
    file.write_text("a-token-of-this-test\n")
    file.chmod(0o600)
    question = (
        b"GET /v1/status HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer a-token-of-this-test\r\n\r\n"
    )
    async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as group:
        serving = group.create_task(
            serve(
                live, listening(tmp_path / "a.sock"), 10 * WAIT_S, tcp=tcp, token=Token(str(file))
            )
        )
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MOST_CONNECTIONS)]
        asked, asking = await asyncio.open_unix_connection(tmp_path / "a.sock")
        asking.write(STATUS)
        assert (await asked.readline()).startswith(b"HTTP/1.1 200 ")
        # Nor out of TCP: the stranger who came first goes, and only he.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        with contextlib.suppress(ConnectionResetError):
            assert await held[0][0].read() == b""
        held[1][1].write(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await held[1][0].readline()).startswith(b"HTTP/1.1 200 ")
        # Whoever has asked what not everybody may stays, however many come: here all of them have.
        known = []
        for _ in range(MOST_CONNECTIONS - 1):
            known.append(await asyncio.open_connection("127.0.0.1", port))
            known[-1][1].write(question)
            assert (await known[-1][0].readline()).startswith(b"HTTP/1.1 200 ")
        late, last = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):
            assert await late.read() == b""  # one too many
        writer.write(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.readuntil(b"HTTP/1.1 200 ")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.shield(serving)
        for each in (writer, asking, last, *(end for _, end in (*held, *known))):
            each.close()


async def test_client_that_does_not_read_is_cut(path: str) -> None:
    """Pipelined questions whose answers nobody takes do not pile up for longer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, path)
        question = b"GET /v1/status HTTP/1.1\r\nHost: h\r\n\r\n" * 100

        async def ask_on() -> None:
            while True:  # what it cannot send makes it stop reading, and then the kernel takes no more either
                await loop.sock_sendall(sock, question)

        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            await asyncio.wait_for(ask_on(), WAIT_S)


def test_question_leaves_the_live_state_as_it_is(live: LiveProxy, plan: Plan) -> None:
    """Byte for byte what the cluster says, its marks and sessions included; and the marks are seen."""
    cluster = plan.clusters[0]
    assert cluster is not None
    cluster.set_down(0, 0, now_ms() + 3_600_000)
    before = [cluster.server_state(at) for at in range(2)], cluster.affinity_counts()
    question = ExplainQuestion("GET", "http://h/x", ["Cookie: JSESSIONID=0000abc:c1"])
    for _ in range(3):
        answer = live.explain(question).explanation
        assert (answer.server, answer.clone_ids[0].outcome[:16]) == ("s2", "marked down, for")
    assert ([cluster.server_state(at) for at in range(2)], cluster.affinity_counts()) == before


def test_answer_holds_no_session(live: LiveProxy) -> None:
    question = ExplainQuestion(
        "GET", "http://h/x;jsessionid=0000SECRET:c1?q=SECRET", ["Cookie: JSESSIONID=0000SECRET:c2"]
    )
    answer = json.dumps(live.explain(question), default=lambda found: {
        name: getattr(found, name) for name in found.__struct_fields__
    })  # fmt: skip
    assert "SECRET" not in answer
    assert '"c2"' in answer


def test_digest_tells_files_apart_by_what_they_say(tmp_path: Path) -> None:
    said = []
    for name, more in (("a.xml", ""), ("b.xml", ""), ("c.xml", ' LoadBalance="Random"')):
        (tmp_path / name).write_text(XML.format(more=more))
        said.append(digest_of(load_config(tmp_path / name).config))
    assert said[0] == said[1] != said[2]


def test_state_of_another_plan_is_refused(plan: Plan, tmp_path: Path) -> None:
    """A copy into other places would give one server the marks of another."""
    file = tmp_path / "other.xml"
    file.write_text(XML.format(more="").replace('"s1"', '"s3"'))
    other = build_plan(load_config(file).config, Settings(), SharedState())
    with pytest.raises(ValueError, match="allowed are those of a twin"):
        plan.state.copy_to(other.state)
