"""
A record as a worker made it, read again: what became of one sampled request.

Driven by ``trace.spans``. ``_fast.tell.trace`` writes records, in a process of the same program: numbers are the machine's own, and
what cannot be read is a fault of ours. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from wsproxy._fast.state.meters import TryFailure
from wsproxy._fast.tell.trace import Affinity, TraceEvent

_LENGTH = struct.Struct("=I")
_EVENT = struct.Struct("=BH")
_BEGAN = struct.Struct("=QQQQqQBBBBi")
_NUMBER = struct.Struct("=q")
_SPAN = struct.Struct("=Qq")
_TWO = struct.Struct("=qq")
_ENDED = struct.Struct("=qqqq")
_INT = struct.Struct("=i")


class RecordError(ValueError):
    """Bytes that no worker of this program writes."""


@dataclass(slots=True)
class RecordedTry:
    """One try at one server; times in us since the first byte of the request, None: it has not come to that."""

    span: int
    began_us: int
    server: str = ""
    address: str = ""
    rule: str = ""
    affinity: Affinity = Affinity.AFFINITY_NONE
    connected_us: int | None = None  # how long it took
    answered_us: int | None = None
    is_reused: bool = False
    status: int = 0
    failed_us: int | None = None
    failure: TryFailure | None = None
    why: str = ""

    @property
    def is_cut(self) -> bool:
        """Whether it failed within its answer."""
        began, failed = self.answered_us, self.failed_us
        return began is not None and failed is not None and failed >= began


@dataclass(slots=True)
class Recorded:
    """One request."""

    trace: int
    parent: int  # span of whoever sent it; 0: it began here
    span: int
    wall_us: int  # when it began, since 1970
    number: int
    pid: int
    flags: int
    minor: int
    is_secure: bool
    method: str = ""
    path: str = ""
    host: str = ""
    port: int = 0
    client: str = ""
    peer: str = ""
    peer_port: int = 0
    agent: str = ""
    state: list[str] = field(default_factory=list)
    cluster: str = ""
    route: str = ""
    uri: str = ""
    waits: list[tuple[int, int | None]] = field(default_factory=list)  # from when to when
    tries: list[RecordedTry] = field(default_factory=list)
    own_us: int | None = None
    own_status: int = 0
    ended_us: int = 0
    given: int = 0
    body: int = 0
    is_whole: bool = False

    @property
    def status(self) -> int:
        """Of the answer that the client got; 0: none began."""
        if self.own_us is not None:
            return self.own_status
        last = self.tries[-1] if self.tries else None
        return 0 if last is None or last.answered_us is None else last.status


def split(data: bytes) -> Iterator[bytes]:
    """
    The records of what a worker sent at once.

    Raises:
        RecordError: it ends amid one.
    """
    at = 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise RecordError("found the beginning of a record")
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        if at > len(data):
            raise RecordError(f"found {len(data)} bytes of {at}")
        yield data[at - length : at]


def _events(record: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(record):
        kind, length = _EVENT.unpack_from(record, at)
        at += _EVENT.size + length
        yield kind, record[at - length : at]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def read(record: bytes) -> Recorded:
    """
    The request.

    Raises:
        RecordError: it is no record.
    """
    try:
        events = _events(record)
        kind, data = next(events)
        if kind != TraceEvent.BEGAN:
            raise RecordError(f"found event {kind} first; allowed is BEGAN")
        found = _begun(data)
        for kind, data in events:
            _note(found, TraceEvent(kind), data)
    except (struct.error, ValueError, StopIteration, IndexError) as error:
        raise RecordError(f"found a record of {len(record)} bytes: {error}") from error
    return found


def _begun(data: bytes) -> Recorded:
    high, low, parent, span, wall_us, number, flags, minor, secure, _trusted, pid = (
        _BEGAN.unpack_from(data)
    )
    return Recorded(
        high << 64 | low, parent, span, wall_us, number, pid, flags, minor, bool(secure)
    )


_TEXTS = {
    TraceEvent.METHOD: "method",
    TraceEvent.PATH: "path",
    TraceEvent.HOST: "host",
    TraceEvent.CLIENT: "client",
    TraceEvent.PEER: "peer",
    TraceEvent.AGENT: "agent",
    TraceEvent.CLUSTER: "cluster",
}
_TRY_TEXTS = {
    TraceEvent.TRY_SERVER: "server",
    TraceEvent.TRY_ADDRESS: "address",
    TraceEvent.TRY_RULE: "rule",
    TraceEvent.WHY: "why",
}
_INTS = {TraceEvent.PORT: "port", TraceEvent.PEER_PORT: "peer_port"}
_TRY_NUMBERS = {
    TraceEvent.CONNECTED: "connected_us",
    TraceEvent.ANSWER_AT: "answered_us",
    TraceEvent.FAILED_AT: "failed_us",
}


def _note(found: Recorded, event: TraceEvent, data: bytes) -> None:
    if event in _TEXTS:
        setattr(found, _TEXTS[event], _text(data))
    elif event in _INTS:
        setattr(found, _INTS[event], _INT.unpack(data)[0])
    elif event in _TRY_TEXTS:
        setattr(found.tries[-1], _TRY_TEXTS[event], _text(data))
    elif event in _TRY_NUMBERS:
        setattr(found.tries[-1], _TRY_NUMBERS[event], _NUMBER.unpack(data)[0])
    else:
        _note_rest(found, event, data)


def _note_rest(found: Recorded, event: TraceEvent, data: bytes) -> None:
    match event:
        case TraceEvent.STATE:
            found.state.append(_text(data))
        case TraceEvent.ROUTE:
            words, _, uri = _text(data).partition("\0")
            found.route, found.uri = words, uri
        case TraceEvent.WAITED:
            found.waits.append((_NUMBER.unpack(data)[0], None))
        case TraceEvent.UNQUEUED:
            found.waits[-1] = (found.waits[-1][0], _NUMBER.unpack(data)[0])
        case TraceEvent.OWN_AT:
            found.own_us = _NUMBER.unpack(data)[0]
        case TraceEvent.OWN:
            found.own_status = _NUMBER.unpack(data)[0]
        case TraceEvent.ENDED:
            found.ended_us, found.given, found.body, whole = _ENDED.unpack(data)
            found.is_whole = bool(whole)
        case _:
            _note_try(found, event, data)


def _note_try(found: Recorded, event: TraceEvent, data: bytes) -> None:
    match event:
        case TraceEvent.TRY:
            found.tries.append(RecordedTry(*_SPAN.unpack(data)))
        case TraceEvent.TRY_AFFINITY:
            found.tries[-1].affinity = Affinity(data[0])
        case TraceEvent.ANSWER:
            found.tries[-1].status, reused = _TWO.unpack(data)
            found.tries[-1].is_reused = bool(reused)
        case TraceEvent.FAILURE:
            found.tries[-1].failure = TryFailure(_NUMBER.unpack(data)[0])
        case TraceEvent.FAILED_STATUS:
            # None where nothing of an answer came; one that broke off has its own.
            found.tries[-1].status = _NUMBER.unpack(data)[0] or found.tries[-1].status
        case _:
            raise RecordError(f"found event {event!r}")
