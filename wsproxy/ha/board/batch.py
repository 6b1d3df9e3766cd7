"""
Takeovers of sessions as one value in etcd: how they are written, who is believed, and until when one of them holds. Pure.

Driven by ``board.takeovers``. A session is known by a hash under the group's secret, a server by its names. A value is sealed by the same
secret for the key that it stands at: whoever can write to etcd, and has not the secret, can move nobody's session.

**Which of two counts**: of two servers for one session the one of the newest evidence, in ms of the clocks of the machines that had it; of
the same ms the one whose cluster and server come first in the alphabet. All proxies compare the same numbers, so all decide the same.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

# What two machines' clocks may differ by: evidence from later than that is taken for evidence of then.
AHEAD_MS = 2000
# Names of a cluster and of a server together, in bytes; longer ones are told to nobody. With ``MOST`` of them a value has 256 KiB: etcd takes 1.5 MB.
MOST_NAME_BYTES = 1000
# Of one value.
MOST = 256
VERSION = 1

_SEAL_BYTES = 16
# Hash, index of the server's names, ms between the evidence and the post.
_MOVE = struct.Struct("<QHI")


class Move(NamedTuple):
    """One session. ``key``: its hash; ``at_ms``: of the evidence, since 1970, by the clock of who has it."""

    key: int
    cluster: str
    server: str
    at_ms: int


class UnbelievedError(Exception):
    """What is no batch of this group: of another secret or version, or damaged."""


class _Batch(msgspec.Struct, array_like=True):
    version: int
    posted_ms: int
    servers: list[tuple[str, str]]
    moves: bytes


def pack(moves: Iterable[Move], posted_ms: int, key: str, seal: bytes) -> bytes:
    """The value for this key of etcd; no more than ``MOST``."""
    places: dict[tuple[str, str], int] = {}
    parts = []
    for each in moves:
        place = places.setdefault((each.cluster, each.server), len(places))
        parts.append(_MOVE.pack(each.key, place, min(max(posted_ms - each.at_ms, 0), 0xFFFFFFFF)))
    body = msgspec.msgpack.encode(_Batch(VERSION, posted_ms, list(places), b"".join(parts)))
    return _seal_of(body, key, seal) + body


def unpack(value: bytes, key: str, seal: bytes) -> tuple[int, Iterator[Move]]:
    """
    When it was posted, in ms since 1970 by its poster's clock, and what it says.

    Raises:
        UnbelievedError: it is none of this group's.
    """
    body = value[_SEAL_BYTES:]
    if not hmac.compare_digest(value[:_SEAL_BYTES], _seal_of(body, key, seal)):
        raise UnbelievedError("it is sealed with another secret (ha.session_key), or was changed")
    try:
        batch = msgspec.msgpack.decode(body, type=_Batch)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnbelievedError(f"it is of another version of wsproxy ({error})") from None
    if batch.version != VERSION or len(batch.moves) % _MOVE.size:
        raise UnbelievedError(f"it is of version {batch.version}; allowed is {VERSION}")
    return batch.posted_ms, _moves_of(batch)


def look_at(value: bytes) -> tuple[int, int] | None:
    """For who has no secret: when it was posted, by its poster's clock, and how many moves it has; None: it is no batch. Believes anybody."""
    try:
        batch = msgspec.msgpack.decode(value[_SEAL_BYTES:], type=_Batch)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    return batch.posted_ms, len(batch.moves) // _MOVE.size


def _moves_of(batch: _Batch) -> Iterator[Move]:
    for key, place, age_ms in _MOVE.iter_unpack(batch.moves):
        if place < len(batch.servers):
            cluster, server = batch.servers[place]
            yield Move(key, cluster, server, batch.posted_ms - age_ms)


def _seal_of(body: bytes, key: str, seal: bytes) -> bytes:
    digest = hashlib.blake2b(key.encode(), key=seal, digest_size=_SEAL_BYTES)
    digest.update(b"\0")
    digest.update(body)
    return digest.digest()


def is_name_told(cluster: str, server: str) -> bool:
    """Whether these names are short enough."""
    return len(cluster.encode()) + len(server.encode()) <= MOST_NAME_BYTES


def end_of(at_ms: int, wall_ms: int, now_ms: int, takeover_ms: int) -> int:
    """
    Until when evidence of ``at_ms`` holds here, by this machine's monotonic clock; past: it does not.

    ``wall_ms``, ``now_ms``: now, by both clocks. What comes from a clock that is ahead holds ``AHEAD_MS`` longer at most.
    """
    return now_ms + min(at_ms - wall_ms, AHEAD_MS) + takeover_ms


class WallClock:
    """
    Time since 1970 as a constant distance from this machine's monotonic clock, so that both ways give the same number.

    It is measured anew where it has changed by more than ``TOLERANCE_MS``: somebody has set the clock.
    """

    TOLERANCE_MS = 100

    def __init__(self, wall_ms: int, now_ms: int) -> None:
        """Both clocks as they are now."""
        self.distance_ms = wall_ms - now_ms

    def look(self, wall_ms: int, now_ms: int) -> int:
        """What the time is now, since 1970."""
        if abs(wall_ms - now_ms - self.distance_ms) > self.TOLERANCE_MS:
            self.distance_ms = wall_ms - now_ms
        return now_ms + self.distance_ms


class Room:
    """
    How many of this member's takeovers stand in etcd: until their leases end. All times are of one clock, in seconds.

    A lease takes what is posted within ``slice_s`` of its beginning, and lives so much longer.
    """

    def __init__(self, most: int) -> None:
        """No lease yet."""
        self._most = most
        self._leases: list[tuple[float, int]] = []  # when each ends, and how many it has

    def left(self, now: float) -> int:
        """How many more."""
        self._leases = [each for each in self._leases if each[0] > now]
        return max(self._most - sum(count for _, count in self._leases), 0)

    def begin(self, ends: float) -> None:
        """A lease of which the next ones are."""
        self._leases.append((ends, 0))

    def take(self, count: int) -> None:
        """So many were posted with the last one."""
        if self._leases:
            ends, before = self._leases[-1]
            self._leases[-1] = ends, before + count
