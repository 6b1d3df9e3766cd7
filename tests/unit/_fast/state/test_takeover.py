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
from wsproxy._fast.state.takeover import TakeoverTable, siphash

pytestmark = pytest.mark.asan

WAYS = 4
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


def test_wrong_sizes_are_refused() -> None:
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
