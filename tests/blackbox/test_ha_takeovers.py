"""A session that had to leave its server at one proxy of a group: it finds its new one at all of them. Real etcd, real proxies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.admin import talk_raw
from tests.support.client import ask, get
from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.origin import Origin, answering
from tests.support.process import WAIT_S
from tests.support.proxy import Lane, Proxy, lane, process_of, running_proxy
from tests.support.upgrading import upgrading
from wsproxy.ha.names import Names
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_etcd]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
# By chance two proxies agree on so many sessions once in two million times.
MANY = 14
AWAY = ("etcd does not answer", "no heartbeat of member", "is out of core group", "does not take takeovers", "ha process .* was killed")  # fmt: skip
NAMES = Names("wsproxy", "DefaultCoreGroup")
_numbers = count()


def sessions(many: int = MANY) -> list[str]:
    """Ids that nobody has had yet."""
    return [f"{next(_numbers):023d}" for _ in range(many)]


@dataclass(slots=True)
class One:
    """A proxy of the group."""

    proxy: Proxy
    folder: Path

    async def served_by(self, names: Sequence[str]) -> dict[str, str]:
        """The server of each session; its cookie names the first one, which is dead."""
        found = {}
        for name in names:
            request = get("/farm/x", f"Cookie: JSESSIONID=0000{name}:c0")
            answer = await ask(self.proxy.port, request)
            assert answer.status == 200
            found[name] = answer.body.decode()
        return found

    async def metrics(self, name: str) -> dict[str, int]:
        head = b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        _, page = await talk_raw(self.folder / "admin.sock", head)
        found = re.findall(rf'wsproxy_takeovers_{name}_total{{result="(\w+)"}} (\d+)', page.decode())  # fmt: skip
        return {result: int(number) for result, number in found}

    async def learnt(self) -> int:
        return (await self.metrics("heard"))["learnt"]

    async def until_learnt(self, many: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while await self.learnt() < many:  # noqa: ASYNC110  # a table tells nobody
                await asyncio.sleep(0.02)


@dataclass(slots=True)
class Pair:
    etcd: EtcdProcess
    lanes: list[Lane]
    key: Path
    a: One
    b: One

    async def agree(self, first: One, then: One, names: Sequence[str]) -> dict[str, str]:
        """What the first one chooses for these, the other one does."""
        before = await then.learnt()
        found = await first.served_by(names)
        await then.until_learnt(before + len(names))
        assert await then.served_by(names) == found
        assert len(set(found.values())) == 3
        return found


class Elsewhere(Origin):
    """Another's port: whoever ends with it leaves that open."""

    def __init__(self, other: Origin) -> None:
        super().__init__()
        super().close()
        self.port = other.port

    def close(self) -> None:
        pass


def again(lanes: Sequence[Lane]) -> list[Lane]:
    """The same servers, for a proxy that ends before the others."""
    return [
        replace(each, members=[replace(m, origin=Elsewhere(m.origin)) for m in each.members])
        for each in lanes
    ]


def settings_of(name: str, url: str, key: Path | None) -> str:
    return (
        f'[admin]\nsocket = "admin.sock"\n[upstream]\npool_size = 0\n[ha]\nstore = "etcd"\nendpoints = ["{url}"]\n'
        f'name = "{name}"\nperiod_s = 0.5\nmissed = 6\n' + (f'session_key = "{key}"\n' if key else "")
    )  # fmt: skip


@asynccontextmanager
async def one(name: str, lanes: Sequence[Lane], url: str, key: Path | None) -> AsyncIterator[One]:
    with tempfile.TemporaryDirectory() as folder:
        settings = settings_of(name, url, key)
        async with running_proxy(
            lanes, settings=settings, folder=Path(folder), env={"TMPDIR": folder}, workers=2
        ) as proxy:
            proxy.expected += AWAY
            await proxy.line(r"view size is \d")
            yield One(proxy, Path(folder))


def key_in(folder: Path, content: str = "x" * 40) -> Path:
    file = folder / "sessions.key"
    file.write_text(content)
    file.chmod(0o600)
    return file


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    farm = lane("farm", 4, 'RetryInterval="3600"')
    async with contextlib.AsyncExitStack() as stack:
        (etcd,) = stack.enter_context(running_etcd())
        key = key_in(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        sick, *well = farm.members
        sick.origin.refuse()
        for member in well:
            script = answering(OK + member.name.encode())
            await stack.enter_async_context(member.origin.serving(script))
        a, b = [await stack.enter_async_context(one(name, [farm], etcd.url, key)) for name in "ab"]
        yield Pair(etcd, [farm], key, a, b)


async def test_sessions_meet_at_one_server_whatever_proxy_they_come_to(pair: Pair) -> None:
    """Both ways, over all workers of both; the one that has heard of it tells nobody."""
    told = (await pair.b.metrics("told"))["told"]
    first = await pair.agree(pair.a, pair.b, sessions())
    assert (await pair.b.metrics("told"))["told"] == told
    await pair.agree(pair.b, pair.a, sessions())
    assert await pair.a.served_by(list(first)) == first


async def test_etcd_knows_no_session(pair: Pair) -> None:
    """No key and no value has an id."""
    names = sessions()
    await pair.agree(pair.a, pair.b, names)
    store = EtcdStore(Gateway([pair.etcd.url], try_s=10.0))
    found = (await store.read("/")).entries
    await store.close()
    kept = b"".join(each.key.encode() + each.value for each in found.values())
    assert NAMES.takeovers.encode() in kept
    assert not any(name.encode() in kept for name in names)
    assert b"0" * 15 not in kept


async def test_who_joins_later_knows_what_lives(pair: Pair) -> None:
    found = await pair.agree(pair.a, pair.b, sessions())
    async with one("c", again(pair.lanes), pair.etcd.url, pair.key) as c:
        await c.until_learnt(MANY)
        assert await c.served_by(list(found)) == found


async def test_without_etcd_requests_go_on_and_what_was_missed_is_told(pair: Pair) -> None:
    """Each chooses for itself meanwhile; of the sessions that only one has had, the other one hears when etcd is back."""
    names = sessions()
    before = await pair.b.learnt()
    start = len(pair.a.proxy.lines)
    pair.etcd.signal(signal.SIGSTOP)
    try:
        found = await pair.a.served_by(names)
        assert set(found.values()) == {"s1", "s2", "s3"}
        await pair.a.proxy.line("etcd does not take takeovers of sessions", start)
        assert await pair.a.served_by(names) == found
        assert await pair.b.learnt() == before
    finally:
        pair.etcd.signal(signal.SIGCONT)
    await pair.b.until_learnt(before + MANY)
    assert await pair.b.served_by(names) == found
    await pair.a.proxy.line("etcd takes takeovers of sessions again", start)


async def test_what_moves_while_another_ha_process_is_started_is_told(pair: Pair) -> None:
    """The ring outlives its reader."""
    names = sessions()
    before = await pair.b.learnt()
    start = len(pair.a.proxy.lines)
    os.kill(process_of(pair.a.proxy.pid, "wsproxy-ha"), signal.SIGKILL)
    found = await pair.a.served_by(names)
    await pair.a.proxy.line(r"view size is 2", start)
    await pair.b.until_learnt(before + MANY)
    assert await pair.b.served_by(names) == found


async def test_another_configuration_has_its_servers_told(pair: Pair) -> None:
    """One that is new to both is told, and heard, like the others; the one that it replaced is forgotten nowhere."""
    files = [each.folder / "plugin-cfg.xml" for each in (pair.a, pair.b)]
    texts = [file.read_text() for file in files]
    starts = [len(each.proxy.lines) for each in (pair.a, pair.b)]
    before = await pair.agree(pair.a, pair.b, sessions())

    async def take(generation: int, old: str, new: str) -> None:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text.replace(f'"{old}"', f'"{new}"'))
        for each, start in zip((pair.a, pair.b), starts, strict=True):
            os.kill(each.proxy.pid, signal.SIGHUP)
            await each.proxy.line(f"generation {generation}", start)

    await take(2, "s3", "s9")
    await pair.agree(pair.a, pair.b, sessions())
    await take(3, "s3", "s3")
    for each in (pair.a, pair.b):
        assert await each.served_by(list(before)) == before
    await pair.agree(pair.b, pair.a, sessions())


async def test_another_program_knows_and_tells(pair: Pair, tmp_path: Path) -> None:
    """`wsproxy upgrade`: what the old one remembered the new one does, its own and what it was told, and others hear of new ones."""
    _, _, settings = settings_of("e", pair.etcd.url, pair.key).partition("[upstream]")
    async with upgrading(
        tmp_path, again(pair.lanes), workers=1, settings=f"[upstream]{settings}"
    ) as e:
        member = One(e.proxy, tmp_path)
        await e.proxy.line("view size is 3")
        told = await pair.agree(pair.a, member, sessions())
        own = await pair.agree(member, pair.a, sessions())
        await e.upgrade()
        assert await member.served_by(list(told)) == told
        assert await member.served_by(list(own)) == own
        await pair.agree(member, pair.a, sessions())
        await pair.agree(pair.a, member, sessions())


async def test_another_secret_is_told_and_taken_from_nobody(pair: Pair, tmp_path: Path) -> None:
    async with one("odd", again(pair.lanes), pair.etcd.url, key_in(tmp_path, "y" * 40)) as odd:
        start = len(pair.a.proxy.lines)
        found = await odd.served_by(sessions())
        assert set(found.values()) == {"s1", "s2", "s3"}
        await pair.a.proxy.line(r"member odd: its takeovers of sessions are not taken.*ha\.session_key", start)  # fmt: skip
        await pair.agree(pair.a, pair.b, sessions())
        assert await odd.learnt() == 0


async def test_without_a_key_nothing_is_told(pair: Pair) -> None:
    """Which the log says."""
    async with one("f", again(pair.lanes), pair.etcd.url, None) as keyless:
        await keyless.proxy.line(r"ha: which server took a session over is not told to other proxies: ha\.session_key is empty")  # fmt: skip
        before = await pair.a.learnt()
        await keyless.served_by(sessions())
        await pair.agree(pair.b, pair.a, sessions())
        assert await pair.a.learnt() == before + MANY
        assert await keyless.metrics("told") == {"told": 0, "not_read": 0, "not_posted": 0}
