"""The page of metrics, read by Prometheus' own library: whatever names hold, and the same as that library writes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from wsproxy._fast.state.meters import (
    BLOCK_WORDS,
    BOUNDS_US,
    BlockKind,
    Meters,
    ServerWord,
)
from wsproxy._fast.tell.exposition import Blocks, Exposition, label_pair

pytestmark = pytest.mark.asan

SERVER = BlockKind.SERVER_BLOCK
# All but lone surrogates, which no text of a file has.
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)


def samples(page: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By the sample's name, then by its labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for each in family.samples:
            labels = tuple(sorted(each.labels.items()))
            assert labels not in found.setdefault(each.name, {})
            found[each.name][labels] = each.value
    return found


@given(TEXTS, TEXTS, st.integers(0, 2**63 - 1))
def test_any_name_is_read_back(cluster: str, meaning: str, number: int) -> None:
    """Quotes, backslashes, line ends: what a name has is no part of the page's form."""
    page = Exposition()
    page.family("x", "gauge", meaning)
    page.number(b"x", label_pair("cluster", cluster), number)
    assert samples(page.text()) == {"x": {(("cluster", cluster),): number}}


def test_numbers_without_labels_and_of_floats() -> None:
    page = Exposition()
    page.family("a", "gauge", "of an int")
    page.number(b"a", b"", 3)
    page.family("b", "gauge", "of a float")
    page.number(b"b", b"", 1.5e9)
    assert page.text() == (
        b"# HELP a of an int\n# TYPE a gauge\na 3\n# HELP b of a float\n# TYPE b gauge\nb 1500000000.0\n"
    )


@pytest.mark.parametrize("number", [0, 1, 9, 10, 99, 100, 101, 12_345, 10**18, 2**63 - 1])
def test_every_length_of_number(number: int) -> None:
    meters = Meters(1, 1, 1)
    meters.put(0, SERVER, 0, ServerWord.IDLE, number)
    page = Exposition()
    page.words(b"x", [b""], Blocks(meters, SERVER, [[0]]), ServerWord.IDLE)
    assert page.text() == b"x %d\n" % number


@pytest.mark.parametrize("us", [0, 1, 999_999, 1_000_000, 1_000_001, 123_456_789_012])
def test_microseconds_are_seconds(us: int) -> None:
    meters = Meters(1, 1, 1)
    meters.observe_time(0, SERVER, 0, ServerWord.TOTAL, us)
    page = Exposition()
    page.histogram(b"x", [b""], Blocks(meters, SERVER, [[0]]), ServerWord.TOTAL)
    assert b"x_sum %d.%06d\n" % (us // 1_000_000, us % 1_000_000) in page.text()


def test_histogram_is_what_the_library_writes() -> None:
    """The same times: the same buckets, sum and count, name for name."""
    rng = random.Random(7)
    meters = Meters(2, 1, 1)
    registry = CollectorRegistry()
    theirs = Histogram(
        "x_seconds",
        "meaning",
        ["server"],
        buckets=[us / 1e6 for us in BOUNDS_US],
        registry=registry,
    )
    for _ in range(500):
        us = int(rng.lognormvariate(9, 3))
        theirs.labels("s").observe(us / 1e6)
        meters.observe_time(rng.randrange(2), SERVER, 0, ServerWord.CONNECT, us)
    page = Exposition()
    page.family("x_seconds", "histogram", "meaning")
    page.histogram(
        b"x_seconds", [label_pair("server", "s")], Blocks(meters, SERVER, [[0]]), ServerWord.CONNECT
    )
    ours = samples(page.text())
    [family] = registry.collect()
    wanted = {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for each in family.samples
        if not each.name.endswith("_created")
    }
    found = {(name, labels): value for name, rows in ours.items() for labels, value in rows.items()}
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted)


def test_count_of_a_histogram_is_a_number_of_its_own() -> None:
    meters = Meters(1, 2, 1)
    for us in (1, 40_000_000):
        meters.observe_time(0, SERVER, 1, ServerWord.TOTAL, us)
    page = Exposition()
    labels = [b'c="a"', b'c="b"']
    blocks = Blocks(meters, SERVER, [[0], [1]])
    page.counts(b"x", labels, blocks, ServerWord.TOTAL, b'd="e"')
    assert page.text() == b'x{c="a",d="e"} 0\nx{c="b",d="e"} 2\n'
    with pytest.raises(ValueError, match="allowed is one a block"):
        page.counts(b"x", labels, blocks, BLOCK_WORDS - 1)


@pytest.mark.parametrize("length", [1, 10, 30_000, 65_533, 65_534, 70_000, 300_000])
def test_page_of_any_length_is_handed_out_once(length: int) -> None:
    """However often it had to grow; what comes after is another page, and leaves that one as it is."""
    page = Exposition()
    for _ in range(3):
        page.number(b"n" * length, b"", 1)
    found = page.text()
    assert page.text() == b""
    page.number(b"other", b"", 2)
    assert page.text() == b"other 2\n"
    assert found == 3 * (b"n" * length + b" 1\n")


def test_groups_of_slots_are_one_series() -> None:
    meters = Meters(1, 3, 1)
    for slot in range(3):
        meters.count(0, SERVER, slot, ServerWord.REUSED, 10**slot)
    page = Exposition()
    page.words(
        b"x",
        [b'c="a"', b'c="b"'],
        Blocks(meters, SERVER, [[0, 2], [1]]),
        ServerWord.REUSED,
        b'd="e"',
    )
    assert page.text() == b'x{c="a",d="e"} 101\nx{c="b",d="e"} 10\n'


def test_zeroes_are_left_out_where_nobody_wants_them() -> None:
    meters = Meters(1, 2, 1)
    meters.count(0, SERVER, 1, ServerWord.REUSED)
    page = Exposition()
    page.words(
        b"x",
        [b'c="a"', b'c="b"'],
        Blocks(meters, SERVER, [[0], [1]]),
        ServerWord.REUSED,
        b"",
        False,
    )
    assert page.text() == b'x{c="b"} 1\n'


def test_what_does_not_belong_together_is_refused() -> None:
    meters = Meters(1, 2, 1)
    blocks = Blocks(meters, SERVER, [[0]])
    page = Exposition()
    with pytest.raises(ValueError, match="allowed is one a block"):
        page.words(b"x", [b"", b""], blocks, 0)
    with pytest.raises(ValueError, match="allowed is one a block"):
        page.words(b"x", [b""], blocks, BLOCK_WORDS)
    with pytest.raises(ValueError, match="allowed is one a block"):
        page.histogram(b"x", [b""], blocks, BLOCK_WORDS - 4)
    with pytest.raises(ValueError, match="allowed are slots"):
        Blocks(meters, SERVER, [[2]])
    assert page.text() == b""


def test_no_block_is_no_line() -> None:
    meters = Meters(1, 2, 1)
    page = Exposition()
    page.histogram(b"x", [], Blocks(meters, SERVER, []), ServerWord.TOTAL)
    assert page.text() == b""
