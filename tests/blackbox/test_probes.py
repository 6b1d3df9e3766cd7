"""Active probes of the real proxy: servers that are not well are out of service before a client's request finds out."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, ask, get
from tests.support.logfiles import described, lines_with, replay_own
from tests.support.origin import Origin, OriginConnection, Script
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, process_of, processes_of, running_proxy
from wsproxy.config.settings import RetrySettings, Settings

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\ndown"
PROBER = -2
PROBE = """
[probe]
type = "http"
path = "/health?key=SECRETKEY"
interval_s = 0.1
timeout_s = 0.5
rise = 2
fall = 2
"""


@dataclass(slots=True)
class Health:
    """A server that says on its health page what it is told to say, and serves requests all the same."""

    answer: bytes = OK
    page: bytes = OK
    served: int = 0
    probes: int = 0

    async def __call__(self, connection: OriginConnection) -> None:
        while True:
            message = await connection.request()
            if message.startswith(b"GET /health"):
                self.probes += 1
                if not self.answer:
                    await connection.end()  # it hangs
                    return
                await connection.send(self.answer)
                return
            self.served += 1
            await connection.send(self.page)


async def accept_and_close(_connection: OriginConnection) -> None:
    """A container whose port is passed on to an application that is not there."""


async def say_nothing(connection: OriginConnection) -> None:
    await connection.end()


@dataclass(slots=True)
class Bench:
    """A proxy that is asked for changes."""

    proxy: Proxy
    socket: Path

    def _changes(self, since: int) -> list[dict[str, Any]]:
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.socket))
        try:
            connection.request("GET", f"/v1/changes?since={since}")
            found: list[dict[str, Any]] = json.loads(connection.getresponse().read())["changes"]
        finally:
            connection.close()
        return found

    async def changes(self, since: int = 0) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self._changes, since)

    async def change(self, kind: str, server: str, since: int = 0) -> dict[str, Any]:
        """The first of this kind by the prober after number ``since``; waits for it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for each in await self.changes(since):
                    if (each["kind"], each["server"], each["worker"]) == (kind, server, PROBER):
                        return each
                await asyncio.sleep(0.02)

    def prober(self) -> int:
        pid = process_of(self.proxy.pid, "wsproxy-prober")
        return pid

    async def statuses(self, path: str, count: int) -> set[int]:
        """Of so many requests, each on a connection of its own: any worker may have it."""
        answers = await asyncio.gather(*(ask(self.proxy.port, get(path)) for _ in range(count)))
        return {answer.status for answer in answers}


@asynccontextmanager
async def bench(
    place: Path,
    *lanes: Lane,
    settings: str = PROBE,
    more: str = "",
    workers: int = 2,
    **options: Any,
) -> AsyncIterator[Bench]:
    file = place / "x.sock"
    text = f'{settings}\n{more}\n[admin]\nsocket = "{file}"\n'
    async with running_proxy(list(lanes), workers=workers, settings=text, **options) as proxy:
        yield Bench(proxy, file)


async def served_by(stack: AsyncExitStack, one: Lane, *scripts: Script) -> None:
    for member, script in zip(one.members, scripts, strict=True):
        await stack.enter_async_context(member.origin.serving(script))


@pytest.mark.parametrize(
    ("ill", "words"),
    [
        (accept_and_close, "connection closed in the probe|Connection reset"),
        (say_nothing, "no answer within 0.5 s"),
        (Health(BAD), "found status 503; allowed is 200-399"),
        (Health(b"garbage\r\n\r\n"), "no HTTP in answer to the probe"),
        (Health(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), "closed within the answer"),
    ],
    ids=["closes", "silent", "503", "garbage", "cut"],
)
async def test_a_server_that_is_not_well_gets_no_request(
    tmp_path: Path, ill: Script, words: str
) -> None:
    """A port that accepts is found to be no server before a client finds out; after the mark not one request is lost."""
    farm = lane("farm", 2, attributes='RetryInterval="60"')
    well = Health()
    more = '[[probe.cluster]]\nname = "farm"\nfall = 1\ninitial = "until_probed"\n'
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, ill, well)
        running = await stack.enter_async_context(bench(tmp_path, farm, more=more))
        down = await running.change("still_down", "s0")
        await running.change("up", "s1")
        assert re.search(words, down["detail"]), down
        assert f"probe: GET http://127.0.0.1:{farm.origin.port}/health: " in down["detail"]
        assert "SECRETKEY" not in "".join(running.proxy.lines)
        assert await running.statuses("/farm/x", 40) == {200}
        assert well.served == 40
        if isinstance(ill, Health):
            assert ill.served == 0


async def test_it_comes_and_goes(tmp_path: Path) -> None:
    """Each change of a server's health is one of its state: with its evidence, for all workers, without a client's request lost."""
    farm = lane("farm", 2, attributes='RetryInterval="60"')
    first, second = Health(), Health()
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, second)
        running = await stack.enter_async_context(bench(tmp_path, farm))
        assert await running.statuses("/farm/x", 20) == {200}
        last = 0
        for _ in range(2):
            first.answer = BAD
            failed = await running.change("probe_failed", "s0", last)
            down = await running.change("marked_down", "s0", last)
            assert down["number"] > failed["number"]
            await running.proxy.line(
                "server s0 of cluster farm is out of service: GET .*found status 503"
            )
            before = first.served
            assert await running.statuses("/farm/x", 30) == {200}
            assert first.served == before
            first.answer = OK
            back = await running.change(
                "up", "s0", down["number"]
            )  # long before RetryInterval is over
            last = back["number"]
            assert back["detail"].endswith("/health: status 200")
            assert await running.statuses("/farm/x", 30) == {200}
            assert first.served > before
        [question] = {message for message in farm.origin.requests if b"/health" in message}
    assert question == (
        b"GET /health?key=SECRETKEY HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: wsproxy-probe/0.1.0\r\n"
        b"Accept: */*\r\nConnection: close\r\n\r\n" % farm.origin.port
    )


async def test_a_failed_request_still_marks_it_down(tmp_path: Path) -> None:
    """At once, though its health page is fine; probes bring it back before RetryInterval is over."""
    farm = lane("farm", 2, attributes='RetryInterval="3600"')
    first, second = Health(), Health()
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, second)
        running = await stack.enter_async_context(
            bench(tmp_path, farm, more="[retry]\nserver_errors = 'mark_down'\n")
        )

        first.page = BAD.replace(b"503", b"500")
        assert await running.statuses("/farm/x", 10) == {200}
        marks = [each for each in await running.changes() if each["kind"] == "marked_down"]
        assert {(each["server"], each["worker"] >= 0) for each in marks} == {("s0", True)}
        first.page = OK
        await running.change("up", "s0", marks[0]["number"])
        assert first.served >= 1


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_its_prober_nobody_stays_down(tmp_path: Path, how: signal.Signals) -> None:
    """
    Killed or stopped: what it said last ends, and a client's request brings the server back, as without probes.

    The one that was killed is started again; of the one that is stopped it is said that it hangs, and it is replaced.
    """
    farm = lane("farm", 2, attributes='RetryInterval="1"')
    first, second = Health(), Health()
    more = "[process]\nhang_s = 8\n" if how is signal.SIGSTOP else ""
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, second)
        running = await stack.enter_async_context(bench(tmp_path, farm, more=more))
        proxy = running.proxy
        proxy.expected = ["was killed by SIG", "SIGKILL"]
        first.answer = BAD
        down = await running.change("marked_down", "s0")
        victim = running.prober()
        first.answer = OK
        os.kill(victim, how)
        if how is signal.SIGKILL:
            await proxy.line(
                rf"prober process \(pid {victim}\) was killed by SIGKILL; started again"
            )
            await running.change("up", "s0", down["number"])  # by the next one
        else:
            async with asyncio.timeout(WAIT_S):
                while first.served == 0:
                    assert await running.statuses("/farm/x", 2) == {200}
            kinds = {each["kind"]: each for each in await running.changes(down["number"])}
            assert kinds["probed"]["worker"] >= 0
            assert kinds["up"]["worker"] >= 0
            await proxy.line(
                rf"prober \(pid {victim}\) makes no turn for .* it was stopped by a signal"
            )
            await proxy.line(rf"prober process \(pid {victim}\) was killed by SIGABRT")
        assert running.prober() != victim
        first.answer = BAD
        await running.change("marked_down", "s0", down["number"] + 1)


async def test_without_probes_there_is_no_prober(tmp_path: Path) -> None:
    """Not even where weights grow."""
    farm = lane("farm", 2)
    async with bench(tmp_path, farm, settings="[probe]\nslow_start_s = 5\n") as running:
        await running.changes()
        assert processes_of(running.proxy.pid, "wsproxy-prober") == []


async def test_each_cluster_has_its_own(tmp_path: Path) -> None:
    """Another page and text; only a connection; and none at all. A name that does not resolve is a failed probe."""
    page, port, none = lane("page"), lane("port", 2), lane("none")
    nowhere = Lane("nowhere", [Member(Origin(), "gone", host="no-such-host.invalid")])
    health = Health(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n"
    )
    more = """
fall = 1
[[probe.cluster]]
name = "page"
path = "/health/deep"
host = "shop.example"
status = [204, "200-299"]
body = "all well"
[[probe.cluster]]
name = "port"
type = "tcp"
[[probe.cluster]]
name = "none"
type = "off"
"""
    async with AsyncExitStack() as stack:
        await served_by(stack, page, health)
        await served_by(stack, port, accept_and_close, say_nothing)
        await served_by(stack, none, accept_and_close)
        running = await stack.enter_async_context(
            bench(tmp_path, page, port, none, nowhere, settings=PROBE.replace("fall = 2", more))
        )
        closed = await running.change("marked_down", "s0")
        assert closed["cluster"] == "port"
        assert closed["detail"].endswith(
            f"{port.origin.port}: it accepts connections and closes them"
        )
        unknown = await running.change("marked_down", "gone")
        assert "no-such-host.invalid: " in unknown["detail"]
        health.answer = OK
        wrong = await running.change("marked_down", "s0", closed["number"])
        assert (wrong["cluster"], health.probes > 0) == ("page", True)
        assert "without the text of probe.body" in wrong["detail"]
        marked = {(each["cluster"], each["server"]) for each in await running.changes()}
        assert marked == {("port", "s0"), ("nowhere", "gone"), ("page", "s0")}
        assert none.origin.accepted == 0
    assert page.origin.requests[0].startswith(
        b"GET /health/deep HTTP/1.1\r\nHost: shop.example\r\n"
    )


async def test_nothing_goes_to_a_server_before_its_first_probe(tmp_path: Path) -> None:
    """With initial = "until_probed": requests that come earlier are answered by wsproxy."""
    farm = lane("farm")
    more = "timeout_s = 20\ninterval_s = 0.1\n"
    text = f'[probe]\ntype = "http"\ninitial = "until_probed"\n{more}'
    async with bench(tmp_path, farm, settings=text) as running:
        probe = await farm.origin.accept()
        await probe.head()
        assert await running.statuses("/farm/x", 5) == {503}
        await probe.send(OK)
        await running.change("up", "s0")
        async with await Client.connect(running.proxy.port) as client:
            await client.send(get("/farm/x"))
            while b"/farm/x" not in (await (each := await farm.origin.accept()).head()):
                await each.send(OK)
            await each.send(OK)
            assert (await client.answer()).status == 200


async def test_a_reload_takes_over_probes_too(tmp_path: Path) -> None:
    """The prober comes with the first configuration that has any, follows the next one, and goes with the last."""
    farm = lane("farm", 2, attributes='RetryInterval="60"')
    first, second = Health(), Health()
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, second)
        running = await stack.enter_async_context(
            bench(tmp_path, farm, settings="[probe]\n", folder=tmp_path)
        )
        proxy, file = running.proxy, tmp_path / "wsproxy.toml"
        before = file.read_text()

        async def put(probe: str) -> int:
            start = len(proxy.lines)
            new = tmp_path / "new"
            new.write_text(before.replace("[probe]\n", probe))
            new.replace(file)
            await proxy.line("generation [0-9]+ of the configuration is in use", start)
            return start

        assert processes_of(proxy.pid, "wsproxy-prober") == []
        first.answer = BAD
        await put(PROBE)
        down = await running.change("marked_down", "s0")
        assert await running.statuses("/farm/x", 20) == {200}
        assert first.served == 0
        prober = running.prober()
        await put(PROBE.replace("/health?key=SECRETKEY", "/other"))
        await running.change("up", "s0", down["number"])  # that page is fine
        assert running.prober() == prober
        start = await put(PROBE.replace("http", "off"))
        await proxy.line(
            rf"prober process \(pid {prober}\) ended: it is not needed any more", start
        )
        await put(PROBE)
        await running.change("marked_down", "s0", down["number"])
        assert running.prober() != prober


async def test_marks_stand_in_http_plugin_log_and_replay_follows_them(tmp_path: Path) -> None:
    """In the plug-in's words, so that scripts for it count them; each once, with what came before, and until it ended."""
    farm = lane("farm", 2, attributes='RetryInterval="3600"')
    first, second = Health(), Health()
    log = tmp_path / "http_plugin.log"
    failed = BAD.replace(b"503", b"500")
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, second)
        running = await stack.enter_async_context(
            bench(
                tmp_path,
                farm,
                more="[retry]\nserver_errors = 'mark_down'\n",
                routes=f'<Log Name="{log.name}" LogLevel="Trace"/>',
                folder=tmp_path,
            )
        )

        async def asked() -> None:
            for at in range(12):
                cookie = [f"Cookie: JSESSIONID=0000session:c{at % 2}"] if at % 3 else []
                answer = await ask(running.proxy.port, get("/farm/x", *cookie))
                assert answer.status == 200

        async def told(pattern: str, count: int) -> None:
            await lines_with(log, pattern, count)

        await asked()
        first.answer = BAD
        await told(r"ERROR: ws_server: serverSetFailoverStatus: Marking s0 down$", 1)
        await asked()
        first.answer = OK
        await told(r"WARNING: .* A probe has brought 's0' in 'farm' back$", 1)
        await asked()
        first.page = failed  # now it is a request that marks it down, and probes that bring it back
        await asked()
        first.page = OK
        await told(r"A probe has brought 's0' in 'farm' back$", 2)
        await asked()
        first.page, first.answer = (
            failed,
            BAD,
        )  # probes prolong what a request, or they, have marked
        await told(r"A probe of 's0' in 'farm' failed: GET .*/health: found status 503;", 2)
        await asked()
        first.page, first.answer = OK, OK
        await told(r"A probe has brought 's0' in 'farm' back$", 3)
        await asked()
    lines = log.read_text().splitlines()
    assert "SECRETKEY" not in "\n".join(lines)
    by_probes = [line for line in lines if " 00000000 - ERROR: " in line]
    assert [line.partition("serverSetFailoverStatus: ")[2].split()[0] for line in by_probes] == [
        "A",
        "Marking",
    ] * 2
    replay, outcomes = replay_own(
        tmp_path, Settings(retry=RetrySettings(server_errors="mark_down"))
    )
    assert replay.summary.requests == 84
    assert replay.summary.differences == 0, described(outcomes)


@pytest.mark.parametrize("initial", ["down", "until_probed"])
async def test_servers_that_begin_as_down_are_in_the_plugin_log(
    tmp_path: Path, initial: str
) -> None:
    """At the start and by a reload, before any request; `replay` finds no difference where they are left out and where they have come in."""
    farm = lane("farm", 2)
    ill = Health(BAD)
    log = tmp_path / "http_plugin.log"
    awaited = r"WARNING: .* New, and down until a probe says otherwise: '{}' in '{}'$"
    back = r"WARNING: .* A probe has brought '{}' in '{}' back$"
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, Health(), ill)
        running = await stack.enter_async_context(
            bench(
                tmp_path, farm, settings=f'{PROBE}initial = "{initial}"',
                routes=f'<Log Name="{log.name}" LogLevel="Trace"/>', folder=tmp_path,
            )
        )  # fmt: skip
        await lines_with(log, awaited.format("s[01]", "farm"), 2)
        await lines_with(log, back.format("s0", "farm"))
        for _ in range(6):
            assert (await ask(running.proxy.port, get("/farm/x"))).status == 200
        ill.answer = OK
        await lines_with(log, back.format("s1", "farm"))
        for at in range(6):
            cookie = [f"Cookie: JSESSIONID=0000session:c{at % 2}"]
            assert (await ask(running.proxy.port, get("/farm/x", *cookie))).status == 200
        file = tmp_path / "plugin-cfg.xml"
        text = file.read_text().replace('Name="farm"', 'Name="barn"').replace('"farm"', '"barn"')
        file.write_text(text)
        await running.proxy.line(r"generation 2 of the configuration is in use")
        await lines_with(log, awaited.format("s[01]", "barn"), 2)
        await lines_with(log, back.format("s[01]", "barn"), 2)
    lines = log.read_text().splitlines()
    first = next(at for at, line in enumerate(lines) if "/farm/x" in line)
    assert sum("New, and down" in line for line in lines[:first]) == 2
    file.write_text(text.replace('"barn"', '"farm"'))
    replay, outcomes = replay_own(tmp_path, Settings())
    assert replay.summary.requests == 12
    assert replay.summary.differences == 0, described(outcomes)


async def test_error_log_has_the_mark_alone(tmp_path: Path) -> None:
    """At LogLevel Error, the default; that it is over is no error."""
    farm = lane("farm", 2)
    first = Health(BAD)
    log = tmp_path / "http_plugin.log"
    async with AsyncExitStack() as stack:
        await served_by(stack, farm, first, Health())
        routes = f'<Log Name="{log.name}" LogLevel="Error"/>'
        running = await stack.enter_async_context(
            bench(tmp_path, farm, routes=routes, folder=tmp_path)
        )
        await lines_with(log, "Marking s0 down")
        first.answer = OK
        await running.change("up", "s0")
        first.answer = BAD
        await lines_with(log, "Marking s0 down", 2)
    assert "brought" not in log.read_text()
