"""
What happens in a case, made from a seed and a number alone: who comes, what they send and how, and what the servers do with it.

Driven by ``run``. Pure: the same seed and number give the same case. What the tempers of the lanes allow is at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from random import Random

from tests.fuzz.traffic import messages
from tests.fuzz.traffic.reading import Request, read_requests

KIB = 1024
PIECES = (1, 7, 100, 4096, 50_000)


class Temper(Enum):
    """What servers of a lane do."""

    GOOD = "every request is answered as HTTP says"
    BAD = "anything"


@dataclass(frozen=True, slots=True)
class LanePlan:
    """A cluster of the proxy: ``name`` is the first part of its paths."""

    name: str
    temper: Temper
    weight: int
    servers: int = 2
    is_half_down: bool = False  # nobody listens at the first server
    is_tls: bool = False
    cluster: str = ""  # attributes
    server: str = ""
    post_buffer_bytes: int = 64 * KIB
    may_refuse: bool = False  # with 503: not every request finds a place
    waits_for_continue: bool = False


# Time-outs of servers: long where nobody may run into one, short where somebody does.
_PATIENT = 'ServerIOTimeout="60"'
_BRIEF = 'ServerIOTimeout="2"'
_SOON_BACK = 'RetryInterval="1"'
LANES = (
    LanePlan("good", Temper.GOOD, 6, server=_PATIENT),
    LanePlan("tls", Temper.GOOD, 3, is_tls=True, server=_PATIENT),
    LanePlan("wfc", Temper.GOOD, 1, server=f'WaitForContinue="true" {_PATIENT}', waits_for_continue=True),
    LanePlan("full", Temper.GOOD, 2, servers=1, server=f'MaxConnections="1" {_PATIENT}', may_refuse=True),
    LanePlan("half", Temper.GOOD, 1, is_half_down=True, server=_PATIENT, cluster=_SOON_BACK),
    LanePlan("bad", Temper.BAD, 5, server=_BRIEF, cluster=_SOON_BACK),
    LanePlan("badtls", Temper.BAD, 2, is_tls=True, server=_BRIEF, cluster=_SOON_BACK),
    LanePlan("once", Temper.BAD, 2, server=_BRIEF, cluster=f'PostBufferSize="0" {_SOON_BACK}', post_buffer_bytes=0),
)  # fmt: skip
BY_NAME = {lane.name.encode(): lane for lane in LANES}
NOWHERE = "nowhere"  # no Route


def lane_of(request: Request) -> LanePlan | None:
    """The lane that a request's path leads to."""
    path = bytes(request.head["target"]).partition(b"?")[0].split(b"/")
    return BY_NAME.get(path[1]) if len(path) > 2 and not path[0] else None


# --- servers ---------------------------------------------------------------------------------------------------------


class Fault(Enum):
    """What is wrong with an answer."""

    NONE = "nothing"
    GONE = "closed instead of an answer"
    ENDS = "ends within the answer"
    RESETS = "reset within the answer"
    SHUTS = "TCP ends within the answer; TLS does not"
    SILENT = "no more comes"
    GARBAGE = "no HTTP"
    MUTATED = "bytes of the head are damaged"
    MORE = "more than the answer comes"
    BAD_CHUNK = "a size of a chunk is none"
    TWO_LENGTHS = "two framings"
    HUGE_HEAD = "a head above the limit"
    FLOOD = "an endless row of interim answers"
    BUSY = "503"
    UNASKED_UPGRADE = "101 that nobody asked for"


class After(Enum):
    """What becomes of a server's connection behind a whole answer."""

    KEEPS = "kept"
    SAYS_CLOSE = "Connection: close, and an orderly end"
    ENDS = "ends without a word"
    RESETS = "reset"


class Framing(Enum):
    """How an answer says where it ends."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked"
    CLOSE = "the end of the connection"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a server does with one request."""

    reads: int = -1  # bytes of a body before it answers; -1: all
    interims: tuple[int, ...] = ()
    status: int = 200
    framing: Framing = Framing.LENGTH
    size: int = 2
    piece: int = 0  # sent in pieces of so many bytes; 0: at once
    pause_s: float = 0.0  # before the answer, and now and then in it
    http10: bool = False
    fault: Fault = Fault.NONE
    at: float = 0.5  # how far into the answer
    after: After = After.KEEPS
    continues: bool = True  # says 100 where it is asked
    upgrades: bool = True  # where the client asks
    salt: int = 0


def plan_behaviour(rng: Random, lane: LanePlan) -> Behaviour:
    """What a server of this lane does with a request."""
    size = rng.choice((0, 2, 2, 100, 5000, 20_000, 70_000, rng.randrange(300_000)))
    good = Behaviour(
        interims=tuple(rng.choices((100, 102, 103), k=rng.choice((0, 0, 0, 0, 1, 3)))),
        status=rng.choice((200, 200, 200, 200, 200, 201, 204, 304, 404, 500)),
        framing=rng.choice(list(Framing)),
        size=size,
        piece=rng.choice((0, 0, 0, *(each for each in PIECES if each * 500 > size))),
        pause_s=rng.choice((0.0, 0.0, 0.0, 0.001, 0.02)),
        http10=rng.random() < 0.1,
        after=After.SAYS_CLOSE if rng.random() < 0.15 else After.KEEPS,
        upgrades=rng.random() < 0.7,
        salt=rng.getrandbits(32),
    )
    if lane.temper is Temper.GOOD or rng.random() < 0.3:
        return good
    return replace(
        good,
        reads=rng.choice((-1, -1, 0, 0, rng.randrange(100_000))),
        continues=rng.random() < 0.7,
        fault=rng.choice(list(Fault)) if rng.random() < 0.7 else Fault.NONE,
        at=rng.random() if rng.random() < 0.8 else 1.0,
        after=rng.choice(list(After)),
    )


# --- clients ---------------------------------------------------------------------------------------------------------


class Do(Enum):
    """A step of a client."""

    SEND = "send these bytes"
    PAUSE = "do nothing for so many seconds"
    AWAIT = "wait until so many answers are there whole"
    LOOK = "wait for any byte, but not for long"
    END = "end the own direction"
    SHUT = "TCP's end alone"
    RESET = "reset"
    CLOSE = "close"


Step = tuple[Do, bytes | int | float]
LEAVES = (Do.END, Do.SHUT, Do.RESET, Do.CLOSE)


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One connection: its steps, and how what comes is read."""

    style: str
    is_tls: bool
    stream: bytes  # all that it would send before a tunnel
    steps: tuple[Step, ...]
    is_mutated: bool = False
    receive_buffer: int = 0
    read_pause_s: float = 0.0
    leaves_at: int = -1  # it leaves once so many bytes came
    leaves_by: Do = Do.CLOSE
    tunnel: int = 0  # bytes that it sends through a tunnel


@dataclass(frozen=True, slots=True)
class Case:
    """Clients that come together."""

    seed: str
    number: int
    clients: tuple[ClientPlan, ...]

    def behaviour(self, client: int, request: int, attempt: int, lane: LanePlan) -> Behaviour:
        """What a server does with a request that arrives for the ``attempt``-th time."""
        rng = Random(f"{self.seed}/{self.number}/{client}/{request}/{attempt}")
        return plan_behaviour(rng, lane)


STYLES = {
    "polite": 25,  # each request when the answer before is there
    "ahead": 35,  # all at once
    "drip": 5,  # byte by byte
    "damaged": 20,  # ahead, with bytes changed
    "expects": 8,
    "upgrade": 10,
    "heads": 3,  # large ones, sent ahead
}


def make_case(seed: str, number: int) -> Case:
    """The case of this number."""
    rng = Random(f"{seed}/{number}")
    count = rng.choice((1, 1, 1, 2, 2, 3))
    return Case(seed, number, tuple(make_client(rng, f"{number}.{at}") for at in range(count)))


def make_client(rng: Random, tag: str) -> ClientPlan:
    """One client; ``tag``: who it is, in all that it sends."""
    [style] = rng.choices(list(STYLES), list(STYLES.values()))
    count = {"drip": 2, "expects": 2, "upgrade": rng.randint(1, 2), "heads": 5}.get(
        style, rng.choice((1, 1, 2, 3, 5, 9))
    )
    parts = [make_request(rng, style, f"{tag}.{at}", at == count - 1) for at in range(count)]
    stream = b"".join(head + body for head, body in parts)
    if is_mutated := style == "damaged":
        stream = messages.mutated(rng, stream)
    steps = make_steps(rng, style, parts, stream)
    leaves = rng.random() < 0.12
    return ClientPlan(
        style,
        is_tls=rng.random() < 0.3,
        stream=stream,
        steps=tuple(cut_short(rng, steps)),
        is_mutated=is_mutated,
        receive_buffer=rng.choice((0, 0, 0, 0, 2048, 16_384)),
        read_pause_s=rng.choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.002)),
        leaves_at=rng.choice((1, rng.randrange(500), rng.randrange(100_000))) if leaves else -1,
        leaves_by=rng.choice((Do.RESET, Do.CLOSE, Do.SHUT)),
        tunnel=rng.choice((0, 10, 5000, 100_000)) if style == "upgrade" else 0,
    )


def make_request(rng: Random, style: str, tag: str, is_last: bool) -> tuple[bytes, bytes]:
    """Head and body of one request."""
    weights = {lane.name: lane.weight for lane in LANES} | {NOWHERE: 1, messages.FILES: 1}
    [lane] = rng.choices(list(weights), list(weights.values()))
    if style == "upgrade" and is_last:
        return messages.upgrade(rng, lane, tag), b""
    if style == "heads":
        lane = rng.choice(("good", NOWHERE))
        return messages.request(rng, lane, tag, room=rng.choice((3000, 15_000, 60_000)))
    return messages.request(
        rng, lane, tag, expects=style == "expects", is_small=style in ("drip", "damaged")
    )


def make_steps(
    rng: Random, style: str, parts: Sequence[tuple[bytes, bytes]], stream: bytes
) -> list[Step]:
    """How the stream is sent; all answers are waited for in the end, or the client ends its direction first."""
    steps: list[Step] = []
    if style in ("polite", "expects", "upgrade"):
        for at, (head, body) in enumerate(parts):
            steps += in_pieces(rng, head)
            if style == "expects" and rng.random() < 0.8:
                steps.append((Do.LOOK, 0.2))
            steps += in_pieces(rng, body)
            steps.append((Do.AWAIT, at + 1))
    elif style == "drip":
        steps += [(Do.SEND, stream[at : at + 1]) for at in range(len(stream))]
    else:
        steps += in_pieces(rng, stream)
    # Who leaves something open would wait for time-outs, as a few do.
    is_open = style == "damaged" and not read_requests(stream).is_whole
    if rng.random() < (0.97 if is_open else 0.15):
        steps.append((Do.END, 0))
    return steps


def in_pieces(rng: Random, data: bytes) -> list[Step]:
    """``data`` cut anywhere, with a pause now and then."""
    count = rng.choice((0, 0, 0, 1, 2, 5))
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(count))
    steps: list[Step] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < end:
            steps.append((Do.SEND, data[start:end]))
            if rng.random() < 0.3:
                steps.append((Do.PAUSE, rng.choice((0.0, 0.0, 0.002, 0.03))))
    return steps


def cut_short(rng: Random, steps: list[Step]) -> list[Step]:
    """Of some clients: they leave in the middle of it."""
    if rng.random() > 0.15 or len(steps) < 2:
        return steps
    steps = steps[: rng.randrange(1, len(steps) + 1)]
    do, data = steps[-1]
    if do is Do.SEND and isinstance(data, bytes) and len(data) > 1:
        steps[-1] = (do, data[: rng.randrange(1, len(data))])
    return [*steps, (rng.choice(LEAVES), 0)]
