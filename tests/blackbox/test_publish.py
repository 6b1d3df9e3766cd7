"""One plugin-cfg.xml for all proxies of a group: published, applied, refused, undone, rolled back; etcd away, proxies started without it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.client import ask, get
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy, lane, process_of, proxy_process, write
from tests.support.upgrading import upgrading
from wsproxy.cli.main import main
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


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    """It holds; nobody tells, so it is asked again and again."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if await what():
                return
            await asyncio.sleep(0.05)


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
        self.folder.mkdir(parents=True, exist_ok=True)
        write(self.home / "plugin-cfg.xml", config("own"))
        write(
            self.toml,
            f'[admin]\nsocket = "admin.sock"\n[log]\nmost_a_second = 10_000\n[ha]\nstore = "etcd"\nendpoints = ["{self.url}"]\nname = "{self.name}"\n'
            f'period_s = 0.5\nmissed = 6\nconfig_folder = "published"\n{self.ha}{self.more}',
        )

    @asynccontextmanager
    async def running(self, *expected: str) -> AsyncIterator[Proxy]:
        words = (
            str(self.home / "plugin-cfg.xml"),
            "--settings",
            str(self.toml),
            "--listen",
            "127.0.0.1:0",
            "--workers",
            "1",
        )
        async with proxy_process(*words, env={"TMPDIR": str(self.home)}) as proxy:
            proxy.expected += [*AWAY, *expected]
            self.proxy = proxy
            yield proxy

    async def run(self, *words: str, code: int = 0) -> str:
        """What `wsproxy WORDS` says, by this proxy's settings."""
        done = await asyncio.to_thread(
            CliRunner().invoke, main, [*words, "--settings", str(self.toml)]
        )
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

    def copies(self) -> set[str]:
        """Of what was published, as this proxy has it."""
        return {each.read_text() for each in self.folder.glob("published-*.xml")}

    async def status(self) -> dict[str, Any]:
        done = await asyncio.to_thread(
            CliRunner().invoke,
            main,
            [
                "ha",
                "status",
                "--json",
                "--settings",
                str(self.toml),
                "--folder",
                str(self.home / "pair"),
            ],
        )
        return dict(json.loads(done.output))

    async def serves(self, uri: str) -> bool:
        return (await ask(self.proxy.port, get(f"/{uri}/x"))).status in (502, 503)

    async def until_serves(self, uri: str) -> None:
        await until(lambda: self.serves(uri))

    async def says(self, result: str) -> bool:
        """Whether the group knows that of the version that was tried here last."""
        published = (await self.status())["group"]["members"][self.name]["published"]
        return published is not None and published["result"] == result


@pytest.fixture
def etcd() -> Any:
    with running_etcd() as servers:
        yield servers[0]


@asynccontextmanager
async def homes(
    etcd: EtcdProcess, *names: str, more: str = "", ha: str = ""
) -> AsyncIterator[list[One]]:
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in names:
            home = Path(folder, name)
            made.append(One(name, home, etcd.url, more, ha))
            made[-1].prepare()
        yield made


@asynccontextmanager
async def pair(etcd: EtcdProcess, more: str = "", *expected: str) -> AsyncIterator[tuple[One, One]]:
    async with (
        homes(etcd, "a", "b", more=more) as (a, b),
        a.running(*expected),
        b.running(*expected),
    ):
        await asyncio.gather(*(each.proxy.line(r"view size is 2 ") for each in (a, b)))
        await until_both_follow(a)
        yield a, b


async def until_both_follow(one: One, count: int = 2) -> None:
    async def they_do() -> bool:
        members = (await one.status())["group"]["members"]
        return sum(each["published"] is not None for each in members.values()) == count

    await until(they_do)


async def test_both_apply_what_is_published_and_return(etcd: EtcdProcess) -> None:
    """Number, digest and who are said; status knows who runs what; a rollback is for all."""
    async with pair(etcd) as (a, b):
        assert await a.serves("own")
        said = await a.publish("one", "--comment", "new shop")
        assert re.search(
            r"published version 1 \(by \S+@\S+, \d+ s ago, \"new shop\"\): \d+ bytes, sha256 [0-9a-f]{64}",
            said,
        )
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
        assert {name: each["published"]["number"] for name, each in group["members"].items()} == {
            "a": 2,
            "b": 2,
        }
        assert group["warnings"] == []
        said = await a.run("ha", "rollback")
        assert "published version 3" in said
        assert "a return to version 1" in said
        for each in (a, b):
            assert await each.serves("one")
        said = await b.run("ha", "history")
        assert [line[:11] for line in said.splitlines()[:3]] == [
            "  version 1",
            "  version 2",
            "* version 3",
        ]
        assert await b.run("ha", "show", "2") == config("two")
        for each in (a, b):
            assert not [line for line in each.proxy.lines if "different configurations" in line]


async def test_who_refuses_it_keeps_what_it_has(etcd: EtcdProcess) -> None:
    """A proxy whose own settings do not fit says so with file and line, on the log and on the board; mended, it takes it at a reload."""
    async with homes(etcd, "a", "b") as (a, b):
        # A name of the old configuration: of the new one b's settings would be wrong.
        b.more = '[[probe.cluster]]\nname = "farm"\ntype = "tcp"\n'
        b.prepare()
        async with a.running(), b.running("the configuration is refused"):
            await until_both_follow(a)
            await a.publish("one")
            file = write(a.home / "barn.xml", config("two").replace('"farm"', '"barn"'))
            said = await a.run("publish", str(file), "--listen", "127.0.0.1:0", code=1)
            assert "a: version 2 in use" in said
            assert re.search(
                r'b: version 1 in use; version 2 refused: \S+wsproxy\.toml:\d+: .*found "farm"',
                said,
            )
            await b.proxy.line(r'ERROR .*wsproxy\.toml:\d+: .*found "farm"')
            await b.proxy.line(
                r"published version 2 by \S+@\S+: the configuration is refused, generation 2 stays"
            )
            assert await a.serves("two")
            assert await b.serves("one")
            group = (await b.status())["group"]
            assert group["warnings"] == ["b does not go by version 2"]
            assert group["members"]["b"]["published"]["result"] == "refused"
            text = b.toml.read_text().replace('"farm"', '"barn"')
            await b.local("reload", "--dry-run", code=0)
            write(b.toml, text)
            await b.local("reload")
            assert await b.serves("two")
            await until_good(a)


async def until_good(one: One) -> None:
    async def is_good() -> bool:
        return not (await one.status())["group"]["warnings"]

    await until(is_good)


async def test_what_cannot_be_used_is_not_published(etcd: EtcdProcess) -> None:
    """The same words as `wsproxy check`, passwords without their values; nothing is in etcd afterwards, nor after a dry run."""
    async with homes(etcd, "a") as (a,):
        bad = write(a.home / "bad.xml", config("one").replace('Port="1"', 'Port="x"'))
        said = await a.run("publish", str(bad), "--listen", "127.0.0.1:0", code=1)
        checked = CliRunner().invoke(main, ["check", str(bad)]).output
        assert f'{bad}:3: found Port="x"' in said
        assert said.splitlines()[0] in checked
        secret = '<Transport Hostname="127.0.0.1" Port="1" Protocol="https"><Property Name="password"\n Value="WebAS"/></Transport>'
        file = write(a.home / "secret.xml", re.sub(r"<Transport.*?/>", secret, config("one")))
        said = await a.run("publish", str(file), "--listen", "127.0.0.1:0", code=1)
        assert f'{file}:3: found Property "password" with a value in clear' in said
        assert "WebAS" not in said
        no_port = write(a.home / "no-port.xml", config("one"))
        said = await a.run("publish", str(no_port), code=1)
        assert "--listen: found none; where `wsproxy run` of the proxies has it" in said
        said = await a.publish("one", "--dry-run")
        assert "it would be version 1; nothing is published yet" in said
        assert await a.run("ha", "history") == "nothing is published\n"


async def command(*words: str) -> tuple[int, str]:
    """Exit code and what it says, as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "wsproxy", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )  # fmt: skip
    said, _ = await process.communicate()
    return await process.wait(), said.decode()


async def test_two_publish_at_once(etcd: EtcdProcess) -> None:
    """One version each, or the second is told who won; who names what he began with is refused where it is not so any more."""
    async with homes(etcd, "a", "b") as (a, b):
        await a.publish("first")
        files = [
            write(one.home / f"{at}.xml", config(f"n{at}")) for at, one in enumerate((a, b, a, b))
        ]
        outcomes = await asyncio.gather(
            *(
                command(
                    "publish",
                    str(file),
                    "--listen",
                    "127.0.0.1:0",
                    "--settings",
                    str(a.toml),
                    "--base",
                    "1",
                )
                for file in files
            )
        )
        assert sorted(code for code, _ in outcomes) == [0, 1, 1, 1], outcomes
        for code, said in outcomes:
            if code:
                assert re.search(
                    r"version 2 \(by \S+, \d+ s ago\) holds now, and nothing was changed", said
                )
        assert "version 3" not in await a.run("ha", "history")


@pytest.fixture
def big(tmp_path: Path) -> tuple[Path, str]:
    """10 MB: 500 clusters, 160,000 Uris."""
    clusters, groups, routes = [], [], []
    for at in range(500):
        clusters.append(
            f'<ServerCluster Name="c{at}"><Server Name="s{at}"><Transport Hostname="10.0.{at // 250}.{at % 250 + 1}" Port="9080" Protocol="http"/></Server></ServerCluster>'
        )
        uris = "".join(
            f'<Uri Name="/application-{at}/servlet/resource-{each}/*"/>' for each in range(320)
        )
        groups.append(f'<UriGroup Name="u{at}">{uris}</UriGroup>')
        routes.append(f'<Route ServerCluster="c{at}" UriGroup="u{at}" VirtualHostGroup="h"/>')
    text = f'<Config>\n<VirtualHostGroup Name="h"><VirtualHost Name="*:*"/></VirtualHostGroup>\n{"".join(clusters)}\n{"".join(groups)}\n{"".join(routes)}\n</Config>\n'
    file = write(tmp_path / "big.xml", text)
    assert len(text) > 8_000_000
    return file, text


async def test_the_largest_goes_over_whole(etcd: EtcdProcess, big: tuple[Path, str]) -> None:
    """It is more than a value of etcd may be."""
    file, text = big
    async with homes(etcd, "a") as (a,), a.running():
        await until_both_follow(a, 1)
        said = await a.run("publish", str(file), "--listen", "127.0.0.1:0", "--wait", "120")
        assert "a: version 1 in use" in said
        assert await a.run("ha", "show", "1") == text
        assert a.copies() == {text}


async def test_without_etcd_all_goes_on_and_a_start_has_the_last_good_copy(
    etcd: EtcdProcess,
) -> None:
    """Etcd killed: requests go on; a proxy that is started meanwhile serves the last version and says which; back, it gets the next one."""
    async with homes(etcd, "a", "b") as (a, b), a.running():
        async with b.running():
            await until_both_follow(a)
            await a.publish("one")
            etcd.end()
            await b.proxy.line("ha: this proxy goes by the published version 1 ")
            assert await a.serves("one")
            assert await b.serves("one")
        said = await a.run(
            "publish", str(write(a.home / "x.xml", config("x"))), "--listen", "127.0.0.1:0", code=2
        )
        assert "etcd does not answer" in said
        found = await b.status()
        assert found["group"]["own"]["number"] == 1
        assert any("etcd does not answer" in each for each in found["warnings"])
        async with b.running():
            await b.proxy.line(
                r"published-1-\w+\.xml: the published version 1 \(by \S+, \d+ \w+ ago\) is served, from this copy"
            )
            assert await b.serves("one")
            etcd.launch()
            await asyncio.to_thread(etcd.wait)
            for each in (a, b):
                await each.proxy.line("has joined", 0)
            await until_both_follow(a)
            await b.publish("two")
            for each in (a, b):
                assert await each.serves("two")


async def test_a_version_that_came_while_it_was_away(etcd: EtcdProcess) -> None:
    """A proxy that was stopped, and one that was cut off while the history was compacted, take over what holds now."""
    async with homes(etcd, "a", "b") as (a, b), a.running():
        async with b.running():
            await until_both_follow(a)
            await a.publish("one")
        pid = process_of(a.proxy.pid, "wsproxy-ha")
        os.kill(pid, signal.SIGSTOP)
        await b.publish("two", "--wait", "0")
        await b.publish("three", "--wait", "0")
        gateway = Gateway([etcd.url], try_s=10)
        answer = await gateway.ask(
            "/v3/kv/range", {"key": "AA==", "range_end": "AA==", "limit": "1"}
        )
        await gateway.ask(
            "/v3/kv/compaction", {"revision": answer["header"]["revision"], "physical": True}
        )
        await gateway.close()
        os.kill(pid, signal.SIGCONT)
        await a.until_serves("three")
        async with b.running():
            await b.until_serves("three")


async def test_etcd_has_lost_all(etcd: EtcdProcess) -> None:
    """What is in use stays, and the next one is number 1 again, and another."""
    async with homes(etcd, "a") as (a,), a.running():
        await until_both_follow(a, 1)
        await a.publish("one")
        await a.publish("two")
        etcd.end()
        await a.proxy.line("ha: this proxy goes by the published version 2 ")
        await asyncio.to_thread(shutil.rmtree, etcd.data)
        etcd.launch()
        await asyncio.to_thread(etcd.wait)
        await until_both_follow(a, 1)
        assert await a.serves("two")
        assert "published version 1 " in await a.publish("three")
        assert await a.serves("three")


async def test_processes_that_are_killed_amid_it(etcd: EtcdProcess) -> None:
    """Whoever comes after them goes on: the member gets what it had not, the loader takes over what waits."""
    async with homes(etcd, "a") as (a,), a.running(r"(ha|loader) process .* was killed"):
        await until_both_follow(a, 1)
        for number, name in enumerate(("wsproxy-ha", "wsproxy-loader"), 1):
            pid = process_of(a.proxy.pid, name)
            os.kill(pid, signal.SIGSTOP)
            await a.publish(f"n{number}", "--wait", "0")
            if name == "wsproxy-loader":
                await a.proxy.line(f"the published version {number} .* is here")
            assert not await a.serves(f"n{number}")
            os.kill(pid, signal.SIGKILL)
            await a.until_serves(f"n{number}")
        await until_both_follow(a, 1)
        await until_good(a)


async def test_the_guard_undoes_it_here_and_says_so(etcd: EtcdProcess) -> None:
    """The version before holds, after a new start, too; nobody tries it again until another is published."""
    guard = "[reload]\nguard_s = 30\n"
    async with homes(etcd, "a", more=guard) as (a,):
        async with a.running("is taken back"):
            await until_both_follow(a, 1)
            await a.publish("one")
            for _ in range(40):
                assert await a.serves("one")
            await asyncio.sleep(1.1)  # the guard looks once a second
            await a.publish("two")
            for _ in range(40):
                await ask(a.proxy.port, get("/one/x"))
            await a.until_serves("one")
            await until(lambda: a.says("undone"))
            shown = await asyncio.to_thread(
                CliRunner().invoke,
                main,
                ["ha", "status", "--settings", str(a.toml), "--folder", str(a.home / "pair")],
            )
            assert re.search(
                r"member +a: version 1 in use; version 2 undone: reload\.guard_s: of \d+ requests",
                shown.output,
            )
            assert shown.exit_code == 1
        async with a.running():
            await a.proxy.line("the published version 1 .* is served, from this copy")
            await until_both_follow(a, 1)
            await a.local("reload")
            assert await a.serves("one")
            await a.publish("three")
            assert await a.serves("three")


async def test_one_at_a_time_stops_at_the_first_that_does_not(etcd: EtcdProcess) -> None:
    """The others keep what they have; the first waits for its guard."""
    async with homes(etcd, "a", "b") as (a, b):
        a.more = "[reload]\nguard_s = 3\n"
        a.prepare()
        async with a.running("the configuration is refused"), b.running():
            await until_both_follow(a)
            loop = asyncio.get_running_loop()
            began = loop.time()
            said = await b.publish("one", "--one-at-a-time")
            assert loop.time() - began > 3
            assert re.findall(r"^([ab]): version 1 in use \(generation 2\)$", said, re.MULTILINE)[
                :2
            ] == ["a", "b"]
            write(a.toml, a.toml.read_text() + '[[probe.cluster]]\nname = "farm"\ntype = "tcp"\n')
            await a.local("reload")
            file = write(a.home / "barn.xml", config("two").replace('"farm"', '"barn"'))
            said = await b.run(
                "publish", str(file), "--listen", "127.0.0.1:0", "--one-at-a-time", code=1
            )
            assert re.search(r"^a: version 1 in use; version 2 refused: ", said, re.MULTILINE)
            assert "version 2 goes no further" in said
            for each in (a, b):
                assert await each.serves("one")
            assert any("is for a only" in each for each in (await b.status())["group"]["warnings"])
            await b.run("ha", "rollback", "1")
            await until_good(b)


async def test_a_rollback_of_this_proxy_alone(etcd: EtcdProcess) -> None:
    """`wsproxy rollback` holds here and over a new start, and the group sees it."""
    async with homes(etcd, "a") as (a,):
        async with a.running():
            await until_both_follow(a, 1)
            await a.publish("one")
            await a.publish("two")
            await a.local("rollback")
            assert await a.serves("one")
            await until(lambda: a.says("left"))
        async with a.running():
            assert await a.serves("one")


async def test_a_copy_that_is_changed_by_hand(etcd: EtcdProcess) -> None:
    """What an operator does where etcd is away: it holds here at once, and over a start, which says so; what is published later holds again."""
    async with homes(etcd, "a") as (a,):
        async with a.running():
            await until_both_follow(a, 1)
            await a.publish("one")
            [copy] = a.folder.glob("published-1-*.xml")
            write(copy, config("mine"))
            await a.until_serves("mine")
            assert not await a.serves("one")
        async with a.running():
            await a.proxy.line("somebody has changed it since it was published")
            assert await a.serves("mine")
            await until_both_follow(a, 1)
            await a.publish("two")
            assert await a.serves("two")
            assert config("mine") in a.copies()


async def test_a_folder_that_cannot_be_used(etcd: EtcdProcess) -> None:
    """`wsproxy check` and the start say so, with the setting's line; without a group the setting is idle."""
    async with homes(etcd, "a") as (a,):
        file = str(a.home / "plugin-cfg.xml")
        a.folder.rmdir()
        words = (file, "--settings", str(a.toml), "--listen", "127.0.0.1:0")
        for code, said in (await command("check", *words), await command("run", *words)):
            assert code == 2
            assert re.search(
                r'wsproxy\.toml:\d+: ha\.config_folder: found ".*/published" \(No such file or directory\); allowed is',
                said,
            )
        write(a.toml, '[ha]\nconfig_folder = "published"\n')
        code, said = await command("check", *words)
        assert code == 0
        assert "wsproxy.toml:2: ha.config_folder: found" in said
        assert 'which has no effect with store = "off"' in said


async def test_a_copy_that_cannot_be_used_any_more(etcd: EtcdProcess) -> None:
    """Settings changed so that a start refuses it: with file and line, as ever."""
    async with homes(etcd, "a") as (a,):
        async with a.running():
            await until_both_follow(a, 1)
            await a.publish("one")
        write(a.toml, a.toml.read_text() + '[[probe.cluster]]\nname = "barn"\ntype = "tcp"\n')
        code, said = await command(
            "run",
            str(a.home / "plugin-cfg.xml"),
            "--settings",
            str(a.toml),
            "--listen",
            "127.0.0.1:0",
        )
        assert code == 2
        assert re.search(
            r'wsproxy\.toml:\d+: .*found "barn", which is no ServerCluster of \S+/published-1-\w+\.xml',
            said,
        )


async def test_a_program_that_takes_the_place(etcd: EtcdProcess, tmp_path: Path) -> None:
    """`wsproxy upgrade` goes on by the version that is in use, and takes the next one."""
    a = One("a", tmp_path, etcd.url)
    a.prepare()
    _, _, settings = a.toml.read_text().partition("most_a_second = 10_000\n")
    async with upgrading(tmp_path, [lane("farm")], workers=1, settings=settings) as program:
        a.proxy = program.proxy
        a.proxy.expected += AWAY
        await until_both_follow(a, 1)
        await a.publish("one")
        start = len(a.proxy.lines)
        await program.upgrade()
        await a.proxy.line("the published version 1 .* is served, from this copy", start)
        assert await a.serves("one")
        await a.proxy.line("view size is 1", start)
        await a.publish("two", "--wait", "0")
        await a.until_serves("two")


async def test_embedded_etcd_is_found_by_its_folder() -> None:
    """For trying: one proxy, one etcd of its own, whose port nobody chose."""
    with tempfile.TemporaryDirectory() as folder:
        a = One("a", Path(folder), "")
        a.prepare()
        text = (
            a.toml.read_text()
            .replace('store = "etcd"', 'store = "embedded"')
            .replace('endpoints = [""]\n', "")
        )
        write(a.toml, text)
        async with a.running():
            await a.proxy.line("view size is 1")
            await until_both_follow(a, 1)
            await a.publish("one")
            assert await a.serves("one")
