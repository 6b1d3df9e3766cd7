"""``X-Wsproxy-Explain: 1``: a client that is trusted gets the decision in its answer's fields, nobody else gets anything."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.client import Answer, Client, ask, get, request
from tests.support.origin import Origin, OriginConnection, keep_answering
from tests.support.plugin_log import PluginLog
from tests.support.process import COMMAND_S
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from wsproxy.logs.messages import Code

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = "X-Wsproxy-Explain: 1"
TRUSTED, STRANGER = "127.0.0.1", "127.0.0.2"
SETTINGS = f"""
[explain]
trusted = ["{TRUSTED}", "10.0.0.0/8"]
[affinity]
takeover_s = 0
"""
OWN = b"x-wsproxy-"


def told(answer: Answer) -> dict[str, str]:
    """The fields of the decision, by what follows X-Wsproxy-."""
    return {
        name.removeprefix(OWN).decode(): value.decode()
        for name, value in answer.fields
        if name.startswith(OWN)
    }


@dataclass(slots=True)
class Bed:
    """A proxy whose log is written or not, a cluster of two, and lanes for servers that fail."""

    proxy: Proxy
    farm: Lane
    dead: Lane
    odd: Lane
    busy: Lane

    async def ask(self, message: bytes, source: str = TRUSTED) -> Answer:
        async with await Client.connect(self.proxy.port, source=source) as client:
            return await client.ask(message)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["quiet", "trace"])
async def bed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bed]:
    folder = tmp_path_factory.mktemp(request.param)
    log = '<Log Name="http_plugin.log" LogLevel="Trace"/>' if request.param == "trace" else ""
    farm, dead = lane("farm", 2), lane("dead", 2, attributes='RetryInterval="3600"')
    odd = Lane("odd", [Member(Origin(), "s&#13;&#10;X-Evil: 1&#233;", 'CloneID="c0"')])
    busy = lane("busy", 2, server='MaxConnections="1"')
    dead.members[0].origin.refuse()
    async with running_proxy(
        [farm, dead, odd, busy], settings=SETTINGS, routes=log, folder=folder
    ) as proxy:
        yield Bed(proxy, farm, dead, odd, busy)


async def test_decision_by_affinity(bed: Bed) -> None:
    """Server, Route, score, the clone id, and the id that the logs have."""
    async with bed.farm.members[1].origin.serving(keep_answering):
        answer = await bed.ask(get("/farm/x", ASK, "Cookie: JSESSIONID=0000abc:c9:c1"))
    fields = told(answer)
    worker = bed.proxy.workers()[0]
    assert re.fullmatch(rf"{worker:08x}-[0-9a-f]{{8}}", fields.pop("request-id"))
    assert fields == {
        "server": "s1",
        "route": "any host / farm -> farm",
        "score": "6/6",
        "affinity": "by clone id c1",
        "rule": "session affinity: the first clone id whose server is usable",
        "tries": "s1",
    }
    assert b"abc" not in answer.head.lower()  # the session id


async def test_request_id_counts_the_requests_of_a_connection(bed: Bed) -> None:
    """The number is the one that the plug-in log has as its tid, and an answer never shows another request's decision."""
    origins = [member.origin for member in bed.farm.members]
    async with (
        origins[0].serving(keep_answering),
        origins[1].serving(keep_answering),
        await Client.connect(bed.proxy.port) as client,
    ):
        ids = [
            told(await client.ask(get("/farm/x", *lines))).get("request-id")
            for lines in ([ASK], [], [ASK], ["X-Wsproxy-Explain: 0"], ["X-Wsproxy-Explain:"])
        ]
        assert told(await client.ask(b"GET / HTTP/1.1\r\nHost: h\r\nBad name: 1\r\n\r\n")) == {}
    assert ids[1] is ids[3] is ids[4] is None
    assert ids[0] is not None
    assert ids[2] is not None
    pid, number = ids[0].split("-")
    assert ids[2] == f"{pid}-{int(number, 16) + 2:08x}"


async def test_balanced_and_broken_affinity(bed: Bed) -> None:
    origins = [member.origin for member in bed.farm.members]
    async with origins[0].serving(keep_answering), origins[1].serving(keep_answering):
        free = told(await bed.ask(get("/farm/x", ASK)))
        lost = told(await bed.ask(get("/farm/x", ASK, "Cookie: JSESSIONID=0000abc:c8:c9")))
    assert free["affinity"] == "none"
    assert free["rule"] == "regular balancing (Round Robin) among the usable servers"
    assert free["tries"] == free["server"]
    assert lost["affinity"] == "broken: clone id c8, c9"
    assert lost["rule"].startswith("none of its clone ids has a usable server, so regular")


async def test_tries_of_a_request_that_failed_elsewhere(bed: Bed) -> None:
    """First the failed try itself; then the mark that it left, because of which the server is passed over."""
    session = "Cookie: JSESSIONID=0000abc:c0"
    async with bed.dead.members[1].origin.serving(keep_answering):
        first = told(await bed.ask(get("/dead/x", ASK, session)))
        later = told(await bed.ask(get("/dead/x", ASK, session)))
    assert (first["server"], first["tries"]) == ("s1", "s0 (could not connect), s1")
    assert first["rule"].startswith("after 1 failed: ")
    assert (later["server"], later["tries"]) == ("s1", "s0 (marked down), s1")
    assert later["affinity"] == first["affinity"] == "broken: clone id c0"


async def test_answers_of_wsproxy_itself(bed: Bed) -> None:
    """No Route, and no server: the page is as ever, and its head says why."""
    none = await bed.ask(get("/nowhere", ASK))
    assert none.status == 404
    fields = told(none)
    rule = "no Route matches: no Uri takes /nowhere; the fallback answers"
    assert (fields["route"], fields["rule"]) == ("none", rule)
    assert "server" not in fields
    dead = bed.dead.members[1].origin
    dead.refuse()
    refused = await bed.ask(get("/dead/x", ASK))
    dead.reopen()
    assert refused.status == 503
    fields = told(refused)
    assert fields["route"] == "any host / dead -> dead"
    assert "s1 (could not connect)" in fields["tries"]
    assert fields["rule"].startswith("after ")
    plain = await bed.ask(get("/nowhere"))
    assert (plain.status, told(plain), plain.body) == (404, {}, none.body)


async def test_full_servers_are_told(bed: Bed) -> None:
    """Both at MaxConnections: 503 with who was passed over and why."""
    release = asyncio.Event()
    both = asyncio.Barrier(3)

    async def hold(connection: OriginConnection) -> None:
        await connection.request()
        await both.wait()
        await release.wait()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origins = [member.origin for member in bed.busy.members]
    async with (
        origins[0].serving(hold),
        origins[1].serving(hold),
        asyncio.TaskGroup() as group,
    ):
        held = [group.create_task(bed.ask(get("/busy/x"))) for _ in range(2)]
        await both.wait()
        answer = await bed.ask(get("/busy/x", ASK))
        release.set()
        await asyncio.gather(*held)
    fields = told(answer)
    assert answer.status == 503
    assert sorted(fields["tries"].split(", ")) == [
        "s0 (at MaxConnections)",
        "s1 (at MaxConnections)",
    ]
    assert fields["rule"] == "every usable server is at MaxConnections"


@pytest.mark.parametrize("source", [TRUSTED, STRANGER])
async def test_question_and_forged_answers_are_not_forwarded(bed: Bed, source: str) -> None:
    """The server never sees a field of ours, in whatever spelling; the client none that the server made up."""

    async def forge(connection: OriginConnection) -> None:
        await connection.answer(
            b"HTTP/1.1 200 OK\r\nX-Wsproxy-Server: forged\r\nx-wsproxy-Anything: 1\r\nX-Wsproxy: kept\r\n"
            b"X-Other: kept\r\nContent-Length: 0\r\n\r\n"
        )

    origin = bed.farm.members[0].origin
    async with origin.serving(forge):
        answer = await bed.ask(
            get(
                "/farm/x",
                "Cookie: JSESSIONID=0000abc:c0",
                "x-wsproxy-EXPLAIN:1",
                "X-Wsproxy-Server: forged",
                "X-Wsproxyish: kept",
                "X-Forwarded-For: kept",
            ),
            source,
        )
    sent = origin.requests[-1].lower()
    assert b"x-wsproxy-" not in sent
    assert b"x-wsproxyish: kept" in sent
    assert b"x-forwarded-for: kept" in sent
    assert b"forged" not in answer.head
    assert b"anything" not in answer.head.lower()
    assert (answer.get(b"x-wsproxy"), answer.get(b"x-other")) == (b"kept", b"kept")
    assert told(answer).get("server") == ("s0" if source == TRUSTED else None)


@pytest.mark.parametrize(
    "line",
    [
        "X-Wsproxy-Explain: 1, 1",
        "X-Wsproxy-Explain: 11",
        "X-Wsproxy-Explain: yes",
        "X_Wsproxy_Explain: 1",
    ],
)
async def test_other_values_ask_nothing(bed: Bed, line: str) -> None:
    assert told(await bed.ask(get("/nowhere", line))) == {}


async def test_stranger_is_told_nothing_whatever_it_claims(bed: Bed) -> None:
    """Nobody becomes trusted by a field: it is the address of the connection that counts."""
    answer = await bed.ask(
        get(
            "/nowhere", ASK, f"X-Forwarded-For: {TRUSTED}", f"$WSRA: {TRUSTED}",
            f"Forwarded: for={TRUSTED}", f"X-Real-IP: {TRUSTED}",
        ),
        STRANGER,
    )  # fmt: skip
    assert (answer.status, told(answer)) == (404, {})


async def test_head_that_comes_byte_by_byte(bed: Bed) -> None:
    message = get("/farm/x", ASK, "Cookie: JSESSIONID=0000abc:c0")
    async with (
        bed.farm.members[0].origin.serving(keep_answering),
        await Client.connect(bed.proxy.port) as client,
    ):
        await client.send(*(message[at : at + 1] for at in range(len(message))))
        assert told(await client.answer())["server"] == "s0"


@pytest.mark.parametrize("clone_id", [b"c9", b"\xe9" * 400, b"x" * 4000])
async def test_values_are_printable_and_not_long(bed: Bed, clone_id: bytes) -> None:
    """Escapes do not make more of it: clients refuse heads of some ten KiB."""
    origins = [member.origin for member in bed.farm.members]
    async with origins[0].serving(keep_answering), origins[1].serving(keep_answering):
        head = get("/farm/x", ASK, "Cookie: JSESSIONID=0000abc:IDS")
        answer = await bed.ask(head.replace(b"IDS", b":".join([clone_id] * 3)))
    assert answer.status == 200
    fields = told(answer)
    assert fields["affinity"].startswith("broken: clone id ")
    for value in fields.values():
        assert len(value) <= 1000
        assert value.isascii()
        assert value.isprintable()


async def test_names_cannot_split_a_head(bed: Bed) -> None:
    """A line break in a Server's Name or what a client says ends as text in its own field."""
    async with bed.odd.origin.serving(keep_answering):
        message = get("/odd/x", ASK).replace(
            b"\r\n\r\n", b"\r\nCookie: JSESSIONID=0000abc:c7\xe9\xff:" + b"c" * 5000 + b"\r\n\r\n"
        )
        answer = await bed.ask(message)
    fields = told(answer)
    assert fields["server"] == "s\\r\\nX-Evil: 1\\xe9"
    assert answer.get(b"x-evil") is None
    assert fields["affinity"].startswith("broken: clone id c7\\xe9\\xff, ccc")
    assert len(fields["affinity"]) < 1100
    assert all(byte in range(0x20, 0x7F) or byte in b"\r\n" for byte in answer.head)


async def test_upload_that_is_too_large_and_head(bed: Bed) -> None:
    """Other methods: the fields do not depend on a body."""
    async with bed.farm.members[0].origin.serving(keep_answering):
        posted = await bed.ask(
            request("POST", "/farm/x", ASK, "Cookie: JSESSIONID=0000abc:c0", body=b"x" * 100_000)
        )
        async with await Client.connect(bed.proxy.port) as client:
            head = await client.ask(request("HEAD", "/nowhere", ASK), head_only=True)
    assert told(posted)["server"] == "s0"
    assert told(head)["route"] == "none"


async def test_nobody_is_trusted_by_default() -> None:
    """Not even this machine: what listens before wsproxy here speaks for everybody."""
    farm = lane("farm")
    async with running_proxy(
        [farm], config='TrustedProxyEnable="true"',
        routes=f'<TrustedProxyGroup><TrustedProxy Name="{TRUSTED}"/></TrustedProxyGroup>',
    ) as proxy, farm.origin.serving(keep_answering):  # fmt: skip
        assert told(await ask(proxy.port, get("/farm/x", ASK))) == {}
    assert b"x-wsproxy" not in farm.origin.received.lower()


async def test_answers_of_files_have_it(tmp_path: Path) -> None:
    (tmp_path / "page.txt").write_text("page")
    settings = f'{SETTINGS}[fallback]\nmode = "directory"\ndirectory = "{tmp_path}"\n'
    async with running_proxy([lane("farm")], settings=settings) as proxy:
        answer = await ask(proxy.port, get("/page.txt", ASK))
        assert (answer.status, answer.body, told(answer)["route"]) == (200, b"page", "none")


async def test_session_that_moved_and_request_that_waited() -> None:
    """What the memory of takeovers and the queue do is told as such."""
    farm = lane("farm", 2, attributes='RetryInterval="3600"', server='MaxConnections="1"')
    settings = f'[explain]\ntrusted = ["{TRUSTED}"]\n[queue]\nsize = 5\nwait_s = 30\n'
    session = "Cookie: JSESSIONID=0000abc:c0"
    held, release = asyncio.Event(), asyncio.Event()

    async def hold_one(connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            if b"/held" in message:
                held.set()
                await release.wait()
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    first, second = (member.origin for member in farm.members)
    first.refuse()
    async with running_proxy([farm], settings=settings) as proxy, second.serving(hold_one):
        await ask(proxy.port, get("/farm/x", session))
        moved = told(await ask(proxy.port, get("/farm/x", ASK, session)))
        assert moved["affinity"] == "by the memory of sessions that moved, instead of clone id c0"
        assert moved["rule"] == "session affinity: the session moved there a moment ago"
        async with asyncio.TaskGroup() as group:
            group.create_task(ask(proxy.port, get("/farm/held")))
            await held.wait()
            waiting = await Client.connect(proxy.port)
            await waiting.send(get("/farm/x", ASK))
            # Read after the one before it on another connection: it stands in the queue then.
            assert (await ask(proxy.port, get("/nowhere"))).status == 404
            release.set()
            async with waiting:
                waited = told(await waiting.answer())
    assert waited["server"] == "s1"
    assert waited["rule"].startswith("after waiting in the queue: ")
    assert waited["tries"] == "s0 (marked down), s1 (at MaxConnections), s1"


async def test_log_of_requests_that_ask_replays_without_a_difference(tmp_path: Path) -> None:
    """Who was passed over is told to the client and to the log: neither takes it from the other."""
    farm = lane("farm", 3, attributes='RetryInterval="3600"')
    farm.members[0].origin.refuse()
    log = '<Log Name="http_plugin.log" LogLevel="Trace"/>'
    origins = [member.origin for member in farm.members]
    async with (
        running_proxy([farm], settings=SETTINGS, routes=log, folder=tmp_path) as proxy,
        origins[1].serving(keep_answering),
        origins[2].serving(keep_answering),
    ):
        for number in range(6):
            lines = [ASK, "Cookie: JSESSIONID=0000abc:c0"][: 1 + number % 2]
            assert "server" in told(await ask(proxy.port, get("/farm/x", *lines)))
    text = (tmp_path / "http_plugin.log").read_text()
    assert re.search(r"TRACE: .*: Server s0 is marked down; retry in 3[56]", text)
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "wsproxy", "replay", str(tmp_path / "http_plugin.log")),
            *("--config", str(tmp_path / "plugin-cfg.xml"), "--json"),
        ],
        capture_output=True,
        check=False,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, done.stdout


async def test_replay_against_compares_servers(tmp_path: Path) -> None:
    """``replay --against`` asks with this field: an answer from another server than the log's is a difference."""
    farm = lane("farm", 2)
    log = PluginLog()
    for server in ("s0", "s1"):
        log.routed("/farm/a")
        log.named(server)
        log.write(Code.TRANSPORT, case=3, host="h1", port=9443)
        log.write(Code.REQUEST_LINE, target="/farm/a", minor=1)
        log.write(Code.COOKIE, value="JSESSIONID=0000a:c0")
        log.write(Code.STATUS_LINE, minor=1, status=200, reason="x")
        log.write(Code.END)
    path = tmp_path / "http_plugin.log"
    path.write_text(log.text())
    async with (
        running_proxy([farm], settings=SETTINGS, folder=tmp_path) as proxy,
        farm.members[0].origin.serving(keep_answering),
    ):
        done = await asyncio.to_thread(
            subprocess.run,
            [
                *(sys.executable, "-m", "wsproxy", "replay", str(path)),
                *("--config", str(tmp_path / "plugin-cfg.xml"), "--json"),
                *("--against", f"http://127.0.0.1:{proxy.port}", "--speed", "100"),
            ],
            capture_output=True,
            check=False,
            timeout=COMMAND_S,
        )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    answers = [each for each in found if each["type"] == "answer"]
    assert [(each["what"], each["logged"], each["answered"]) for each in answers] == [
        ("server", "s1", "s0")
    ]
    assert found[-1]["sent"]["same"] == 1
