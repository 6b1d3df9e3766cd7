"""Another site that was taken over: whatever its etcd says, this site's members go on, and its own etcd is not filled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import msgspec
import pytest

from tests.support.etcd import needs_etcd
from tests.support.sites import Site, site
from tests.unit.ha.bridge.test_bridge import End, Pair, drain, pair  # noqa: F401  # a fixture
from wsproxy.admin.bridge_counts import Word as Counted
from wsproxy.config.settings_bridge import MOST_CHOICES, BridgeSettings, check_bridges
from wsproxy.ha.board.rule import Word
from wsproxy.ha.bridge import bounds, bridge
from wsproxy.ha.bridge.words import EndSaid, decode_end, lines_of_bridges, warnings_of
from wsproxy.ha.store.base import Delete, Put

pytestmark = needs_etcd

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    folder = tmp_path_factory.mktemp("sites")
    with site(folder, "east") as east, site(folder, "west") as west:
        yield east, west


async def put(end: End, subject: str, word: Word) -> None:
    await end.store.put(Put(end.site.names.board + subject, msgspec.json.encode(word)))


async def test_words_that_no_site_says_are_not_taken(
    pair: Pair,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is over one bound; the next good word is taken, and status says how many were not."""
    east, west = await pair.bridged()
    now_ms = time.time_ns() // 1_000_000
    bad = {
        "hold/farm/huge": drain(who="x" * 500_000),
        "hold/farm/ahead": msgspec.structs.replace(drain(), number=now_ms + 2 * DAY_MS),
        "hold/farm/evidence": drain(2**61),
        "hold/farm/forged": msgspec.structs.replace(drain(), knows=(("wsproxy/west", 2**62),)),
        "hold/farm/sites": msgspec.structs.replace(drain(), knows=tuple((f"a/{each}", 1) for each in range(40))),
        "hold/farm/name": msgspec.structs.replace(drain(), origin="o" * 1000),
        f"hold/farm/{'s' * 10_000}": drain(),
    }  # fmt: skip
    for subject, word in bad.items():
        await put(east, subject, word)
    await put(east, "hold/farm/%66", drain())  # another way to write "f"
    await put(east, "hold/farm/good", drain())
    assert list(await west.until(lambda words: "hold/farm/good" in words)) == ["hold/farm/good"]
    end = west.bridge.end()
    assert end.refused == west.row[Counted.OVER_WORD] == len(bad)
    found = {"wsproxy/east": {each: getattr(end, each) for each in EndSaid.__struct_fields__}}
    assert any(f"{len(bad)} refused" in line for line in lines_of_bridges(found, now_ms))
    assert any("has refused" in each for each in warnings_of(found))
    async with asyncio.timeout(60):
        while not any("are not taken" in each for each in caplog.messages):  # noqa: ASYNC110  # a log tells nobody
            await asyncio.sleep(0.02)
    lines = [each for each in caplog.messages if "are not taken" in each]
    assert len(lines) == 1  # and not one for each
    assert " words from there" in lines[0]
    assert "allowed" in lines[0]
    assert len(lines[0]) < 1000


async def test_a_site_brings_so_many_words_and_no_more(
    pair: Pair,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it takes its own back and says others; what came before is still changed, and ours is still taken over."""
    monkeypatch.setattr(bridge, "MOST_WORDS", 20)
    east, west = await pair.bridged()
    await put(west, "hold/farm/ours", drain(500))
    for at in range(15):
        await put(east, f"hold/farm/a{at}", drain())
    await west.until(lambda words: len(words) == 16)
    board = east.site.names.board
    await east.store.swap([], [Delete(f"{board}hold/farm/a{at}") for at in range(15)])
    for at in range(15):
        await put(east, f"hold/farm/b{at}", drain())
    await put(east, "hold/farm/a0", drain(2000, hold=2))
    await put(east, "hold/farm/ours", drain(2000, hold=2))
    found = await west.until(lambda words: words["hold/farm/ours"].hold == words["hold/farm/a0"].hold == 2)  # fmt: skip
    assert len(found) == 21
    assert west.bridge.end().refused >= 10
    assert west.row[Counted.OVER_HERE] + west.row[Counted.OVER_THERE] == west.bridge.end().refused


async def test_a_site_brings_so_many_bytes_and_no_more(
    pair: Pair,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New words, and old ones that grow."""
    monkeypatch.setattr(bridge, "MOST_BYTES", 12_000)
    east, west = await pair.bridged()
    for at in range(20):
        await put(east, f"hold/farm/a{at}", drain())
    await west.until(lambda words: len(words) == 20)
    for at in range(20):
        await put(east, f"hold/farm/a{at}", drain(2000, who="w" * 2000))
    for at in range(5):
        await put(east, f"hold/farm/b{at}", drain(who="w" * 3000))
    await put(east, "hold/farm/last", drain())
    found = await west.until(lambda words: "hold/farm/last" in words)
    assert sum(len(msgspec.json.encode(each)) for each in found.values()) < 12_000
    assert west.bridge.end().refused >= 20


async def test_what_is_not_chosen_here_is_not_kept(pair: Pair) -> None:  # noqa: F811
    """It costs this member no memory, and none of the room of what is."""
    west = End(pair.west, pair.east.as_seen(in_=("holds:farm",)))
    east = End(pair.east, pair.west.as_seen())
    pair.ends += [east, west]
    for each in (east, west):
        await each.begin()
    await west.until_state("up")
    for at in range(10):
        await put(east, f"hold/other{at}/s", drain())
    await put(east, "hold/farm/s", drain())
    await west.until(lambda words: "hold/farm/s" in words)
    assert list(west.bridge._theirs) == ["hold/farm/s"]


def test_large_words_go_in_small_transactions() -> None:
    """Or 10,000 revisions, which etcd keeps, of 64 words of 4 KB were more than its database may have."""
    assert 10_000 * (bounds.MOST_BATCH_BYTES + bounds.MOST_WORD_BYTES) < 1 << 29


def test_an_end_with_too_many_choices_says_nothing() -> None:
    """Each is looked at for each word; and `wsproxy check` refuses what the other end would not hear."""
    said = EndSaid("m", "up", 1, ("holds:x",) * MOST_CHOICES)
    assert decode_end(msgspec.json.encode(said)) == said
    for out in (("holds:x",) * (MOST_CHOICES + 1), ("holds:" + "x" * 100_000,)):
        assert decode_end(msgspec.json.encode(EndSaid("m", "up", 1, out))) is None
    assert decode_end(b'{"member":"m","state":"up","since_ms":1,"out":[],"words":99999999999999999999}') is None  # fmt: skip
    many = BridgeSettings(core_group="w", endpoints=("http://127.0.0.1:1",), out=("holds:x",) * (MOST_CHOICES + 1))  # fmt: skip
    [(where, text)] = check_bridges([many], "c", "e")
    assert where == (0, "out")
    assert text.startswith(f"found {MOST_CHOICES + 1} choices; allowed are {MOST_CHOICES}")


async def test_an_end_that_chooses_otherwise_all_the_time(pair: Pair) -> None:  # noqa: F811
    """All words are judged anew once a second, not each time; and as it was said last, in the end."""
    east, west = await pair.bridged()
    judged = 0
    judge_all = west.bridge._judge_all

    def counted() -> None:
        nonlocal judged
        judged += 1
        judge_all()

    west.bridge._judge_all = counted  # type: ignore[method-assign]
    key = east.site.names.bridge(west.site.names.site)
    began = time.monotonic()
    for at in range(60):
        said = EndSaid("m1", "up", 1, ("numbers",) if at % 2 else ("holds:*",))
        await east.store.put(Put(key, msgspec.json.encode(said)))
    await put(east, "hold/farm/a", drain())
    await east.store.put(Put(key, msgspec.json.encode(EndSaid("m1", "up", 1, ("holds",)))))
    await west.until(lambda words: "hold/farm/a" in words)
    assert judged <= 2 * (time.monotonic() - began) + 3


async def test_a_site_that_is_no_etcd(pair: Pair) -> None:  # noqa: F811
    """It answers, with JSON that is none of etcd's: the bridge says that it is cut, and tries again."""
    asked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{"kvs": 7}'
            )
            asked.set()
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    west = End(
        pair.west, BridgeSettings(core_group="east", endpoints=(f"http://127.0.0.1:{port}",))
    )
    pair.ends.append(west)
    await west.begin()
    await west.until_state("cut")
    assert "none of etcd's" in west.bridge.end().why
    asked.clear()
    await asyncio.wait_for(asked.wait(), 60)
    server.close()
