"""Several endpoints: servers that die, hang, are cut off or have no majority; TLS with a certificate on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import signal
import ssl
from pathlib import Path

import pytest

from tests.support.etcd import EtcdProcess, Relay, needs_etcd, running_etcd
from wsproxy.ha.certs import files_of, make_certificates
from wsproxy.ha.store.base import CompactedError, Delete, Put, StoreAwayError, Told
from wsproxy.ha.store.etcd import EtcdStore, Seen
from wsproxy.ha.store.gateway import Gateway

# Of one try; the busy machine's part.
TRY_S = 2.0


def store_of(*urls: str, try_s: float = TRY_S, tls: ssl.SSLContext | None = None) -> EtcdStore:
    return EtcdStore(Gateway(urls, tls, try_s=try_s))


class Watching:
    """Collects what a watch tells, until it has seen a key."""

    def __init__(self, store: EtcdStore, prefix: str, after: int) -> None:
        self.told: list[Told] = []
        self.began = asyncio.Event()
        self._task = asyncio.ensure_future(self._watch(store, prefix, after))

    async def _watch(self, store: EtcdStore, prefix: str, after: int) -> None:
        while True:
            try:
                async for told in store.watch(prefix, after):
                    self.began.set()
                    if told is not None:
                        self.told.append(told)
                        if told.changes[-1][0].endswith("/last"):
                            return
            except (
                CompactedError
            ):  # a server that is behind: whoever watches reads all again, as long as it is
                await asyncio.sleep(0.05)

    async def keys(self) -> list[str]:
        await self._task
        return [key.rpartition("/")[2] for each in self.told for key, _ in each.changes]


async def until_refused(store: EtcdStore, prefix: str, after: int) -> None:
    """One watch, without reading all again."""
    async with asyncio.timeout(30), contextlib.aclosing(store.watch(prefix, after)) as words:
        async for _ in words:
            pass


def closed_port() -> str:
    return "http://127.0.0.1:9"


async def test_the_next_endpoint_is_asked(etcd: EtcdProcess, prefix: str) -> None:
    """Where one refuses, and from then on the other one goes first."""
    store = store_of(closed_port(), etcd.url)
    await store.put(Put(f"{prefix}a", b""))
    assert store._gateway.endpoint == etcd.url
    await store.close()


async def test_nobody_answers() -> None:
    """The text says who did not, and why."""
    store = store_of(closed_port(), "http://[::1]:9")
    with pytest.raises(StoreAwayError, match=r"127\.0\.0\.1:9: .*; http://\[::1\]:9: "):
        await store.grant(5)
    await store.close()


async def test_a_silent_cut_moves_questions_and_watch(etcd: EtcdProcess, prefix: str) -> None:
    """No connection ends when a network is cut: the watch follows the questions, and misses nothing."""
    relay = Relay(int(etcd.url.rpartition(":")[2]))
    store = store_of(f"http://127.0.0.1:{relay.port}", etcd.url, try_s=0.5)
    start = (await store.read(prefix)).revision
    watching = Watching(store, prefix, start)
    await watching.began.wait()
    await store.put(Put(f"{prefix}a", b""))
    relay.cut()
    await store.put(Put(f"{prefix}b", b""))
    await store.put(Put(f"{prefix}last", b""))
    assert await watching.keys() == ["a", "b", "last"]
    await store.close()
    relay.close()


async def test_a_watch_that_is_renewed_misses_nothing(etcd: EtcdProcess, prefix: str) -> None:
    """Streams end after a while, and go on behind what was told."""
    store = EtcdStore(Gateway([etcd.url], try_s=10.0, stream_s=0.05))
    start = (await store.read(prefix)).revision
    watching = Watching(store, prefix, start)
    for number in range(40):
        await store.put(Put(f"{prefix}{number}", b""))
    await store.put(Put(f"{prefix}last", b""))
    assert await watching.keys() == [*(str(number) for number in range(40)), "last"]
    await store.close()


async def test_compaction_is_told(etcd: EtcdProcess, prefix: str) -> None:
    """Whoever watches from too far back is to read all again."""
    store = store_of(etcd.url)
    await store.put(Put(f"{prefix}a", b""))
    revision = await store.put(Put(f"{prefix}a", b""))
    await store._gateway.ask("/v3/kv/compaction", {"revision": str(revision)})
    with pytest.raises(CompactedError):
        await until_refused(store, prefix, 1)
    await store.close()


async def begins(store: EtcdStore, prefix: str, after: int) -> bool:
    """Whether a watch from there goes on."""
    async with asyncio.timeout(30), contextlib.aclosing(store.watch(prefix, after)) as words:
        return await anext(words) is None


async def test_who_was_quiet_for_longer_than_etcd_keeps_changes_reads_nothing_again(
    etcd: EtcdProcess, prefix: str
) -> None:
    """A group in which nothing happens, with etcd's auto-compaction: each watch that is renewed would read all, which helps nothing."""
    store = store_of(etcd.url)
    await store.put(Put(f"{prefix}a", b""))
    revision = await store.put(Put("/elsewhere", b""))
    await store._gateway.ask("/v3/kv/compaction", {"revision": str(revision)})
    found = await store.read(prefix)
    assert await begins(store, prefix, found.revision)
    assert await begins(store, prefix, found.revision)
    await store.swap([], [Delete(f"{prefix}a")])
    revision = (await store.read(prefix)).revision
    await store._gateway.ask("/v3/kv/compaction", {"revision": str(revision)})
    assert await begins(store, prefix, revision)
    await store.close()


async def test_what_came_in_another_history_before_the_last_that_was_told(
    etcd: EtcdProcess, prefix: str
) -> None:
    """The key that was seen last is as it was; another one came that was never told."""
    seen: dict[str, Seen] = {}
    store = EtcdStore(Gateway([etcd.url], try_s=TRY_S), seen=seen)
    await store.put(Put(f"{prefix}a", b""))
    await store.read(prefix)
    last = dict(seen)
    revision = await store.put(Put(f"{prefix}b", b""))
    with pytest.raises(CompactedError, match="another history"):
        await until_refused(store, prefix, revision)
    assert seen == last
    other = EtcdStore(Gateway([etcd.url], try_s=TRY_S), seen=seen)
    with pytest.raises(CompactedError, match="another history"):
        await until_refused(other, prefix, revision)
    stranger = store_of(etcd.url)  # it has seen nothing
    assert await begins(stranger, prefix, revision)
    await stranger.close()
    await other.close()
    await store.close()


async def connect_again(store: EtcdStore) -> None:
    """Connections to the etcd before have ended, which the first question meets."""
    with contextlib.suppress(StoreAwayError):
        await store.read("/nothing")


async def test_an_etcd_that_was_restored_and_has_counted_on_is_told(prefix: str) -> None:
    """By its revision it could be the one that was watched; what it has lost would be believed for ever, and what it has back never seen."""
    with running_etcd() as (etcd,):
        store = store_of(etcd.url, try_s=10.0)
        await store.put(Put(f"{prefix}a", b"kept"))
        backup = etcd.back_up()
        await connect_again(store)
        after = (await store.read(prefix)).revision
        watching = Watching(store, prefix, after)
        await watching.began.wait()
        await store.put(Put(f"{prefix}a", b"lost"))
        await store.put(Put(f"{prefix}last", b""))
        assert await watching.keys() == ["a", "last"]
        seen = watching.told[-1].revision

        etcd.restore(backup)
        await connect_again(store)
        with pytest.raises(CompactedError):  # it is behind
            await until_refused(store, prefix, seen)
        for number in range(3):
            assert await store.put(Put(f"{prefix}{number}", b"")) <= seen + 1
        with pytest.raises(CompactedError, match="another history"):
            await until_refused(store, prefix, seen)
        found = await store.read(prefix)
        assert found.entries[f"{prefix}a"].value == b"kept"
        watching = Watching(store, prefix, found.revision)
        await watching.began.wait()
        await store.put(Put(f"{prefix}last", b""))
        assert await watching.keys() == ["last"]
        await store.close()


async def test_what_is_no_etcd_is_told() -> None:
    """Another web server at the address is named as that."""

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hello, "127.0.0.1", 0) as server:
        store = store_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StoreAwayError, match="found 'hello'; allowed is etcd's JSON gateway"):
            await store.read("/x")
        await store.close()


async def fill(store: EtcdStore, prefix: str) -> None:
    for number in range(20):
        await store.put(Put(f"{prefix}{number}", bytes(400_000)))


@needs_etcd
async def test_a_full_one_says_what_to_do(prefix: str) -> None:
    """Its alarm stays until somebody takes it away."""
    with running_etcd(extra=("--quota-backend-bytes", "2000000")) as (server,):
        store = store_of(server.url)
        with pytest.raises(StoreAwayError, match=r"space exceeded; .*`etcdctl alarm disarm`"):
            await fill(store, prefix)
        await store.close()


@needs_etcd
async def test_three_servers_one_dies_one_hangs(prefix: str) -> None:
    """A dead follower costs nothing; without a majority everything says so, the watch too; with one again all goes on."""
    with running_etcd(3, heartbeat_ms=50) as servers:
        store = store_of(*(each.url for each in servers))
        start = await store.put(Put(f"{prefix}a", b""))
        watching = Watching(store, prefix, start)
        await watching.began.wait()
        servers[0].end()
        await until_done(store, Put(f"{prefix}b", b""))
        servers[1].signal(signal.SIGSTOP)
        with pytest.raises(StoreAwayError):
            await store.put(Put(f"{prefix}c", b""))
        servers[1].signal(signal.SIGCONT)
        await until_done(store, Put(f"{prefix}last", b""))
        try:
            keys = await watching.keys()
        except (
            StoreAwayError
        ):  # every server said so while there was no majority: whoever watches asks again
            after = watching.told[-1].revision if watching.told else start
            again = Watching(store, prefix, after)
            keys = [key.rpartition("/")[2] for each in watching.told for key, _ in each.changes]
            keys += await again.keys()
        assert [each for each in keys if each != "c"] in (["b", "last"], ["b", "b", "last"])
        await store.close()


async def until_done(store: EtcdStore, write: Put) -> None:
    """An election takes its time; every try waits for an answer, so nothing spins."""
    async with asyncio.timeout(60):
        while True:
            try:
                await store.put(write)
            except StoreAwayError:
                continue
            return


@needs_etcd
async def test_tls_with_a_certificate_on_both_sides(tmp_path: Path, prefix: str) -> None:
    """`wsproxy ha certs` makes what etcd and a member need; without a certificate of the issuer nobody gets in."""
    now = datetime.datetime.now(datetime.UTC)
    make_certificates(tmp_path, [("localhost", "127.0.0.1"), ("proxy1",)], now)
    make_certificates(tmp_path / "strangers", [("proxy1",)], now)
    server, member = files_of(tmp_path, "localhost"), files_of(tmp_path, "proxy1")
    stranger = files_of(tmp_path / "strangers", "proxy1")
    extra = [
        "--client-cert-auth", "--trusted-ca-file", str(server.ca),
        "--cert-file", str(server.certificate), "--key-file", str(server.key),
        "--peer-client-cert-auth", "--peer-trusted-ca-file", str(server.ca),
        "--peer-cert-file", str(server.certificate), "--peer-key-file", str(server.key),
    ]  # fmt: skip

    def context(ca: Path, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(ca))
        if pair is not None:
            made.load_cert_chain(*map(str, pair))
        return made

    with running_etcd(1, extra, "https") as servers:
        url = servers[0].url
        store = store_of(url, tls=context(member.ca, (member.certificate, member.key)))
        await store.put(Put(f"{prefix}a", b"x"))
        assert (await store.read(prefix)).entries[f"{prefix}a"].value == b"x"
        await store.close()
        for tls in (
            context(member.ca, None),
            context(member.ca, (stranger.certificate, stranger.key)),
        ):
            store = store_of(url, tls=tls)
            with pytest.raises(StoreAwayError):
                await store.read(prefix)
            await store.close()
        store = store_of(url, tls=context(stranger.ca, (member.certificate, member.key)))
        with pytest.raises(StoreAwayError, match="certificate is not believed"):
            await store.read(prefix)
        await store.close()
