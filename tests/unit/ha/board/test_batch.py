"""Takeovers as a value of etcd: what was told is what is heard, nobody else is believed, and until when it holds."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.ha.board.batch import (
    AHEAD_MS,
    MOST,
    MOST_NAME_BYTES,
    Move,
    Room,
    UnbelievedError,
    WallClock,
    end_of,
    is_name_told,
    pack,
    unpack,
)

SEAL = bytes(range(32))
KEY = "/wsproxy-takeovers/c/g/a/1-00000001"
NOW = 1_800_000_000_000
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
MOVES = st.lists(
    st.builds(
        Move,
        st.integers(0, 2**64 - 1),
        NAMES,
        NAMES,
        st.integers(NOW - 0xFFFFFFFF, NOW),
    ),
    max_size=40,
)


@given(MOVES)
def test_what_is_told_is_heard(moves: list[Move]) -> None:
    posted_ms, found = unpack(pack(moves, NOW, KEY, SEAL), KEY, SEAL)
    assert posted_ms == NOW
    assert list(found) == moves


def test_the_largest_batch_is_none_that_etcd_refuses() -> None:
    """1.5 MB is its limit, and base64 makes a third more of it on its way."""
    name = "x" * (MOST_NAME_BYTES // 2 - 4)
    moves = [Move(2**64 - 1, name, f"{name}{at:04d}", 0) for at in range(MOST)]
    assert is_name_told(moves[0].cluster, moves[0].server)
    assert not is_name_told(name, "y" * MOST_NAME_BYTES)
    assert len(pack(moves, NOW, KEY, SEAL)) < 300_000
    usual = [Move(at, "farm", f"s{at % 8}", NOW - at) for at in range(MOST)]
    assert len(pack(usual, NOW, KEY, SEAL)) < 16 * MOST


@given(st.integers(0, 200), st.integers(1, 255))
def test_whoever_changes_a_byte_is_not_believed(at: int, bits: int) -> None:
    value = bytearray(pack([Move(7, "farm", "s1", NOW)], NOW, KEY, SEAL))
    value[at % len(value)] ^= bits
    with pytest.raises(UnbelievedError, match="another secret"):
        unpack(bytes(value), KEY, SEAL)


def test_who_has_not_the_secret_is_not_believed() -> None:
    """Nor what was copied to another key, which would be another member's word."""
    value = pack([Move(7, "farm", "s1", NOW)], NOW, KEY, SEAL)
    with pytest.raises(UnbelievedError, match="another secret"):
        unpack(value, KEY, SEAL[::-1])
    with pytest.raises(UnbelievedError, match="another secret"):
        unpack(value, KEY + "0", SEAL)
    for junk in (b"", b"x", value[:16], value[:-1]):
        with pytest.raises(UnbelievedError):
            unpack(junk, KEY, SEAL)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xc1", "another version"),
        (msgspec.msgpack.encode([1, 2]), "another version"),
        (msgspec.msgpack.encode([2, NOW, [], b""]), "is of version 2"),
        (msgspec.msgpack.encode([1, NOW, [], b"x"]), "is of version 1"),
    ],
)
def test_another_version_is_not_understood(body: bytes, why: str) -> None:
    """Of a member of the group: with its seal."""
    seal = _seal_of(body)
    with pytest.raises(UnbelievedError, match=why):
        unpack(seal + body, KEY, SEAL)


def _seal_of(body: bytes) -> bytes:
    return hashlib.blake2b(KEY.encode() + b"\0" + body, key=SEAL, digest_size=16).digest()


def test_a_move_without_a_server_is_none() -> None:
    """The other ones of the batch are heard."""
    good = msgspec.msgpack.decode(pack([Move(7, "farm", "s1", NOW)], NOW, KEY, SEAL)[16:])
    bad = good[3][:8] + b"\x05\x00" + good[3][10:]
    body = msgspec.msgpack.encode([*good[:3], bad + good[3]])
    assert list(unpack(_seal_of(body) + body, KEY, SEAL)[1]) == [Move(7, "farm", "s1", NOW)]


@pytest.mark.parametrize(
    ("age_ms", "left_ms"),
    [
        (0, 60_000),
        (59_999, 1),
        (60_000, 0),
        (3_600_000, -3_540_000),
        (-AHEAD_MS, 60_000 + AHEAD_MS),
        (-3_600_000, 60_000 + AHEAD_MS),  # a clock that is an hour ahead
    ],
)
def test_until_when_it_holds(age_ms: int, left_ms: int) -> None:
    assert end_of(NOW - age_ms, NOW, 5_000, 60_000) == 5_000 + left_ms


def test_times_go_both_ways_and_stay_the_same() -> None:
    """Ticks of two clocks are not the same moments; a clock that was set is another one."""
    clock = WallClock(NOW, 5_000)
    assert clock.look(NOW + 1_004, 6_000) == NOW + 1_000
    assert clock.look(NOW + 1_996, 7_000) == NOW + 2_000
    assert clock.look(NOW + 63_000, 8_000) == NOW + 63_000
    assert clock.look(NOW + 64_003, 9_000) == NOW + 64_000


def test_room_comes_back_with_the_end_of_a_lease() -> None:
    room = Room(10)
    room.begin(70.0)
    room.take(4)
    room.begin(80.0)
    room.take(5)
    assert [room.left(0.0), room.left(69.9), room.left(70.0), room.left(80.0)] == [1, 1, 5, 10]
    room.take(3)  # a lease that is over: it has ended with what was in it
    assert room.left(81.0) == 10
