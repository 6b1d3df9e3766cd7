"""Published configurations on a real etcd: whole or not at all, in pieces, the last ones kept; one of two wins."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import zlib
from collections.abc import Sequence

import msgspec
import pytest

from tests.support.etcd import needs_etcd
from wsproxy.config.published import MOST_VERSIONS, Version
from wsproxy.errors import WsproxyError
from wsproxy.ha.master.library import (
    ABANDONED_MS,
    KEPT_VERSIONS,
    PIECE_BYTES,
    GoneError,
    Held,
    Library,
    News,
    OvertakenError,
    before,
)
from wsproxy.ha.master.words import MOST_PIECES, Content, Head
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Condition, Delete, Put, StoreAwayError, Swapped, Write
from wsproxy.ha.store.etcd import EtcdStore

pytestmark = needs_etcd


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("cell", prefix.strip("/"))


@pytest.fixture
def library(etcd_store: EtcdStore, names: Names) -> Library:
    return Library(etcd_store, names)


def noise(count: int, seed: int = 1) -> bytes:
    """What no compression makes smaller."""
    return random.Random(seed).randbytes(count)


async def publish(library: Library, data: bytes, comment: str = "", file: str = "") -> Head:
    return await library.publish(News(data, "alice@here", comment, file), await library.head())


async def keys(store: EtcdStore, prefix: str) -> list[str]:
    return sorted((await store.read(prefix)).entries)


async def test_nothing_is_published(library: Library) -> None:
    """Number 0, no version, nobody."""
    assert await library.head() == Held(None, 0)
    assert (await library.versions(), await library.applied()) == ([], {})
    with pytest.raises(GoneError, match="found version 3; allowed is one that is kept: none"):
        await library.version(3)


async def test_what_is_published_is_read_back(library: Library) -> None:
    """Who, when, why, and each byte."""
    head = await publish(library, b"<Config/>", comment="why", file="plugin-cfg.xml")
    held = await library.head()
    assert held.head == head
    assert (head.version.number, head.version.who, head.version.comment) == (1, "alice@here", "why")
    assert await library.versions() == [head.version]
    assert await library.content(head.version) == b"<Config/>"
    assert (await publish(library, b"<Config />")).version.number == 2


async def test_large_contents_go_in_pieces(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Each less than etcd's limit of a request; all that is allowed, and nothing beyond it."""
    data = noise(MOST_PIECES * PIECE_BYTES - 100_000)
    head = await publish(library, data)
    assert await library.content(head.version) == data
    sha = head.version.sha256
    record = (await etcd_store.read(names.content(sha))).entries[names.content(sha)]
    assert msgspec.json.decode(record.value, type=Content).pieces == MOST_PIECES
    with pytest.raises(
        WsproxyError, match=f"bytes after compression; allowed are {MOST_PIECES * PIECE_BYTES}"
    ):
        await publish(library, noise(MOST_PIECES * PIECE_BYTES + 1))
    assert (await library.head()).number == 1


async def test_who_was_second_is_told_who_won(library: Library) -> None:
    """Nothing of his is there, and his file is published when he asks again."""
    held = await library.head()
    first = await library.publish(News(b"1", "alice"), held)
    with pytest.raises(
        OvertakenError, match=r"version 1 \(by alice, .*holds now, and nothing was changed"
    ) as lost:
        await library.publish(News(b"2", "bob"), held)
    assert lost.value.head == first
    assert [each.who for each in await library.versions()] == ["alice"]
    assert (await library.publish(News(b"2", "bob"), await library.head())).version.number == 2


async def test_many_at_once(library: Library) -> None:
    """Each version is one's, whose contents are there; equal contents as well."""
    done: list[str] = []

    async def one(at: int) -> None:
        data = b"same" if at % 2 else noise(2_000_000, at)
        while True:
            try:
                await library.publish(News(data, str(at)), await library.head())
            except OvertakenError:
                continue
            done.append(str(at))
            return

    await asyncio.gather(*(one(at) for at in range(6)))
    versions = await library.versions()
    assert [each.number for each in versions] == [1, 2, 3, 4, 5, 6]
    assert [each.who for each in versions] == done
    for each in versions:
        assert len(await library.content(each)) == each.size


async def test_only_the_newest_are_kept(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """With contents that none of them has any more, and without those that one has."""
    first = (await publish(library, b"0")).version
    for at in range(1, KEPT_VERSIONS + 3):
        await publish(library, b"shared" if at in (2, KEPT_VERSIONS) else b"%d" % at)
    versions = await library.versions()
    assert [each.number for each in versions] == list(range(4, KEPT_VERSIONS + 4))
    with pytest.raises(GoneError, match="not kept any more"):
        await library.content(first)
    shared = next(each for each in versions if each.number == KEPT_VERSIONS + 1)
    assert await library.content(shared) == b"shared"
    assert len(await keys(etcd_store, names.contents)) == KEPT_VERSIONS
    assert len(await keys(etcd_store, names.piece("", 0).rpartition("//")[0])) == KEPT_VERSIONS


async def test_what_somebody_left_half_is_removed(etcd_store: EtcdStore, names: Names) -> None:
    """An hour later, when somebody publishes; and not while he may still be at it."""
    now = 1_000_000
    library = Library(etcd_store, names, lambda: now)
    left = "a" * 64
    await etcd_store.put(Put(names.content(left), msgspec.json.encode(Content(1, now))))
    await etcd_store.put(Put(names.piece(left, 0), b"half"))
    await publish(library, b"1")
    assert names.content(left) in await keys(etcd_store, names.contents)
    now += ABANDONED_MS + 1
    await publish(library, b"2")
    assert names.content(left) not in await keys(etcd_store, names.contents)
    assert await keys(etcd_store, names.piece(left, 0)) == []


async def test_half_contents_are_put_there_anew(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Somebody began with the same ones and was ended."""
    sha = (await publish(library, b"good")).version.sha256
    await etcd_store.put(Put(names.content(sha), msgspec.json.encode(Content(1, 0))))
    await etcd_store.put(Put(names.piece(sha, 0), b"half"))
    assert await library.content((await publish(library, b"good")).version) == b"good"


class Forgetful(EtcdStore):
    """Loses the answer of the first swap, which was done."""

    is_lost = False

    async def swap(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> Swapped:
        done = await super().swap(conditions, writes)
        if not self.is_lost:
            self.is_lost = True
            raise StoreAwayError("lost")
        return done


async def test_a_lost_answer_is_no_second_version(etcd_store: EtcdStore, names: Names) -> None:
    """The next try meets its own write."""
    library = Library(Forgetful(etcd_store._gateway), names)
    assert (await publish(library, b"1")).version.number == 1
    assert len(await library.versions()) == 1


class Swept(EtcdStore):
    """Somebody who removes old versions takes the contents away just before the first swap."""

    def __init__(self, store: EtcdStore, names: Names) -> None:
        super().__init__(store._gateway)
        self._prefix = names.content("").removesuffix("contents/")
        self.is_swept = False

    async def swap(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> Swapped:
        if not self.is_swept:
            self.is_swept = True
            gone = [Delete(key) for key in await keys(self, self._prefix)]
            assert (await super().swap([], gone)).done
        return await super().swap(conditions, writes)


async def test_contents_that_are_taken_away_meanwhile(etcd_store: EtcdStore, names: Names) -> None:
    """They are put there again: no head names what is not there."""
    library = Library(Swept(etcd_store, names), names)
    assert await library.content((await publish(library, b"1")).version) == b"1"


@pytest.mark.parametrize(
    "stored", [b"no zlib", zlib.compress(b"other"), zlib.compress(bytes(200 << 20))]
)
async def test_damaged_contents_are_refused(
    library: Library, etcd_store: EtcdStore, names: Names, stored: bytes
) -> None:
    """Of another digest, of no form, or a bomb."""
    version = (await publish(library, b"good")).version
    await etcd_store.put(Put(names.piece(version.sha256, 0), stored))
    with pytest.raises(GoneError, match="are damaged in etcd"):
        await library.content(version)


async def test_a_head_that_nobody_can_read(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Another version of wsproxy's, or a path in place of an id: told with its key."""
    await publish(library, b"1")
    good = (await etcd_store.read(names.published)).entries[names.published].value
    for bad in (
        b"{}",
        good.replace(b'"id":"', b'"id":"../'),
        good.replace(b'"number":1', b'"number":-1'),
    ):
        await etcd_store.put(Put(names.published, bad))
        with pytest.raises(
            StoreAwayError, match=f"{names.published}: found what this wsproxy cannot read"
        ):
            await library.head()


async def test_numbers_go_on_where_the_head_is_gone(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Somebody has deleted it by hand."""
    await publish(library, b"1")
    await etcd_store._gateway.ask(
        "/v3/kv/deleterange",
        {"key": base64.b64encode(names.published.encode()).decode()},
    )
    assert (await publish(library, b"2")).version.number == 2


async def test_allowed_one_after_the_other(library: Library) -> None:
    """The same version, for more and more members; whoever publishes meanwhile ends that."""
    await library.publish(News(b"1", "alice", only=()), await library.head())
    held = await library.allow(await library.head(), ("a",))
    assert held.head is not None
    assert held.head.is_for("a")
    assert not held.head.is_for("b")
    later = await library.allow(held, None)
    assert later.head is not None
    assert later.head.is_for("b")
    await publish(library, b"2")
    with pytest.raises(OvertakenError):
        await library.allow(later, None)


async def test_what_somebody_else_wrote_stands_in_nobodys_way(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Among versions and among members: it is told with its key, and the next version is published."""
    await publish(library, b"1")
    await etcd_store.put(Put(names.version(7), b"{"))
    await etcd_store.put(Put(names.applied("x"), b"\xff"))
    assert (await publish(library, b"2")).version.number == 2
    assert [each.number for each in await library.versions()] == [1, 2]
    (strange,) = await library.strange()
    assert strange.startswith(f"{names.version(7)}: found what this wsproxy cannot read: ")
    found = (await library.applied())["x"]
    assert f"{names.applied('x')}: found what this wsproxy cannot read" in found.in_words()


async def test_contents_in_more_pieces_than_there_can_be(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Nobody who removes them makes a list of a billion keys, and others are removed all the same."""
    await etcd_store.put(Put(names.content("0" * 64), b'{"pieces":1000000000,"at_ms":1}'))
    await etcd_store.put(Put(names.content("1" * 64), b'{"pieces":1,"at_ms":1}'))
    sha256 = hashlib.sha256(b"1").hexdigest()
    await etcd_store.put(Put(names.content(sha256), b"{"))
    async with asyncio.timeout(30):
        head = await publish(library, b"1")
    assert await library.content(head.version) == b"1"
    assert await keys(etcd_store, names.contents) == [
        names.content("0" * 64),
        names.content(sha256),
    ]


async def test_numbers_end(library: Library, etcd_store: EtcdStore, names: Names) -> None:
    """Said with the keys that somebody has to look at."""
    head = await publish(library, b"1")
    last = msgspec.structs.replace(head.version, number=MOST_VERSIONS)
    await etcd_store.put(Put(names.published, msgspec.json.encode(Head(last))))
    with pytest.raises(WsproxyError, match=r"found number 1000000000 .*`etcdctl del`"):
        await publish(library, b"2")


async def test_what_holds_keeps_its_contents(
    library: Library, etcd_store: EtcdStore, names: Names
) -> None:
    """Though its entry among the versions is gone."""
    head = await publish(library, b"1")
    await etcd_store.swap([], [Delete(names.version(1))])
    late = Library(etcd_store, names, lambda: head.version.at_ms + 10 * ABANDONED_MS)
    await late._prune()
    assert await library.content(head.version) == b"1"


@pytest.mark.parametrize(
    ("returns", "number"),
    [
        ([0], 0),
        ([0, 0, 0], 2),
        ([0, 0, 0, 2], 1),  # again: further back
        ([0, 0, 0, 2, 1], 0),
        ([0, 0, 1, 0], 3),  # what was returned to and left again
        ([0, 0, 1, 0, 3], 0),
        ([0, 9], 1),  # of another etcd: a word that cannot be
    ],
)
def test_where_a_rollback_goes(returns: list[int], number: int) -> None:
    """One back each time."""
    kept = [Version(at, "a" * 32, "b" * 64, 1, "x", 1, returned_to=to) for at, to in enumerate(returns, 1)]  # fmt: skip
    assert before(kept[-1], kept) == number
