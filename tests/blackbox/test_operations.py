"""
What operators of such proxies complain of and ask at 3 a.m. (OPERATIONS.md): each test names the complaint that no other test has.

Others: 1, 3 in test_reload; 6 in test_control; 10, 11 in test_access_log and test_plugin_log; 12 in test_reuse and
test_server_errors; 7 and 8 are those of metrics.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.blackbox.test_probes import BAD, PROBE, Health
from tests.blackbox.test_reload import WATCHED_NOT, Running, running
from tests.blackbox.test_tls_clients import write_files
from tests.support.client import Client, ask, get
from tests.support.logfiles import lines_with
from tests.support.origin import Origin, OriginConnection, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Member, Proxy, lane, running_proxy
from tests.support.tls_pipe import TlsClient, client_context
from wsproxy.cli.main import main

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n"
)
RELOADS = 12


@asynccontextmanager
async def tunnel(proxy: Proxy, origin: Origin) -> AsyncIterator[tuple[Client, OriginConnection]]:
    """Both ends of a WebSocket."""
    async with await Client.connect(proxy.port) as client:
        await client.send(get("/one/x", *UPGRADE, "Cookie: JSESSIONID=0000abc:c0"))
        server = await origin.accept()
        await server.answer(SWITCH)
        assert (await client.head()).status == 101
        yield client, server
        server.close()


async def goes_both_ways(client: Client, server: OriginConnection) -> None:
    for word in (b"ping!", b"more."):
        await client.send(word)
        assert await server.exactly(len(word)) == word
        await server.send(word)
        assert await client.exactly(len(word)) == word


class Said(Running):
    """With commands, as a person types them."""

    async def run(self, *words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(
            CliRunner().invoke, main, [*words, "--socket", str(self.socket)]
        )
        assert done.exit_code == code, done.output
        return done.output

    async def servers(self, target: str = "") -> dict[str, dict[str, Any]]:
        words = ["status", *([target] if target else []), "--json"]
        return {each["server"]: each for each in json.loads(await self.run(*words))["servers"]}


@asynccontextmanager
async def operated(
    folder: Path, lanes: Sequence[Lane], settings: str = WATCHED_NOT, **options: Any
) -> AsyncIterator[Said]:
    async with running(folder, lanes, settings=settings, **options) as made:
        yield Said(made.proxy, folder)


async def test_websockets_outlive_reloads(tmp_path: Path) -> None:
    """
    Complaint 2: "WebSockets cut at each reload" (nginx-gateway-fabric#5524: 136 reloads in 10 minutes).

    Also where the reload takes its server out.
    """
    one, two = lane("one"), lane("two")
    async with (
        operated(tmp_path, [one], workers=2) as made,
        tunnel(made.proxy, one.origin) as (client, server),
    ):
        workers = made.proxy.workers()
        for at in range(RELOADS):
            made.put([[one], [one, two], [two]][at % 3], f'RefreshInterval="{at + 2}"')
            assert (await made.reload())["result"] == "in use"
            await goes_both_ways(client, server)
        assert made.proxy.workers() == workers
    two.origin.close()


async def test_no_new_connection_is_reset_by_reloads(tmp_path: Path) -> None:
    """Complaint 13: "Resets at a soft reload" (haproxy#3472, #1413): whoever connects at that moment is served."""
    one, two = lane("one"), lane("two")
    async with (
        operated(tmp_path, [one], workers=2) as made,
        one.origin.serving(keep_answering),
        asyncio.TaskGroup() as group,
    ):
        done = asyncio.Event()
        statuses: list[int] = []

        async def connect() -> None:
            while not done.is_set():
                statuses.append((await ask(made.proxy.port, get("/one/x"))).status)

        for _ in range(4):
            group.create_task(connect())
        for at in range(RELOADS):
            made.put([one, two][: 1 + at % 2], f'RefreshInterval="{at + 2}"')
            assert (await made.reload())["result"] == "in use"
        async with asyncio.timeout(WAIT_S):
            while len(statuses) < 10 * RELOADS:  # noqa: ASYNC110  # requests tell nobody
                await asyncio.sleep(0.01)
        done.set()
    assert set(statuses) == {200}
    two.origin.close()


async def test_counts_go_on_over_a_reload(tmp_path: Path) -> None:
    """
    Complaints 5 and 9: "Statistics start at 0" (haproxy#740, #1307); "series of removed servers stay" (traefik#9836).

    A server that stays keeps its counts, one that left is not listed, and has them again when it comes back.
    """
    first, second = Origin(), Origin()
    both = Lane("one", [Member(first, "s0", 'CloneID="c0"'), Member(second, "s1", 'CloneID="c1"')])
    alone = Lane("one", both.members[:1])
    async with AsyncExitStack() as stack:
        for each in (first, second):
            await stack.enter_async_context(each.serving(keep_answering))
        made = await stack.enter_async_context(operated(tmp_path, [both], workers=2))
        for _ in range(6):
            await ask(made.proxy.port, get("/one/x", "Cookie: JSESSIONID=0000abc:c0"))
            await ask(made.proxy.port, get("/one/x"))
        counts = (
            "requests",
            "by_affinity",
            "errors",
            "answers",
            "latency_total_ms",
            "sessions",
            "since",
        )
        before = await made.servers()
        assert before["s0"]["requests"] + before["s1"]["requests"] == 12
        assert before["s0"]["sessions"] == 1
        made.put([alone])
        await made.reload()
        after = await made.servers()
        assert set(after) == {"s0"}
        assert {name: after["s0"][name] for name in counts} == {
            name: before["s0"][name] for name in counts
        }
        made.put([both])
        await made.reload()
        again = await made.servers()
        assert {name: again["s1"][name] for name in counts} == {
            name: before["s1"][name] for name in counts
        }


async def test_dead_server_gets_nothing_after_a_reload(tmp_path: Path) -> None:
    """Complaint 4: "Dead servers get traffic after a reload" (haproxy#2085, #3298, caddy#6410), also those that only probes found."""
    farm, other = lane("farm", 2), lane("other")
    ill, well = Health(BAD), Health()
    settings = f"{WATCHED_NOT}{PROBE}"
    async with AsyncExitStack() as stack:
        for member, script in zip(farm.members, (ill, well), strict=True):
            await stack.enter_async_context(member.origin.serving(script))
        made = await stack.enter_async_context(
            operated(tmp_path, [farm], settings=settings, workers=2)
        )
        async with asyncio.timeout(WAIT_S):
            while (await made.servers())["s0"]["state"] != "down":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        served = ill.served
        for lanes in ([farm, other], [farm]):
            made.put(lanes)
            await made.reload()
            for _ in range(20):
                assert (await ask(made.proxy.port, get("/farm/x"))).status == 200
        assert ill.served == served
        assert (await made.servers())["s0"]["state"] == "down"
    other.origin.close()


async def test_nobody_who_is_connected_is_cut_by_an_operators_word(tmp_path: Path) -> None:
    """Complaint 14: "Drain cuts" what runs (envoy#41163): neither drain nor down ends a WebSocket; they say that it is there."""
    one = lane("one", 2)
    async with (
        operated(tmp_path, [one]) as made,
        tunnel(made.proxy, one.members[0].origin) as (client, server),
    ):
        for word in ("drain", "down"):
            await made.run(word, "one/s0")
            await goes_both_ways(client, server)
            assert (await made.servers())["s0"]["in_flight"] == 1


async def test_one_command_says_which_server_is_down_and_why(tmp_path: Path) -> None:
    """3 a.m.: "Which server is down, since when, who saw it, why?" And the request that met it is found in the access log."""
    one = lane("one", 2)
    one.members[0].origin.refuse()
    settings = f'{WATCHED_NOT}[log]\naccess = "access.log"\n'
    async with (
        operated(tmp_path, [one], settings=settings) as made,
        one.members[1].origin.serving(keep_answering),
    ):
        for at in range(4):
            assert (await ask(made.proxy.port, get(f"/one/{at}"))).status == 200
        row = (await made.servers())["s0"]
        assert (row["state"], row["marked_down"], row["hold"]) == ("down", True, "")
        assert row["by"] == "worker 0"
        assert "refused" in row["why"]
        assert row["since"] >= "2026"
        text = await made.run("status")
        assert re.search(r"one/s0: marked down since \S+, by worker 0, tried again in \d+ s", text)
        [answer] = json.loads(await made.run("why", "s0", "--json"))
        [mark] = [each for each in answer["changes"] if each["kind"] == "marked_down"]
        lines = await lines_with(tmp_path / "access.log", mark["request_id"])
        [line] = [each for each in lines if mark["request_id"] in each]
        assert mark["request"] in line


async def test_one_command_says_who_drained_it_and_until_when(tmp_path: Path) -> None:
    """3 a.m.: "Who drained s2, and when does that end?" One command has both, and why."""
    one = lane("one", 2)
    async with operated(tmp_path, [one]) as made:
        await made.run("drain", "s1", "--for", "2h", "--reason", "new kernel")
        row = (await made.servers())["s1"]
        assert row["by"].endswith(f"(uid {os.getuid()})")
        assert (row["why"], row["state"]) == ("new kernel", "drained")
        assert row["until"] > row["since"]
        text = await made.run("status")
        assert f"by {row['by']}, until {row['until']}: new kernel" in text
        assert "new kernel" in await made.run("why", "s1")


async def test_request_that_got_a_503_is_explained(tmp_path: Path) -> None:
    """3 a.m.: "Why did this request get a 503?" Its id leads from the access log to http_plugin.log; `explain` says what would be now."""
    one = lane("one", 2)
    for member in one.members:
        member.origin.refuse()
    settings = f'{WATCHED_NOT}[log]\naccess = "access.log"\naccess_format = "json"\n'
    log = '<Log Name="http_plugin.log" LogLevel="Error"/>'
    async with operated(tmp_path, [one], settings=settings, routes=log) as made:
        assert (await ask(made.proxy.port, get("/one/cart"))).status == 503
        [line] = await lines_with(tmp_path / "access.log", "cart")
        entry = json.loads(line)
        # Complaint 10: "Host, router or status missing in the log" (traefik#3704, #9648, #2112).
        assert (entry["status"], entry["host"], entry["path"]) == (503, "shop.example", "/one/cart")
        pid, _, tid = entry["id"].partition("-")
        told = [
            each
            for each in await lines_with(tmp_path / "http_plugin.log", "Failed to handle request")
            if f"{pid} {tid} " in each
        ]
        for words in (
            "Failed to connect to app server",
            "Marking s0 down",
            "Failed to find an app",
        ):
            assert any(words in each for each in told), words
        url = "http://h/one/cart"
        text = await made.run("explain", "--live", str(made.file), "GET", url)
        assert "marked down" in text


async def test_host_that_is_not_the_certificates_is_no_421(tmp_path: Path) -> None:
    """Complaint 15: "421 after an upgrade" (traefik#13303, #13745): a Host that is another than the TLS server name is routed as it is."""
    write_files(tmp_path)
    one = lane("one")
    settings = (
        '[[listener]]\naddress = "127.0.0.1:0"\n'
        f'certificates = [{{ chain = "{tmp_path}/shop.pem", key = "{tmp_path}/shop.key" }}]\n'
    )
    async with (
        running_proxy([one], settings=settings, listen=None, folder=tmp_path) as proxy,
        one.origin.serving(keep_answering),
        await TlsClient.open(
            proxy.port, client_context(tmp_path / "ca.pem"), "shop.example"
        ) as client,
    ):
        for host in ("shop.example", "other.example", "10.0.0.1"):
            await client.send(f"GET /one/x HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert (await client.answer()).status == 200
