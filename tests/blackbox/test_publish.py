"""One plugin-cfg.xml for all proxies of a group: published, applied, refused, undone, rolled back; etcd away, proxies started without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.client import ask, get
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy, process_of, proxy_process, write
from wsproxy.cli.main import main
from wsproxy.ha.names import Names
from wsproxy.ha.store.gateway import Gateway

pytestmark = needs_etcd

CONFIG = (
    '<Config>\n<VirtualHostGroup Name="h"><VirtualHost Name="*:*"/></VirtualHostGroup>\n'
    '<ServerCluster Name="farm"><Server Name="s1"><Transport Hostname="127.0.0.1" Port="1" Protocol="http"/></Server></ServerCluster>\n'
    '<UriGroup Name="u"><Uri Name="/{uri}/*"/></UriGroup>\n<Route ServerCluster="farm" UriGroup="u" VirtualHostGroup="h"/>\n</Config>\n'
)
AWAY = ("etcd does not answer", "no heartbeat of member", "is out of core group")


def config(uri: str) -> str:
    """Requests below /URI/ find a server, which does not answer: 502 or 503; all others find none: 404."""
    return CONFIG.replace("{uri}", uri)


@dataclass(slots=True)
class One:
    """A proxy of the group; ``home`` outlives it."""

    name: str
    home: Path
    url: str
    more: str = ""
    ha: str = ""
    proxy: Proxy = field(init=False)

    @property
    def toml(self) -> Path:
        return self.home / "wsproxy.toml"

    @property
    def folder(self) -> Path:
        return self.home / "published"

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        write(self.home / "plugin-cfg.xml", config("own"))
        write(
            self.toml,
            f'[admin]\nsocket = "admin.sock"\n[log]\nmost_a_second = 10_000\n[ha]\nstore = "etcd"\nendpoints = ["{self.url}"]\nname = "{self.name}"\n'
            f'period_s = 0.5\nmissed = 6\nconfig_folder = "published"\n{self.ha}{self.more}',
        )

    @asynccontextmanager
    async def running(self, *expected: str) -> AsyncIterator[Proxy]:
        words = (str(self.home / "plugin-cfg.xml"), "--settings", str(self.toml), "--listen", "127.0.0.1:0", "--workers", "1")
        async with proxy_process(*words, env={"TMPDIR": str(self.home)}) as proxy:
            proxy.expected += [*AWAY, *expected]
            self.proxy = proxy
            yield proxy

    async def run(self, *words: str, code: int = 0) -> str:
        """What `wsproxy WORDS` says, by this proxy's settings."""
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--settings", str(self.toml)])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output

    async def local(self, *words: str, code: int = 0) -> str:
        """What a command says that asks this proxy."""
        socket = str(self.home / "admin.sock")
        done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--socket", socket])
        assert done.exit_code == code, done.output
        return done.output

    async def publish(self, uri: str, *words: str, code: int = 0) -> str:
        file = write(self.home / f"{uri}.xml", config(uri))
        return await self.run("publish", str(file), "--listen", "127.0.0.1:0", *words, code=code)

    async def status(self) -> dict[str, Any]:
        done = await asyncio.to_thread(
            CliRunner().invoke, main, ["ha", "status", "--json", "--settings", str(self.toml), "--folder", str(self.home / "pair")]
        )
        return dict(json.loads(done.output))

    async def serves(self, uri: str) -> bool:
        return (await ask(self.proxy.port, get(f"/{uri}/x"))).status in (502, 503)

    async def until_serves(self, uri: str) -> None:
        async with asyncio.timeout(WAIT_S):
            while not await self.serves(uri):
                await asyncio.sleep(0.05)


@pytest.fixture
def etcd() -> Any:
    with running_etcd() as servers:
        yield servers[0]


@asynccontextmanager
async def homes(etcd: EtcdProcess, *names: str, more: str = "", ha: str = "") -> AsyncIterator[list[One]]:
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in names:
            home = Path(folder, name)
            home.mkdir()
            made.append(One(name, home, etcd.url, more, ha))
            made[-1].prepare()
        yield made


@asynccontextmanager
async def pair(etcd: EtcdProcess, more: str = "", *expected: str) -> AsyncIterator[tuple[One, One]]:
    async with homes(etcd, "a", "b", more=more) as (a, b), a.running(*expected), b.running(*expected):
        await asyncio.gather(*(each.proxy.line(r"view size is 2 ") for each in (a, b)))
        await until_both_follow(a)
        yield a, b


async def until_both_follow(one: One, count: int = 2) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            group = (await one.status())["group"]
            if sum(each["published"] is not None for each in group["members"].values()) == count:
                return
            await asyncio.sleep(0.05)


async def test_both_apply_what_is_published_and_return(etcd: EtcdProcess) -> None:
    """Number, digest and who are said; status knows who runs what; a rollback is for all."""
    async with pair(etcd) as (a, b):
        assert await a.serves("own")
        said = await a.publish("one", "--comment", "new shop")
        assert re.search(r"published version 1 \(by \S+@\S+, \d+ s ago, \"new shop\"\): \d+ bytes, sha256 [0-9a-f]{64}", said)
        assert "a: version 1 in use (generation 2)" in said
        assert "b: version 1 in use (generation 2)" in said
        for each in (a, b):
            assert await each.serves("one")
            assert not await each.serves("own")
        await b.publish("two")
        for each in (a, b):
            assert await each.serves("two")
        group = (await a.status())["group"]
        assert group["version"]["number"] == 2
        assert {name: each["published"]["number"] for name, each in group["members"].items()} == {"a": 2, "b": 2}
        assert group["warnings"] == []
        said = await a.run("ha", "rollback")
        assert "published version 3" in said
        assert "a return to version 1" in said
        for each in (a, b):
            assert await each.serves("one")
        said = await b.run("ha", "history")
        assert [line[:11] for line in said.splitlines()[:3]] == ["  version 1", "  version 2", "* version 3"]
        assert await b.run("ha", "show", "2") == config("two")
