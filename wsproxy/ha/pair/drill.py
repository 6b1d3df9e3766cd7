"""
A drill: failures on request against a live pair, a hundred requests a second through its address, and what became of them.

Driven by ``cli.ha_drill``, and by the acceptance test, which runs the same command. Failures are the agents' part (``drill_acts``); an operator
of each node must have allowed them. Leaves the pair as it found it: one primary, one secondary.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import WsproxyError
from wsproxy.ha.pair.link import LinkError, ask_node
from wsproxy.ha.pair.load import LIMIT_S, RATE, Load
from wsproxy.ha.pair.rules import State

# How often each node is asked whether it holds the address.
SAMPLE_S = 0.05
# Before a failure and behind its end: what is measured stands between good times.
QUIET_S = 1.0
# What a step cuts or stops is whole again after so long.
CUT_S = 4.0
# For a pair to be one again: a proxy that was killed starts anew, on a machine that may be busy.
SETTLE_S = 90.0
MOVE_S = 30.0
_LOOK_S = 0.1


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a step may cost. ``lost``: requests; ``outage_s``: without a good answer; None: it is not promised."""

    text: str
    lost: int | None = None
    outage_s: float | None = None
    moves: bool = True
    one_holder: bool = False


class Dot(msgspec.Struct, frozen=True, array_like=True):
    """One request, for the picture: seconds from the failure, seconds it took, whether it is lost."""

    at_s: float
    took_s: float
    is_lost: bool


class Held(msgspec.Struct, frozen=True, array_like=True):
    """Who said that it holds the address: seconds from the failure, and of the nodes the first or the second or both."""

    at_s: float
    first: bool
    second: bool


class Result(msgspec.Struct, kw_only=True):
    """Of one step."""

    name: str
    title: str
    promise: Promise
    skipped: str = ""
    sent: int = 0
    lost: int = 0
    outage_s: float = 0.0
    slowest_s: float = 0.0
    has_moved: bool = False
    both_s: float = 0.0  # how long both said that they hold it
    whys: tuple[str, ...] = ()
    is_kept: bool = False
    broken: str = ""  # in which way the promise was
    dots: list[Dot] = []
    held: list[Held] = []


class Drill(msgspec.Struct, kw_only=True):
    """All of it."""

    url: str
    nodes: tuple[str, str]
    began: str
    advert_s: float
    rate: int = RATE
    limit_s: float = LIMIT_S
    versions: tuple[str, str] = ("", "")
    results: list[Result] = []

    @property
    def is_kept(self) -> bool:
        """Whether every promise that could be tried was."""
        return all(each.is_kept for each in self.results if not each.skipped)


class DrillError(WsproxyError):
    """It cannot be begun, or the pair is none any more; the text says why."""


STEPS: dict[str, tuple[str, Promise]] = {
    "planned": ("planned failover", Promise(text="0 lost", lost=0)),
    "planned-back": ("planned failover, back", Promise(text="0 lost", lost=0)),
    "kill": ("the proxy is killed (kill -9)", Promise(text="0.15 s at most", outage_s=0.15)),
    "death": ("the node dies", Promise(text="1 s at most", outage_s=1.0)),
    "sync-cut": ("the sync network is cut", Promise(text="0 lost, nothing moves", lost=0, moves=False)),
    "vrrp-cut": ("VRRP is cut, both nodes live", Promise(text="0 lost, never two holders", lost=0, moves=False, one_holder=True)),
    "stop": ("the proxy is stopped (SIGSTOP)", Promise(text="2 s at most", outage_s=2.0)),
}  # fmt: skip


_LASTING = ("death", "sync-cut", "vrrp-cut", "stop")


class Driller:
    """One drill. ``tell`` gets a line for people at each step."""

    def __init__(
        self,
        drill: Drill,
        port: int,
        tls: ssl.SSLContext,
        tell: Callable[[str], None],
    ) -> None:
        """Nothing is asked yet."""
        self._drill = drill
        self._nodes = drill.nodes
        self._port = port
        self._tls = tls
        self._tell = tell
        self._acts: dict[str, Callable[[str], Awaitable[object]]] = {
            "planned": self._hand_over,
            "planned-back": self._hand_over,
            "kill": lambda node: self._ask(node, "kill-proxy"),
            "death": lambda node: self._ask(node, "cut-all", seconds=CUT_S),
            "sync-cut": lambda node: self._ask(node, "cut-sync", seconds=CUT_S),
            "vrrp-cut": lambda node: self._ask(node, "cut-vrrp", seconds=CUT_S),
            "stop": lambda node: self._ask(node, "stop-proxy", seconds=CUT_S),
        }

    async def _ask(self, node: str, what: str, **given: Any) -> dict[str, Any]:
        return await ask_node(node, self._port, self._tls, what, **given)

    async def check(self) -> None:
        """
        An operator has allowed it on both nodes, and they are a pair.

        Raises:
            DrillError: not so.
        """
        try:
            for node in self._nodes:
                await self._ask(node, "allowed")
            found = [await self._ask(node, "status") for node in self._nodes]
        except LinkError as error:
            raise DrillError(str(error)) from error
        self._drill.versions = (found[0]["proxy"]["version"], found[1]["proxy"]["version"])
        self._drill.advert_s = round(found[0]["pair"]["ping_interval_s"] / 3, 2)
        states = {each["state"] for each in found}
        if states != {State.PRIMARY, State.SECONDARY}:
            raise DrillError(f"found states {', '.join(each['state'] for each in found)}; allowed is a pair of one primary and one secondary")  # fmt: skip

    async def run(self, names: Sequence[str]) -> None:
        """
        Each of these steps, in order; what became of it is in the drill.

        Raises:
            DrillError: the pair does not come together again.
        """
        for name in names:
            title, promise = STEPS[name]
            self._tell(f"{title} ...")
            primary = await self._settle()
            result = Result(name=name, title=title, promise=promise)
            self._drill.results.append(result)
            await self._step(result, primary)
            self._tell(f"  {line_of(result)}")
        await self._settle()

    async def _step(self, result: Result, primary: str) -> None:
        loop = asyncio.get_running_loop()
        load = Load(self._drill.url, self._drill.rate)
        held: list[tuple[float, bool, bool]] = []
        is_over = asyncio.Event()
        spawn(self._sample(held, is_over), "ha drill sample")
        load.begin()
        await asyncio.sleep(QUIET_S)
        began = loop.time()
        try:
            await self._acts[result.name](primary)
        except LinkError as error:
            result.skipped = str(error)
        other = next(each for each in self._nodes if each != primary)
        if not result.skipped:
            if result.promise.moves:
                result.has_moved = await self._until_held(other)
            # What becomes of it when the failure ends is part of it.
            end = began + (CUT_S if result.name in _LASTING else 0) + 2 * QUIET_S
            await asyncio.sleep(max(QUIET_S, end - loop.time()))
        await load.stop()
        is_over.set()
        self._note(result, load, held, began, primary)

    def _note(
        self,
        result: Result,
        load: Load,
        held: Sequence[tuple[float, bool, bool]],
        began: float,
        primary: str,
    ) -> None:
        outcome = load.outcome(began - QUIET_S, began + 3600)
        result.sent, result.lost, result.outage_s = outcome.sent, outcome.lost, outcome.outage_s
        result.slowest_s, result.whys = outcome.slowest_s, outcome.whys
        result.dots = [Dot(round(each.at - began, 4), round(each.took_s, 4), each.is_lost) for each in load.sent]  # fmt: skip
        result.held = [Held(round(at - began, 3), one, two) for at, one, two in held]
        result.both_s = SAMPLE_S * sum(each.first and each.second for each in result.held)
        if not result.promise.moves:
            is_first = primary == self._nodes[0]
            result.has_moved = any(each.second if is_first else each.first for each in result.held)
        result.broken = broken(result)
        result.is_kept = not result.broken and not result.skipped

    async def _sample(self, held: list[tuple[float, bool, bool]], is_over: asyncio.Event) -> None:
        """A node that does not answer is taken to hold what it held: it cannot say that it has given it back."""
        last = [False, False]
        while not is_over.is_set():
            at = asyncio.get_running_loop().time()
            found = await asyncio.gather(*(self._holds(node) for node in self._nodes))
            last = [was if now is None else now for was, now in zip(last, found, strict=True)]
            held.append((at, last[0], last[1]))
            await asyncio.sleep(SAMPLE_S)

    async def _holds(self, node: str) -> bool | None:
        with contextlib.suppress(LinkError, TimeoutError):
            async with asyncio.timeout(4 * SAMPLE_S):
                return bool((await self._ask(node, "holds"))["holds"])
        return None

    async def _until_held(self, node: str) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOVE_S):
                while True:
                    if await self._holds(node):
                        return True
                    await asyncio.sleep(_LOOK_S)
        return False

    async def _hand_over(self, node: str) -> None:
        await self._ask(node, "command", command="failover")

    async def _settle(self) -> str:
        """Who is primary, when the other one is secondary."""
        why = ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while True:
                    try:
                        if primary := await self._is_pair():
                            await asyncio.sleep(QUIET_S)
                            return primary
                    except LinkError as error:
                        why = str(error)
                    await asyncio.sleep(_LOOK_S)
        raise DrillError(f"the pair is none any more after {SETTLE_S:g} s: {why or 'nobody is primary'}")  # fmt: skip

    async def _is_pair(self) -> str:
        """The primary, where the other one is ready; else something is done about that."""
        found = {node: await self._ask(node, "status") for node in self._nodes}
        holders = [node for node, each in found.items() if each["holds"] and each["state"] == State.PRIMARY]  # fmt: skip
        if len(holders) != 1:
            return ""
        primary = holders[0]
        other = next(each for each in self._nodes if each != primary)
        state = found[other]["state"]
        is_well = found[other]["proxy"]["health"] == "well"
        is_heard = all(each["is_heard"] for each in found[primary]["networks"].values())
        if state == State.SECONDARY and is_well and is_heard and (found[other]["keepalived"] or {}).get("state") == "backup":  # fmt: skip
            return primary
        if state != State.SECONDARY and is_well:
            await self._ask(other, "command", command="start", role="secondary")
        return ""


def broken(result: Result) -> str:
    """In which way the promise was not kept; empty: it was. Pure."""
    promise = result.promise
    found = []
    if promise.lost is not None and result.lost > promise.lost:
        found.append(f"{result.lost} lost")
    if promise.outage_s is not None and result.outage_s > promise.outage_s:
        found.append(f"{result.outage_s:.2f} s")
    if promise.moves and not result.has_moved:
        found.append("the address has not moved")
    if not promise.moves and result.has_moved:
        found.append("the address has moved")
    if promise.one_holder and result.both_s:
        found.append(f"two holders for {result.both_s:.2f} s")
    return ", ".join(found)


def line_of(result: Result) -> str:
    """For people."""
    if result.skipped:
        return f"not done: {result.skipped}"
    figures = f"{result.lost} of {result.sent} lost, {result.outage_s:.2f} s without answers, promised {result.promise.text}"
    return f"{figures}: {'kept' if result.is_kept else 'NOT kept: ' + result.broken}"
