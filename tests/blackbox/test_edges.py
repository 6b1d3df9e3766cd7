"""``[[edge]]`` and `wsproxy maintenance` before two workers: reloaded, switched, restarted, explained."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner

from tests.support.client import ask, get
from tests.support.origin import answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, running_proxy
from wsproxy.cli.main import main

pytestmark = pytest.mark.asyncio(loop_scope="module")

# So many connections meet both workers, all but surely.
MANY = 16
ADMIN = '[admin]\nsocket = "admin.sock"\nstate_file = "state.json"\n'
EDGES = """
[[edge]]
hosts = ["old.example"]
redirect = { host = "www.example.com" }
[[edge]]
paths = ["/farm/secret/*"]
deny = ["127.0.0.0/8"]
[[edge]]
clusters = ["farm"]
maintenance = "m.txt"
[[edge]]
headers.set = { "X-Edge" = "1" }
error_pages = { 404 = "sorry.txt" }
"""


@dataclass(slots=True)
class Bed:
    proxy: Proxy
    folder: Path

    async def run(self, *words: str, code: int = 0) -> str:
        socket = str(self.folder / "admin.sock")
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--socket", socket])
        assert done.exit_code == code, done.output
        return done.output

    async def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.run(*words, "--json", code=code))

    async def answers(self, request: bytes) -> set[tuple[int, bytes]]:
        """Of all workers."""
        found = [await ask(self.proxy.port, request) for _ in range(MANY)]
        return {(each.status, each.body) for each in found}


@asynccontextmanager
async def made(folder: Path, lanes: list[Lane]) -> AsyncIterator[Bed]:
    """Servers answer with the name of their cluster."""
    (folder / "m.txt").write_text("later")
    (folder / "sorry.txt").write_text("sorry")
    async with contextlib.AsyncExitStack() as stack:
        for each in lanes:
            script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + each.name.encode())
            for member in each.members:
                await stack.enter_async_context(member.origin.serving(script))
        proxy = await stack.enter_async_context(
            running_proxy(lanes, workers=2, settings=ADMIN + EDGES, folder=folder)
        )
        yield Bed(proxy, folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed() -> AsyncIterator[Bed]:
    with tempfile.TemporaryDirectory() as folder:
        async with made(Path(folder), [lane("farm", 1), lane("shop", 1)]) as found:
            yield found


async def test_duties_hold_in_all_workers(bed: Bed) -> None:
    redirected = await ask(bed.proxy.port, b"GET //x HTTP/1.1\r\nHost: old.example\r\n\r\n")
    assert redirected.status == 308
    assert b"\r\nLocation: http://www.example.com//x\r\n" in redirected.head
    assert b"\r\nX-Edge: 1" in redirected.head
    assert {status for status, _ in await bed.answers(get("/farm/x/..%2fsecret/y"))} == {403}
    assert await bed.answers(get("/nowhere")) == {(404, b"sorry")}
    assert await bed.answers(get("/farm/x")) == {(200, b"farm")}


async def test_word_of_maintenance_holds_at_once_in_all_workers_and_through_a_reload(
    bed: Bed,
) -> None:
    farm, shop = get("/farm/x"), get("/shop/x")
    answer = await bed.json("maintenance", "farm", "on", "--for", "30m", "--reason", "release")
    assert answer["changed"]
    assert await bed.answers(farm) == {(503, b"later")}
    assert await bed.answers(shop) == {(200, b"shop")}
    head = (await ask(bed.proxy.port, farm)).head
    assert b"\r\nRetry-After: 1" in head  # 1800, or a bit less
    assert "farm is in maintenance since " in await bed.run("status")
    text = (bed.folder / "wsproxy.toml").read_text()
    try:
        (bed.folder / "wsproxy.toml").write_text(text.replace('"X-Edge" = "1"', '"X-Edge" = "2"'))
        (bed.folder / "m.txt").write_text("much later")
        dry = await bed.json("reload", "--dry-run")
        assert [line for line in dry["changes"] if "edge" in line or "page" in line] == [
            "wsproxy.toml: [[edge]] 4 (all requests) is changed: headers",
            f"wsproxy.toml: page {bed.folder}/m.txt is changed",
        ]
        await bed.run("reload")
        assert await bed.answers(farm) == {(503, b"much later")}
        assert b"\r\nX-Edge: 2" in (await ask(bed.proxy.port, shop)).head
        whole = await bed.json("maintenance", "--all", "on")
        assert [each["cluster"] for each in whole["maintenance"]] == ["", "farm"]
        assert {status for status, _ in await bed.answers(get("/nowhere"))} == {503}
        assert (await bed.json("maintenance", "farm", "off"))["changed"]
        assert {status for status, _ in await bed.answers(shop)} == {503}
        assert (await bed.json("maintenance", "--all", "off"))["maintenance"] == []
        assert await bed.answers(farm) == {(200, b"farm")}
    finally:
        (bed.folder / "wsproxy.toml").write_text(text)
        (bed.folder / "m.txt").write_text("later")
        await bed.run("reload")


async def test_changed_page_is_taken_over_by_itself(bed: Bed) -> None:
    """Nobody says `reload`; one that is gone is told of, and the one of before goes on."""
    page = bed.folder / "sorry.txt"
    try:
        page.write_text("very sorry")
        async with asyncio.timeout(WAIT_S):
            while await bed.answers(get("/nowhere")) != {(404, b"very sorry")}:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        assert (await bed.json("status"))["reload"]["who"] == "changed page"
        bed.proxy.expected.append("cannot be read")
        page.unlink()
        await bed.proxy.line(r"edge\.error_pages: found .*sorry\.txt., which cannot be read")
        assert await bed.answers(get("/nowhere")) == {(404, b"very sorry")}
    finally:
        page.write_text("sorry")
        await bed.run("reload")


async def test_what_cannot_be_meant_is_refused(bed: Bed) -> None:
    assert "did you mean farm?" in await bed.run("maintenance", "frm", "on", code=1)
    assert "allowed is CLUSTER on|off" in await bed.run("maintenance", "farm", code=2)
    assert "allowed is CLUSTER on|off" in await bed.run(
        "maintenance", "farm", "on", "--all", code=2
    )
    assert "allowed with on only" in await bed.run(
        "maintenance", "farm", "off", "--for", "1h", code=1
    )


async def test_explain_says_what_an_edge_does(bed: Bed) -> None:
    file = str(bed.folder / "plugin-cfg.xml")
    url = "http://h/farm/secret/x"
    said = await bed.json("explain", file, "GET", url, "--live", "--client", "127.0.0.1", code=1)
    assert (said["status"], said["answers"]) == (403, "127.0.0.1 is denied by [[edge]] 2")
    assert said["edges"][0] == "[[edge]] 2 (paths /farm/secret/*): deny"
    nobody = await bed.json("explain", file, "GET", url, "--live")
    assert "who may ask depends on the client's address, which --client names" in nobody["edges"]
    assert nobody["server"]
    await bed.run("maintenance", "shop", "on")
    try:
        shop = await bed.json("explain", file, "GET", "http://h/shop/x", "--live", code=1)
        assert (shop["status"], shop["answers"]) == (503, "maintenance, by an operator's word")
    finally:
        await bed.run("maintenance", "shop", "off")


async def test_word_outlives_a_restart_with_a_state_file(tmp_path: Path) -> None:
    async with made(tmp_path, [lane("farm", 1)]) as first:
        await first.run("maintenance", "farm", "on", "--reason", "release")
    async with made(tmp_path, [lane("farm", 1)]) as second:
        assert await second.answers(get("/farm/x")) == {(503, b"later")}
        [status] = (await second.json("status"))["maintenance"]
        assert (status["cluster"], status["why"], status["until"]) == ("farm", "release", "")
