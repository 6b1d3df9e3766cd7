"""The memory of takeovers against a dict: it may forget, it never names another session's server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.applied import applied
from tests.support.jsessionids import CORPUS, SessionValue, session_values
from tests.support.oracles.siphash import siphash as oracle
from wsproxy._fast.decide.affinity import read_session_id
from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.state.takeover import (
    KEPT_OURS,
    NOW_KNOWN,
    TakeoverTable,
    Telling,
    siphash,
)

pytestmark = pytest.mark.asan

WAYS = 4
NEWS = 16_384
SESSIONS = st.sampled_from([b"%d" % number for number in range(9)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("remember"), SESSIONS, st.integers(0, 300), st.integers(1, 50)),
        st.tuples(st.just("wait"), st.just(b""), st.just(0), st.integers(1, 30)),
    ),
    max_size=60,
)


def test_siphash_of_the_papers_appendix() -> None:
    """Key 00 to 0f, message 00 to 0e."""
    key, message = bytes(range(16)), bytes(range(15))
    assert siphash(key, message) == oracle(key, message) == 0xA129CA6149BE45E5


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=8, max_size=80))
def test_siphash_is_the_oracles(key: bytes, data: bytes) -> None:
    assert siphash(key, data) == oracle(key, data)


@given(STEPS)
def test_one_bucket_keeps_the_four_that_end_last(steps: list[tuple[str, bytes, int, int]]) -> None:
    """Exactly a dict with room for four; where two end together either may go."""
    table = TakeoverTable(1)
    now = 1
    known: dict[bytes, tuple[int, int]] = {}  # session -> (server, end)
    for step, session, server, duration in steps:
        if step == "wait":
            now += duration
        else:
            before = known.get(session)
            is_news = before is None or before[0] != server or before[1] <= now
            assert table.remember_session(7, session, server, now, now + duration) is is_news
            if before is None and len(known) == WAYS:
                first_end = min(end for _, end in known.values())
                gone = [
                    each
                    for each, (_, end) in known.items()
                    if end == first_end and (end <= now or table.find_session(7, each, now) == -1)
                ]
                assert gone, "a session that ends later was replaced"
                del known[gone[0]]
            known[session] = (server, now + duration)
        for each in (b"%d" % number for number in range(9)):
            server_of, end = known.get(each, (-1, 0))
            assert table.find_session(7, each, now) == (server_of if end > now else -1)
            assert table.find_session(8, each, now) == -1  # the same id in another cluster


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=200))
def test_many_sessions_may_be_forgotten_but_are_never_mixed_up(
    moves: list[tuple[int, int]],
) -> None:
    table = TakeoverTable(4)
    last: dict[int, int] = {}
    for session, server in moves:
        table.remember_session(0, b"s%d" % session, server, 1, 1000)
        last[session] = server
        assert table.find_session(0, b"s%d" % session, 1) == server
    for session in range(61):
        assert table.find_session(0, b"s%d" % session, 1) in (-1, last.get(session, -1))
    assert all(table.find_session(0, b"s%d" % session, 1000) == -1 for session in last)


def test_halves_of_different_writes_fit_nobody() -> None:
    """What a reader may meet that comes between two writers: no session, above all not the other one's server."""
    table = TakeoverTable(1)
    assert table.remember_session(0, b"a", 1, 1, 9)
    assert table.remember_session(0, b"b", 2, 1, 9)
    first, second = slice(64 + 8, 64 + 16), slice(64 + 24, 64 + 32)  # the second halves
    table.memory[first], table.memory[second] = table.memory[second], table.memory[first]
    assert [table.find_session(0, session, 1) for session in (b"a", b"b")] == [-1, -1]
    table.memory[first], table.memory[second] = table.memory[second], table.memory[first]
    assert [table.find_session(0, session, 1) for session in (b"a", b"b")] == [1, 2]


SECRET = bytes(range(16))


def shared(buckets: int = 4) -> TakeoverTable:
    table = TakeoverTable(buckets)
    table.share(SECRET)
    return table


def place_of(number: int) -> int:
    """Where the news of this number stands in the memory of ``shared``."""
    return 64 * (1 + 4) + 64 + 8 + 64 + 24 * number


def test_one_secret_is_one_key_everywhere() -> None:
    """And another one, or none, another key: whoever reads it can say nothing about a session."""
    a, b, other = shared(), shared(), TakeoverTable(4)
    assert a.session_key(7, b"s") == b.session_key(7, b"s")
    assert a.session_key(8, b"s") != b.session_key(7, b"s")
    other.share(SECRET[::-1])
    keys = {each.session_key(7, b"s") for each in (a, other, TakeoverTable(4), TakeoverTable(4))}
    assert len(keys) == 4
    with pytest.raises(ValueError, match="secret of 15 bytes"):
        a.share(SECRET[1:])


def test_a_table_of_nobody_else_tells_nothing() -> None:
    table = TakeoverTable(4)
    assert not table.is_shared
    assert table.remember_session(7, b"s", 1, 1, 9)
    assert table.take_news(9) == []
    assert not any(
        table.memory[64 * (1 + 4) :]
    )  # nothing was written to the ring, so no page of it is there


def test_news_are_told_once_in_their_order() -> None:
    """Another server, a session that was forgotten, and one that stays for half of its time longer; nothing else."""
    table = shared()
    assert table.is_shared
    a, b = (table.session_key(7, each) for each in (b"a", b"b"))
    table.remember_session(7, b"a", 1, 0, 100)
    table.remember_session(7, b"b", 2, 0, 100)
    table.remember_session(7, b"a", 1, 49, 149)  # 51 of 100 are left
    assert table.take_news(1) == [(a, 1, 100)]
    assert table.take_news(9) == [(b, 2, 100)]
    assert table.take_news(9) == []
    table.remember_session(7, b"a", 1, 100, 200)  # 49 of 149 - 100
    table.remember_session(7, b"b", 3, 101, 201)
    table.remember_session(7, b"a", 1, 300, 400)  # it had been forgotten
    assert table.take_news(9) == [(a, 1, 200), (b, 3, 201), (a, 1, 400)]
    assert table.news_counts() == [0] * 7


def test_news_that_nobody_reads_are_overwritten_and_counted() -> None:
    table = shared()
    for number in range(NEWS + 5):
        table.remember_session(7, b"%d" % number, 1, 0, 100)
    found = table.take_news(NEWS)
    assert [key for key, _, _ in found[:2]] == [table.session_key(7, b"5"), table.session_key(7, b"6")]  # fmt: skip
    assert len(found) == NEWS
    assert table.news_counts()[Telling.NOT_READ] == 5
    for number in range(3):
        table.remember_session(7, b"%d" % number, 2, 0, 100)
    assert len(table.take_news(9)) == 3


def test_half_a_news_is_waited_for_and_then_lost() -> None:
    """A worker has taken its number and died: the ones behind it are told at the look after the next."""
    table = shared()
    for name in (b"a", b"b", b"c"):
        table.remember_session(7, name, 1, 0, 100)
    at = place_of(2)
    table.memory[at] ^= 1
    assert [each[0] for each in table.take_news(9)] == [table.session_key(7, b"a")]
    table.memory[at] ^= 1  # it lived
    assert [each[0] for each in table.take_news(9)] == [table.session_key(7, b"b"), table.session_key(7, b"c")]  # fmt: skip
    table.remember_session(7, b"a", 2, 0, 100)
    table.remember_session(7, b"b", 2, 0, 100)
    table.memory[place_of(4)] ^= 1
    assert table.take_news(9) == []
    assert [each[0] for each in table.take_news(9)] == [table.session_key(7, b"b")]
    assert table.news_counts()[Telling.NOT_READ] == 1


def test_what_others_tell_is_told_to_nobody_and_beats_what_is_older() -> None:
    table = shared()
    key = table.session_key(7, b"s")
    assert table.learn(key, 4, 0, 100) == NOW_KNOWN
    assert table.find_session(7, b"s", 99) == 4
    assert table.take_news(9) == []
    table.remember_session(7, b"s", 5, 10, 110)
    assert len(table.take_news(9)) == 1
    assert table.learn(key, 4, 10, 109) == KEPT_OURS
    assert table.learn(key, 5, 10, 110) == KEPT_OURS  # as it is
    assert table.learn(key, 4, 10, 110) == 5  # at the same ms: whoever asks decides
    assert table.find_session(7, b"s", 10) == 5
    assert table.learn(key, 4, 10, 110, wins_tie=True) == NOW_KNOWN
    assert table.learn(key, 4, 10, 200) == NOW_KNOWN  # longer
    assert table.find_session(7, b"s", 199) == 4
    assert table.learn(key, 4, 300, 300) == KEPT_OURS  # its time is over
    assert table.learn(key, 4, 300, 301) == NOW_KNOWN
    assert table.take_news(9) == []
    for server in (-1, 2**24 - 1):
        assert table.learn(key, server, 0, 1000) == KEPT_OURS


def test_what_others_tell_replaces_nothing_that_ends_later() -> None:
    table = shared(1)
    for number in range(WAYS):
        table.remember_session(7, b"%d" % number, number, 0, 100 + number)
    assert table.learn(table.session_key(7, b"x"), 9, 0, 99) == KEPT_OURS
    assert table.learn(table.session_key(7, b"x"), 9, 0, 101) == NOW_KNOWN
    found = [table.find_session(7, b"%d" % number, 0) for number in range(WAYS)]
    assert found == [-1, 1, 2, 3]


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="Telling"):
        TakeoverTable(1).count_news(7, 1)
    with pytest.raises(ValueError, match="power of two"):
        TakeoverTable(3)
    with pytest.raises(ValueError, match="server"):
        TakeoverTable(1).remember_session(0, b"", -1, 0, 1)


VALUES = session_values()


@pytest.mark.skipif(not VALUES, reason=f"no corpus at {CORPUS}")
@pytest.mark.parametrize("value", VALUES, ids=lambda value: value.text)
def test_session_id_of_a_real_value(value: SessionValue) -> None:
    """What a person marked as the session id; one for all that are tracked by SSL id is none."""
    found = read_session_id(value.text.encode(), (value.separator or ":").encode()).decode()
    if "SESSIONMANAGEMENT" in value.text:
        assert found == ""
    elif value.session_id_len == 23:
        assert found == value.text[4:27]
    elif value.separator:  # too short for a cache id: all of it is the session's
        assert found == value.text.partition(value.separator)[0]
    else:
        assert found
        assert value.text.endswith(found)


@pytest.mark.parametrize(
    ("value", "session_id"),
    [
        (b"ABC.c1", b"ABC"),
        (b"ABC.c1:c1", b"ABC"),
        (b"0123456789ABCDEF.c1", b"456789ABCDEF"),
        (b"ABC.c2", b"ABC.c2"),
        (b"A.c1.", b"A.c1."),
        (b".c1", b""),
    ],
)
def test_route_that_is_a_clone_id_is_no_part_of_the_session(value: bytes, session_id: bytes) -> None:  # fmt: skip
    """It changes with the server, as the clone list does."""
    cluster = applied(Cluster(SharedState(1, 1), "c", [("s1", "c1", 1, -1)], [0], []))
    assert read_session_id(value, b":", cluster) == session_id
    assert read_session_id(value) == value.partition(b":")[0][4 * value.startswith(b"0123") :]


@pytest.mark.parametrize(
    ("value", "session_id"),
    [
        (b"0000aaaaaaaaaaaaaaaaaaaaaaa:c1", b"aaaaaaaaaaaaaaaaaaaaaaa"),
        (b"0003aaaaaaaaaaaaaaaaaaaaaaa%3ac1:c2", b"aaaaaaaaaaaaaaaaaaaaaaa"),
        (b"0000aaaaaaaaaaaaaaaaaaaaaaa", b"aaaaaaaaaaaaaaaaaaaaaaa"),
        (b"000xaaaaaaaaaaaaaaaaaaaaaaa:c1", b"000xaaaaaaaaaaaaaaaaaaaaaaa"),
        (b"0000abc:c1", b"0000abc"),
        (b"0000:c1", b"0000"),
        (b":c1", b""),
        (b"", b""),
        (b"0001SESSIONMANAGEMENTAFFINI:c1", b""),
        (b"SESSIONMANAGEMENTAFFINITY:c1", b""),
    ],
)
def test_session_id_is_what_stays(value: bytes, session_id: bytes) -> None:
    """The cache id grows with each change of server (liberty.md), the clone list too."""
    assert read_session_id(value) == session_id
