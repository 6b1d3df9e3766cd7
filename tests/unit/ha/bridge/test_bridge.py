"""Both ends of a bridge on two real etcds with TLS: words go over, a link is cut and heals without a storm, a place that is lost writes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from tests.support.etcd import needs_etcd
from tests.support.sites import Site, site
from wsproxy.admin.bridge_counts import STATES, BridgeCounts
from wsproxy.admin.bridge_counts import Word as Counted
from wsproxy.admin.wall_clock import wall_ms
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.ha.board.rule import Word, said_after
from wsproxy.ha.bridge.bridge import MOST_A_SECOND, MOST_IN_A_BATCH, Bridge
from wsproxy.ha.bridge.pause import pause_s
from wsproxy.ha.bridge.words import EndSaid, decode_end, lines_of_bridges, tell_bridges, warnings_of
from wsproxy.ha.store.base import Delete, Put, Told
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import STREAM_S

pytestmark = needs_etcd

LONG_S = 60.0


class End:
    """A member of a site with its bridge, which has its place; its store is the site's."""

    def __init__(self, here: Site, settings: BridgeSettings, member: str = "m1") -> None:
        self.site = here
        self.store: EtcdStore = here.store()
        self.lease = 0
        ha = HaSettings("etcd", cell="wsproxy", bridges=(settings,))
        [self.row] = BridgeCounts(ha).rows.values()
        self.bridge = Bridge(
            settings, here.names, member, self.store, lambda: self.lease, lambda: None, self.row
        )
        self.seat = here.names.seat(here.names.place(self.bridge.resource.name, member))
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Also again, after the bridge was stopped."""
        await self._unfollow()
        self.lease = await self.store.grant(600)
        await self.store.put(Put(self.seat, b"m1", self.lease))
        snapshot = await self.store.read(self.site.names.root)
        self.bridge.read(snapshot.entries)
        self._task = asyncio.ensure_future(self._follow(snapshot.revision))
        await self.bridge.begin(snapshot.entries[self.seat].created)

    async def _follow(self, after: int) -> None:
        async with contextlib.aclosing(self.store.watch(self.site.names.root, after)) as words:
            async for told in words:
                if isinstance(told, Told):
                    self.bridge.told(told)

    async def _unfollow(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def end(self) -> None:
        await self.bridge.close()
        await self._unfollow()
        if self.lease:
            await self.store.revoke(self.lease)
        await self.store.close()

    async def say(self, subject: str, word: Word) -> None:
        """A member's board posts it, knowing what is there."""
        before = (await self.words()).get(subject)
        value = msgspec.json.encode(said_after(word, before, self.site.names.site))
        await self.store.put(Put(self.site.names.board + subject, value))

    async def words(self) -> dict[str, Word]:
        names = self.site.names
        entries = (await self.store.read(names.board)).entries
        return {
            key.removeprefix(names.board): msgspec.json.decode(entry.value, type=Word)
            for key, entry in entries.items()
            if not key.startswith(names.bridges)
        }

    async def revision(self) -> int:
        return (await self.store.read(self.site.names.board)).revision

    async def until(self, what: Callable[[dict[str, Word]], bool]) -> dict[str, Word]:
        found: dict[str, Word] = {}
        try:
            async with asyncio.timeout(LONG_S):
                while True:
                    found = await self.words()
                    if what(found):
                        return found
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError((found, self.bridge.end())) from None

    async def until_copied(self, count: int) -> None:
        """It has written so many, and no more; its answer may come after others see the word."""
        try:
            async with asyncio.timeout(LONG_S):
                while self.bridge.words < count:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(self.bridge.end()) from None
        assert self.bridge.words == count

    async def until_state(self, *states: str) -> None:
        try:
            async with asyncio.timeout(LONG_S):
                while self.bridge.state not in states:  # noqa: ASYNC110  # it tells nobody
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(self.bridge.end()) from None


def drain(at_ms: int = 1000, who: str = "op", hold: int = 1) -> Word:
    return Word("m1", at_ms, is_operator=True, who=who, hold=hold)


DOWN = Word("m1", 1000, is_down=True, why="connection refused")


class Pair:
    def __init__(self, east: Site, west: Site) -> None:
        self.east, self.west = east, west
        self.ends: list[End] = []

    def end_of(self, here: Site, settings: BridgeSettings) -> End:
        made = End(here, settings)
        self.ends.append(made)
        return made

    async def bridged(self, **more: object) -> tuple[End, End]:
        made = End(self.east, self.west.as_seen(**more)), End(self.west, self.east.as_seen(**more))
        self.ends += made
        for each in made:
            await each.begin()
        for each in made:
            await each.until_state("up")
        return made

    def cut(self) -> None:
        for each in (self.east, self.west):
            each.relay.cut()

    def heal(self) -> None:
        for each in (self.east, self.west):
            each.relay.heal()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("sites")
    with site(folder, "east") as east, site(folder, "west") as west:
        yield east, west


@pytest_asyncio.fixture
async def pair(sites: tuple[Site, Site]) -> AsyncIterator[Pair]:
    made = Pair(*sites)
    yield made
    made.heal()
    for each in made.ends:
        names = each.site.names
        gone = [Delete(key) for key in (await each.store.read(names.root)).entries]
        await each.end()
        store = each.site.store()
        for at in range(0, len(gone), 100):
            await store.swap([], gone[at : at + 100])
        await store.close()


async def test_holds_and_numbers_go_over_marks_do_not(pair: Pair) -> None:
    """By default; both ways, with their operator and the site that they are from."""
    east, west = await pair.bridged()
    await east.say("hold/farm/s1", drain())
    await east.say("mark/farm/s1", DOWN)
    await west.say("numbers/farm/s2", Word("w1", 5, is_operator=True, weight=7, who="op2"))
    got = await west.until(lambda words: "hold/farm/s1" in words)
    assert got["hold/farm/s1"] == msgspec.structs.replace(drain(), origin="wsproxy/east", number=1000, via="wsproxy/east")  # fmt: skip
    found = await east.until(lambda words: "numbers/farm/s2" in words)
    assert found["numbers/farm/s2"].speaker == "w1 of wsproxy/west"
    await west.say("hold/farm/s1", Word("w1", 10, is_operator=True))
    await east.until(lambda words: words["hold/farm/s1"].hold == 0)
    assert "mark/farm/s1" not in await west.words()
    await east.until_copied(2)
    await west.until_copied(1)


async def test_both_sites_choose(pair: Pair) -> None:
    """What one does not let out is not taken by the other, which would; clusters by pattern."""
    made = (
        End(pair.east, pair.west.as_seen(out=("marks:shop_*",), in_=())),
        End(pair.west, pair.east.as_seen(in_=("marks", "holds"), out=("holds",))),
    )
    pair.ends += made
    east, west = made
    for each in made:
        await each.begin()
    await west.until_state("up")
    for subject in ("mark/shop_1/s1", "mark/farm/s1", "hold/shop_1/s1"):
        await east.say(subject, DOWN if subject.startswith("mark") else drain())
    await west.say("hold/shop_1/s2", drain())
    await west.until(lambda words: "mark/shop_1/s1" in words)
    await east.say("mark/shop_2/s1", DOWN)
    got = await west.until(lambda words: "mark/shop_2/s1" in words)
    assert sorted(got) == ["hold/shop_1/s2", "mark/shop_1/s1", "mark/shop_2/s1"]
    assert "hold/shop_1/s2" not in await east.words()


async def test_a_heal_writes_what_differs_once(pair: Pair) -> None:
    """300 words at both sites that were the same before, 120 of them said anew at one or the other while the link was cut: 120 writes in all."""
    east, west = await pair.bridged()
    subjects = [f"hold/farm/s{number}" for number in range(300)]
    for subject in subjects:
        await east.say(subject, drain())
    await west.until(lambda words: len(words) == 300)
    await west.until_copied(300)
    before = 0, 300
    began = time.monotonic()
    pair.cut()
    await east.until_state("cut")
    await west.until_state("cut")
    assert (
        time.monotonic() - began < STREAM_S - 5
    )  # it was asked: no connection has ended, nor been begun anew
    for subject in subjects[:70]:
        await east.say(subject, drain(2000, "east"))
    for subject in subjects[50:120]:
        await west.say(subject, drain(3000, "west"))
    at = await asyncio.gather(east.revision(), west.revision())
    pair.heal()
    for each in (east, west):
        await each.until(
            lambda words: (
                [words[name].who for name in subjects]
                == ["east"] * 50 + ["west"] * 70 + ["op"] * 180
            )
        )
    await east.until_copied(before[0] + 70)
    await west.until_copied(before[1] + 50)
    await asyncio.sleep(3 * 1.0)  # what would go round goes round
    assert (east.bridge.words - before[0], west.bridge.words - before[1]) == (70, 50)
    written = [now - then for now, then in zip(await asyncio.gather(east.revision(), west.revision()), at, strict=True)]  # fmt: skip
    # A revision is a transaction: some batches, and what the ends say of themselves.
    assert max(written) < 30, written


async def test_equal_boards_are_not_written(pair: Pair) -> None:
    """Nor is anything else, where a bridge begins between two sites that know the same."""
    east, west = await pair.bridged()
    for each in (east, west):
        for number in range(20):
            await each.say(f"hold/farm/s{number}", drain(1000 + number))
    await asyncio.gather(east.end(), west.end())
    pair.ends.clear()
    made = await pair.bridged()
    await made[0].say("hold/farm/last", drain())
    await made[1].until(lambda words: "hold/farm/last" in words)
    await made[1].until_copied(1)
    await made[0].until_copied(0)


async def test_marks_of_a_site_that_is_cut_off_end(pair: Pair) -> None:
    """After marks_s, here; they hold again when it is heard. Its drain stays, and so does a mark of our own."""
    both = ("holds", "marks")
    east, west = await pair.bridged(out=both, in_=both, marks_s=3.0)
    await east.say("mark/farm/s1", DOWN)
    await east.say("hold/farm/s1", drain())
    await west.until(lambda words: len(words) == 2)
    await west.say("mark/farm/s2", DOWN)
    await east.until(lambda words: len(words) == 3)
    began = time.monotonic()
    pair.cut()
    got = await west.until(lambda words: not words["mark/farm/s1"].is_down)
    assert time.monotonic() - began > 3.0
    assert got["hold/farm/s1"].hold == 1
    assert got["mark/farm/s2"].is_down
    await east.until(lambda words: not words["mark/farm/s2"].is_down)
    assert (await east.words())["mark/farm/s1"].is_down
    pair.heal()
    for each in (east, west):
        await each.until(
            lambda words: all(words[name].is_down for name in ("mark/farm/s1", "mark/farm/s2"))
        )


async def test_a_place_that_is_lost_writes_nothing(pair: Pair) -> None:
    """Another member has it by now: the token of each write says so."""
    east, west = await pair.bridged()
    await west.store.swap([], [Delete(west.seat)])
    await west.store.put(Put(west.seat, b"another", west.lease))
    await east.say("hold/farm/s1", drain())
    async with asyncio.timeout(LONG_S):
        while not west.bridge.end().behind:  # noqa: ASYNC110  # it tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.0)  # it tries
    assert await west.words() == {}


async def test_two_writers_are_harmless(pair: Pair) -> None:
    """Two members of a site who both have a place: each word is there once, and nobody waits."""
    east, west = await pair.bridged()
    second = End(pair.west, pair.east.as_seen(), "m2")
    pair.ends.append(second)
    await second.begin()
    await second.until_state("up")
    for number in range(40):
        await east.say(f"hold/farm/s{number}", drain())
    await west.until(lambda words: len(words) == 40)
    entries = (await west.store.read(f"{pair.west.names.board}hold/")).entries.values()
    assert [each for each in entries if each.created != each.modified] == []


async def test_what_status_says(pair: Pair) -> None:
    """Each end of itself, and what the other end says that it took."""
    east, west = await pair.bridged()
    await east.say("hold/farm/s1", drain())
    await west.until(lambda words: bool(words))
    names = pair.east.names
    async with asyncio.timeout(LONG_S):
        while True:
            found = tell_bridges(names, (await east.store.read(names.root)).entries)
            if found.get("wsproxy/west", {}).get("out_words") == 1:
                break
            await asyncio.sleep(0.05)
    [end] = found.values()
    assert (end["state"], end["out"], end["behind"]) == ("up", ("holds", "numbers"), 0)
    assert list(warnings_of(found)) == []
    lines = list(lines_of_bridges(found, end["since_ms"] + 5000))
    assert lines[0] == "bridge      to wsproxy/west: up for 5 s, at m1"
    assert lines[2].startswith("            out (holds, numbers): 1 words, the last ")
    pair.cut()
    await east.until_state("cut")
    async with asyncio.timeout(LONG_S):
        while True:
            found = tell_bridges(names, (await east.store.read(names.root)).entries)
            if found["wsproxy/west"]["state"] == "cut":
                break
            await asyncio.sleep(0.05)
    [warning] = warnings_of(found)
    assert warning.startswith("the bridge to wsproxy/west is cut: https://127.0.0.1:")


async def test_the_other_site_has_no_bridge(pair: Pair) -> None:
    """It is said what is missing there, and nothing is taken."""
    east = End(pair.east, pair.west.as_seen())
    west = End(pair.west, pair.east.as_seen())
    pair.ends += [east, west]
    await west.say("hold/farm/s1", drain())
    await east.begin()
    await east.until_state("waiting")
    assert "wsproxy/west has no bridge to wsproxy/east" in east.bridge.end().why
    assert await east.words() == {}
    await west.begin()
    await east.until(lambda words: "hold/farm/s1" in words)


async def test_certificates_that_are_not_believed(pair: Pair) -> None:
    """On either side: nothing is taken, and the reason says which."""
    ours = str(pair.east.keys.certificate), str(pair.east.keys.key)
    for more, says in (
        ({"ca": str(pair.east.keys.ca)}, "its certificate is not believed"),
        ({"certificate": ours[0], "key": ours[1]}, "does not believe our certificate"),
    ):
        east = End(pair.east, pair.west.as_seen(**more))
        pair.ends.append(east)
        await east.begin()
        await east.until_state("cut")
        assert says in east.bridge.end().why
        await east.end()
        pair.ends.remove(east)


async def test_changes_that_were_missed(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Not kept any more, as after a compaction while the link was cut: all is read again, and only what differs written."""
    east, west = await pair.bridged()
    for number in range(5):
        await east.say(f"hold/farm/s{number}", drain())
    await west.until(lambda words: len(words) == 5)
    pair.cut()
    await west.until_state("cut")
    await east.say("hold/farm/s0", drain(5000, hold=2))
    at = await east.revision()
    await east.store._gateway.ask("/v3/kv/compaction", {"revision": str(at)})
    await west.until_copied(5)
    with caplog.at_level("INFO", logger="wsproxy.ha"):
        pair.heal()
        await west.until(lambda words: words["hold/farm/s0"].hold == 2)
    assert "changes there were missed; all is read again" in caplog.text
    await west.until_copied(6)


async def test_many_words_go_in_batches_and_not_faster_than_is_said(pair: Pair) -> None:
    """400 that a bridge finds when it begins: 64 at most in one transaction, 500 a second."""
    east = End(pair.east, pair.west.as_seen())
    west = End(pair.west, pair.east.as_seen())
    pair.ends += [east, west]
    await east.begin()
    board, word = pair.east.names.board, msgspec.json.encode(drain())
    for at in range(0, 400, 100):
        await east.store.swap([], [Put(f"{board}hold/farm/s{at + number}", word) for number in range(100)])  # fmt: skip
    began = time.monotonic()
    await west.begin()
    await west.until_copied(400)
    assert time.monotonic() - began > (400 - MOST_IN_A_BATCH) / MOST_A_SECOND
    entries = (await west.store.read(f"{pair.west.names.board}hold/")).entries.values()
    together = Counter(each.modified for each in entries)
    assert max(together.values()) <= MOST_IN_A_BATCH
    assert together.total() == 400


async def test_a_site_that_refuses_is_asked_seldom(pair: Pair) -> None:
    """Twice as long after each attempt, so not many in some seconds, and never at the same moments."""
    asked: list[float] = []

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(time.monotonic())
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    east = End(pair.east, pair.west.as_seen(endpoints=(f"http://127.0.0.1:{port}",)))
    pair.ends.append(east)
    began = time.monotonic()
    await east.begin()
    async with asyncio.timeout(LONG_S):
        while len(asked) < 4:  # noqa: ASYNC110  # sockets tell nobody
            await asyncio.sleep(0.05)
    assert time.monotonic() - began > 0.5 * (1 + 2 + 4)
    server.close()
    await server.wait_closed()


def test_the_pause_before_an_attempt() -> None:
    """One second, two, four, up to thirty; less up to a half by chance."""
    assert [pause_s(failed, 1.0) for failed in (0, 1, 2, 4, 5, 900)] == [1, 2, 4, 16, 30, 30]
    assert pause_s(3, 0.0) == 4.0


async def test_what_the_metrics_say(pair: Pair) -> None:
    """Words each way, whether the link is up, and when the other site was heard; of this member, while it has the bridge."""
    east, west = await pair.bridged()

    def state(end: End) -> str:
        return STATES[end.row[Counted.STATE]]

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(LONG_S):
            while not what():  # noqa: ASYNC110  # shared memory tells nobody
                await asyncio.sleep(0.01)

    assert state(east) == state(west) == "up"
    for number in range(3):
        await east.say(f"hold/farm/s{number}", drain())
    await until(lambda: west.row[Counted.COPIED_IN] == 3)
    await until(lambda: east.row[Counted.COPIED_OUT] == 3)
    assert (east.row[Counted.COPIED_IN], west.row[Counted.COPIED_OUT]) == (0, 0)
    assert west.row[Counted.BEHIND] == 0
    assert wall_ms() - west.row[Counted.HEARD_MS] < LONG_S * 1000
    pair.cut()
    await until(lambda: state(west) == "cut")
    heard_ms = west.row[Counted.HEARD_MS]
    pair.heal()
    await until(lambda: state(west) == "up")
    assert west.row[Counted.HEARD_MS] > heard_ms
    await west.bridge.stop()
    assert state(west) == "elsewhere"
    await west.begin()  # counts go on, and what went over before is not counted again
    await west.until_state("up")
    await east.say("hold/farm/s9", drain())
    await until(lambda: west.row[Counted.COPIED_IN] == 4)
    await until(lambda: east.row[Counted.COPIED_OUT] == 4)


async def test_what_the_other_end_said_while_the_link_was_cut_is_counted_once(pair: Pair) -> None:
    """It is asked first, and the watch tells afterwards what had been said before that answer."""
    east, west = await pair.bridged()

    async def until(words: int, *, of: int) -> None:
        """West says that it has copied so many; east has counted so many."""
        async with asyncio.timeout(LONG_S):
            while True:
                entries = (await west.store.read(west.site.names.bridges)).entries
                ends = [decode_end(each.value) for each in entries.values()]
                said = [end.words for end in ends if end is not None]
                if words in said and east.row[Counted.COPIED_OUT] == of:
                    return
                await asyncio.sleep(0.02)

    await east.say("hold/farm/s1", drain())
    await east.say("hold/farm/s2", drain())
    await until(2, of=2)
    pair.west.relay.cut()  # from east
    await east.until_state("cut")
    await west.bridge.stop()
    await west.begin()
    await until(0, of=2)
    await east.say("hold/farm/s3", drain())
    await until(1, of=2)
    pair.west.relay.heal()
    await east.until_state("up")
    await east.say("hold/farm/s4", drain())
    await until(2, of=4)


async def test_a_site_whose_etcd_was_restored_while_the_link_was_cut(tmp_path: Path) -> None:
    """And has counted on since: what it says now would be behind what was read, and never told."""
    with site(tmp_path, "east") as there, site(tmp_path, "west") as here:
        east, west = End(there, here.as_seen()), End(here, there.as_seen())
        backup = await asyncio.to_thread(there.etcd.back_up)
        await connect_again(there)
        end = msgspec.json.encode(EndSaid("m1", "up", 0, ("holds",)))
        key = there.names.bridge(here.names.site)
        await east.store.put(Put(key, end))
        await west.begin()
        await west.until_state("up")
        for number in range(3):
            await east.say(f"hold/farm/s{number}", drain())
        await west.until(lambda words: len(words) == 3)
        seen = await east.revision()

        there.relay.cut()
        await west.until_state("cut")
        await asyncio.to_thread(there.etcd.restore, backup)
        await connect_again(there)
        await east.say("hold/farm/new", drain())
        while await east.store.put(Put(key, end)) < seen + 10:
            pass
        there.relay.heal()
        await west.until(lambda words: "hold/farm/new" in words)
        for each in (east, west):
            await each.end()


async def connect_again(there: Site) -> None:
    """Connections to the etcd before have ended, which the first question meets."""
    store = there.store()
    await store.read("/nothing")
    await store.close()
