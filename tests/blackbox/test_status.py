"""What ``wsproxy status`` and ``top`` tell beyond words of operators: who is slow, who is still growing, and the fallback's server."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from tests.support.client import Client, ask, get, request
from tests.support.origin import OK, Origin, OriginConnection, keep_answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, own_memory, process_of, running_proxy
from wsproxy.cli.main import main

# Far longer than anything else takes, on a busy machine too; so short that the test waits for it.
SLOW_S = 0.3
BODY = b"x" * 100_000


async def slow(connection: OriginConnection) -> None:
    while True:
        await connection.request()
        await asyncio.sleep(SLOW_S)  # what is measured
        await connection.send(OK)


class Seen:
    """A proxy and its commands."""

    def __init__(self, proxy: Proxy, socket: Path) -> None:
        self.proxy = proxy
        self.socket = socket

    async def run(self, *words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(
            CliRunner().invoke, main, [*words, "--socket", str(self.socket)]
        )
        assert done.exit_code == code, done.output
        return done.output

    async def status(self, target: str = "") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            await self.run("status", *([target] if target else []), "--json")
        )
        return found

    async def server(self, name: str) -> dict[str, Any]:
        [found] = (await self.status(name))["servers"]
        return dict(found)


@asynccontextmanager
async def seen(
    folder: Path, *lanes: Lane, workers: int = 2, settings: str = ""
) -> AsyncIterator[Seen]:
    text = f'{settings}\n[admin]\nsocket = "admin.sock"\n'
    async with running_proxy(list(lanes), workers=workers, settings=text, folder=folder) as proxy:
        yield Seen(proxy, folder / "admin.sock")


async def test_who_is_slow_is_seen_at_a_glance(tmp_path: Path) -> None:
    """OPERATIONS, 3 a.m.: "Who is slow?" Over all workers: each request has its own connection, which any of them may take."""
    farm = lane("farm", 2)
    async with AsyncExitStack() as stack:
        for member, script in zip(farm.members, (keep_answering, slow), strict=True):
            await stack.enter_async_context(member.origin.serving(script))
        at = await stack.enter_async_context(seen(tmp_path, farm))
        row = await at.server("s0")
        assert (row["answers"], row["latency_ms"], row["latency_total_ms"]) == (0, -1, 0)
        assert re.search(r"farm/s0 .* -$", await at.run("status"), re.MULTILINE)
        began = time.monotonic()
        answers = await asyncio.gather(
            *(ask(at.proxy.port, get("/farm/x")) for _ in range(10)),
        )
        longest_ms = (time.monotonic() - began) * 1000
        assert {each.status for each in answers} == {200}
        fast, late = await at.server("s0"), await at.server("s1")
        assert fast["answers"] + late["answers"] == 10
        assert late["latency_total_ms"] >= late["answers"] * SLOW_S * 1000
        assert SLOW_S * 1000 <= late["latency_ms"] <= longest_ms
        assert fast["latency_ms"] > 0
        assert re.search(r"farm/s1 .* \d{3,}$", await at.run("status"), re.MULTILINE)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(at.run("top", "s1", "--count", "6", "--json"))
            while not watching.done():
                await asyncio.gather(*(ask(at.proxy.port, get("/farm/x")) for _ in range(10)))
        first, *later = (json.loads(line)["servers"][0] for line in watching.result().splitlines())
        assert first["latency_ms"] == -1, "nothing to compare with"
        assert any(each["latency_ms"] >= SLOW_S * 1000 for each in later)


async def test_slow_upload_is_not_the_servers_time(tmp_path: Path) -> None:
    """The clock runs from the last byte that the server got, not while a client sends."""
    app = lane("app")
    async with (
        app.origin.serving(keep_answering),
        seen(tmp_path, app, workers=1) as at,
        await Client.connect(at.proxy.port) as client,
    ):
        whole = request("POST", "/app/x", body=BODY)
        head, _, _ = whole.partition(b"\r\n\r\n")
        await client.send(head + b"\r\n\r\n")
        began = time.monotonic()
        await asyncio.sleep(SLOW_S)  # what must not be measured
        await client.send(BODY)
        assert (await client.answer()).status == 200
        took_ms = (time.monotonic() - began) * 1000
        row = await at.server("s0")
        assert row["answers"] == 1
        assert 0 < row["latency_total_ms"] <= took_ms - SLOW_S * 1000


async def test_weight_that_grows_is_shown(tmp_path: Path) -> None:
    """A server that came back has less than its weight for a while; status says how much now, and how long it takes."""
    app = lane("app", 2, server='LoadBalanceWeight="40"')
    settings = "[probe]\nslow_start_s = 3600\n"
    async with AsyncExitStack() as stack:
        for member in app.members:
            await stack.enter_async_context(member.origin.serving(keep_answering))
        at = await stack.enter_async_context(seen(tmp_path, app, settings=settings))
        row = await at.server("s0")
        assert (row["weight"], row["weight_now"], row["full_weight_in_s"]) == (40, 40, 0)
        app.members[0].origin.refuse()
        async with asyncio.timeout(WAIT_S):
            while (await at.server("s0"))["state"] != "down":
                await ask(at.proxy.port, get("/app/x"))
        app.members[0].origin.reopen()
        await at.run("up", "s0")
        row = await at.server("s0")
        assert (row["weight"], row["configured_weight"]) == (40, 40)
        assert 0 < row["weight_now"] < 4
        assert 3000 < row["full_weight_in_s"] <= 3600
        text = await at.run("status")
        assert re.search(r"app/s0: slow start: weight 0\.\d of 40, all of it in ", text)
        assert re.search(r"app/s0 .* 0\.\d/40 ", text)
        assert (await at.server("s1"))["weight_now"] == 40
        top = json.loads(await at.run("top", "s0", "--count", "1", "--json"))
        assert 0 < top["servers"][0]["weight_now"] < 4


async def test_server_of_the_fallback_is_one_like_others(tmp_path: Path) -> None:
    """It is listed, found by name and host, taken down, brought back, and has its evidence; drained it cannot be."""
    web, app = Origin(), lane("app")
    name = f"127.0.0.1:{web.port}"
    settings = f'[fallback]\nmode = "upstream"\nupstream = "{name}"\n'
    async with (
        app.origin.serving(keep_answering),
        seen(tmp_path, app, settings=settings) as at,
        await Client.connect(at.proxy.port) as client,
    ):
        async with web.serving(keep_answering):
            assert (await client.ask(get("/style.css"))).status == 200
            row = (await at.status())["servers"][-1]
            assert (row["cluster"], row["server"], row["role"]) == ("[fallback]", name, "fallback")
            assert (row["address"], row["state"], row["requests"]) == (name, "up", 1)
            assert row["latency_ms"] > 0
            await at.run("down", f"[fallback]/{name}", "--reason", "moved")
            assert (await client.ask(get("/style.css"))).status == 503
            assert (await client.ask(get("/app/x"))).status == 200
            assert (await at.server(name))["why"] == "moved"
            await at.run("up", name)
            assert (await client.ask(get("/style.css"))).status == 200
            said = await at.run("drain", name, code=1)
            assert "the server of [fallback] and has no sessions" in said
            assert "allowed is `wsproxy down`" in said
            said = await at.run("drain", "127.0.0.1")
            assert "app/s0: drained" in said
            assert "no sessions to be left there" in said
            assert (await at.server(name))["state"] == "up"
            await at.run("resume", "127.0.0.1")
            assert "only 0 has an effect" in await at.run("set", name, "weight=3")
        web.refuse()
        assert (await client.ask(get("/style.css"))).status == 503
        said = await at.run("why", name)
        assert "marked down: " in said
        assert "GET /style.css" in said
    web.close()


async def test_word_on_the_fallback_outlives_a_restart(tmp_path: Path) -> None:
    web, app = Origin(), lane("app")
    settings = f'[fallback]\nmode = "upstream"\nupstream = "127.0.0.1:{web.port}"\n'
    for first in (True, False):
        text = f'{settings}\n[admin]\nsocket = "admin.sock"\nstate_file = "words.json"\n'
        async with running_proxy([app], settings=text, folder=tmp_path) as proxy:
            at = Seen(proxy, tmp_path / "admin.sock")
            if first:
                await at.run("down", "[fallback]/127.0.0.1:" + str(web.port))
            assert (await at.status())["servers"][-1]["hold"] == "down"
    web.close()
    app.origin.close()


async def ask_often(socket: Path, connections: int, questions: int) -> None:
    """What dashboards and monitors ask, so much over each connection, of which there are some at a time."""
    paths = ("/v1/status", "/v1/servers", "/v1/why?target=s0", "/none")

    async def visit() -> None:
        reader, writer = await asyncio.open_unix_connection(str(socket))
        for at in range(questions):
            path = (
                "/metrics" if at == questions - 1 else paths[at % len(paths)]
            )  # it ends the connection
            writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        writer.close()
        await writer.wait_closed()

    for _ in range(connections // 10):
        await asyncio.gather(*(visit() for _ in range(10)))


async def test_questions_leave_nothing_behind(tmp_path: Path) -> None:
    """
    Of 2500 further questions nothing stays in the admin process: a KiB and a quarter of each would be too much.

    The first thousand take 2 MiB once, for what Python and its allocator keep: after them it is the same memory again and again.
    """
    async with seen(tmp_path, lane("app")) as at:
        found = []
        for count in (100, 250):
            await ask_often(at.socket, count, 10)
            pid = process_of(at.proxy.pid, "wsproxy-admin")
            found.append(own_memory(pid))
        assert found[1] - found[0] < 2500 * 1280, found


async def test_reloads_are_counted(tmp_path: Path) -> None:
    """OPERATIONS 2 and 17: a refused reload is a number, too, for whoever watches many proxies."""
    app = lane("app")
    async with seen(tmp_path, app, settings='[reload]\nwatch = "off"') as at:
        at.proxy.expected.append("refused")
        file = tmp_path / "plugin-cfg.xml"
        good = file.read_text()
        none = {"accepted": 0, "refused": 0, "failed": 0, "undone": 0}
        assert (await at.status())["reloads"] == none
        file.write_text("<Config>")
        await at.run("reload", code=1)
        await at.run("reload", "--dry-run", code=1)
        assert (await at.status())["reloads"] == {**none, "refused": 1}
        file.write_text(good.replace("<Config", '<Config RefreshInterval="77"', 1))
        await at.run("reload")
        await at.run("reload")
        await at.run("rollback")
        assert (await at.status())["reloads"] == {**none, "accepted": 2, "refused": 1}
        assert "reloads: 2 accepted, 1 refused" in await at.run("status")
    app.origin.close()
