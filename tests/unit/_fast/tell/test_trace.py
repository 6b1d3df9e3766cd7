"""The tracer of a worker: which requests are sampled, and records that are dropped rather than kept for ever."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.client import Client, get
from tests.support.origin import Origin, keep_answering
from wsproxy._fast.tell.trace import Tracer, TraceWords, sample_limit
from wsproxy.config.settings import Settings
from wsproxy.config.settings_told import TraceSettings
from wsproxy.trace.records import RecordError, read, split

SEED = bytes(range(32))
ROOM = 1 << 20


def tracer(seed: bytes = SEED, most_bytes: int = ROOM) -> Tracer:
    return Tracer(TraceWords(), seed=seed, most_bytes=most_bytes)


def test_ids_follow_from_the_seed() -> None:
    """And differ with it; none is 0, and of 10,000 none comes twice."""
    one, same, other = tracer(), tracer(), tracer(SEED[::-1])
    drawn = [one.draw() for _ in range(10_000)]
    assert drawn == [same.draw() for _ in range(10_000)]
    assert not {other.draw() for _ in range(10_000)} & set(drawn)
    assert len(set(drawn)) == 10_000
    assert 0 not in drawn


@pytest.mark.parametrize("seed", [b"", bytes(32), bytes(33), b"short"])
def test_seeds_that_make_no_ids(seed: bytes) -> None:
    """All zeroes would stay that for ever."""
    with pytest.raises(ValueError, match="found a seed of"):
        tracer(seed)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.25, 0.5, 1.0])
def test_so_many_are_sampled(ratio: float) -> None:
    """Within five standard deviations; none at 0 and all at 1."""
    limit, count = sample_limit(ratio), 20_000
    drawn = tracer()
    sampled = sum(drawn.draw() < limit for _ in range(count))
    assert abs(sampled - ratio * count) <= 5 * (ratio * (1 - ratio) * count) ** 0.5


@pytest.mark.parametrize(("most_bytes", "lost"), [(ROOM, 0), (1000, 8)])
async def test_records_are_whole_or_lost(most_bytes: int, lost: int) -> None:
    """As many as there is room for; the others are counted. Taken ones make room again."""
    settings = Settings(trace=TraceSettings(endpoint="http://unused:1", sample=1.0))
    origin = Origin()
    with closing(origin):
        await check_records(origin, settings, most_bytes, lost)


async def check_records(origin: Origin, settings: Settings, most_bytes: int, lost: int) -> None:
    async with (
        Bed(config_of(server("s", origin.port)), settings) as bed,
        origin.serving(keep_answering),
    ):
        made = tracer(most_bytes=most_bytes)
        bed.engine.trace(made)
        async with await Client.connect(bed.port) as client:
            for number in range(10):
                await client.ask(get(f"/app/{number}"))
            assert made.sampled == 10
            data = made.waiting(ROOM)
            records = [read(each) for each in split(data)]
            assert [each.path for each in records] == [f"/app/{at}" for at in range(10 - made.lost)]
            if lost:
                assert 10 > made.lost >= lost - 1
            else:
                assert made.lost == 0
            assert all(each.is_whole and each.status == 200 for each in records)
            made.taken(len(data))
            assert made.waiting(ROOM) == b""
            await client.ask(get("/app/more"))
            small = made.waiting(1)  # one at least
            assert [read(each).path for each in split(small)] == ["/app/more"]
            for cut in range(1, len(small)):
                with pytest.raises(RecordError):
                    list(map(read, split(small[:cut])))
