"""
The clients of the soak: each checks every answer, and knows which of its failures have a reason.

A GET is answered with 200 by some server, whatever happens to servers and processes: one that is not is *lost*. The only excuse is
that the connection was on a worker when that was killed (``Line.was_killed``, set by whoever killed it): then it is *cut*. A tunnel
ends some time after its program was replaced, and not before (``Line.may_end``). A POST may also be answered with 502, 503 or 504 where a server was in trouble: it is not sent twice.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.soak.backend import content
from tests.support.client import Answer, BadAnswerError, Client, IncompleteError, get, request

ANSWER_S = 60.0
# What a server in trouble may do to a request that is not repeated.
TROUBLE = frozenset((502, 503, 504))
WALKS_S = 0.01
# What is told with a fault.
LATELY_S = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """What an operator said of a server, from when it was answered until somebody begins to take it back."""

    is_down: bool  # else it is drained


class Line(Client):
    """A connection."""

    was_killed = False  # its worker was killed, or may have been
    was_answered = False  # so a worker has accepted it
    closes = False  # an answer said so
    may_end = math.inf  # since when a tunnel may, whose program was replaced

    @property
    def port(self) -> int:
        """At this end."""
        return int(self.sock.getsockname()[1])


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What happens to connections, by their ports."""

    at: float
    cut: Set[int] = frozenset()  # their worker was killed
    new: Set[int] | None = (
        None  # the program that is the proxy now has them; None: no program was replaced
    )
    may_end: float = math.inf  # since when tunnels of the others may

    def reach(self, line: Line) -> None:
        if line.port in self.cut:
            line.was_killed = True
        if self.new is not None and line.port not in self.new:
            line.may_end = min(line.may_end, self.may_end)


@dataclass(slots=True)
class Crowd:
    """All clients, and what became of their requests."""

    port: int
    rng: random.Random
    servers: dict[str, str]  # name -> clone id, of the cluster that is in trouble
    words: dict[str, Word] = field(default_factory=dict)  # by server
    told: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lines: set[Line] = field(default_factory=set)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    journal: list[tuple[float, str]] = field(
        default_factory=list
    )  # when what was done to the proxy
    is_over: bool = False
    tunnels: int = 0
    _verdicts: deque[_Verdict] = field(default_factory=lambda: deque(maxlen=50))
    _busy: int = 0
    _is_cutting: int = 0
    _is_replacing: int = 0
    _number: int = 0

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """Meanwhile a program is killed: who is not accepted yet, or comes, may be cut with a worker of it."""
        self._is_cutting += 1
        for line in self.lines:
            line.was_killed |= not line.was_answered
        try:
            yield
        finally:
            self._is_cutting -= 1

    @contextmanager
    def replacing(self) -> Iterator[None]:
        """Meanwhile another program may take over: whether a tunnel that ends may, is known when it has said so."""
        self._is_replacing += 1
        try:
            yield
        finally:
            self._is_replacing -= 1

    def cut(self, ports: set[int]) -> None:
        """The worker that held these was killed."""
        self._verdicts.append(_Verdict(time.monotonic(), cut=ports))
        for line in self.lines:
            self._verdicts[-1].reach(line)

    def retire(self, new: set[int], may_end: float) -> None:
        """Another program is the proxy; it has the ports of ``new``, and tunnels that it has not may end then."""
        self._verdicts.append(_Verdict(time.monotonic(), new=new, may_end=may_end))
        for line in self.lines:
            self._verdicts[-1].reach(line)

    def note(self, what: str) -> None:
        """It is done now."""
        self.journal.append((time.monotonic(), what))

    async def end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Of all clients. Python 3.11 loses a cancellation now and then (``wait_for`` of what is just done)."""
        self.is_over = True
        self.open.set()
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=1.0)

    async def pause(self) -> None:
        """Returns when nobody asks anything, and nobody but tunnels has a connection."""
        self.open.clear()
        while self._busy:  # noqa: ASYNC110  # dozens of tasks
            await asyncio.sleep(0.02)

    async def look(self, target: str) -> int | None:
        """The status of the answer to one GET; None: its worker was killed. Any other end is a fault."""
        if (line := await self._connect()) is None:
            return None
        try:
            return (await self._ask(line, get(target), target)).status
        except _EndError:
            return None
        finally:
            self.lines.discard(line)
            line.sock.close()

    async def walk(self) -> None:
        """One client, until the end."""
        while not self.is_over:
            await self.open.wait()
            self._busy += 1
            try:
                await self._visit()
            finally:
                self._busy -= 1

    async def _connect(self) -> Line | None:
        """None: it was refused, which is a fault."""
        began, may_be_cut = time.monotonic(), self._is_cutting > 0
        try:
            line = await Line.connect(self.port)
        except OSError as error:
            self._fault(f"a connection was refused: {error}")
            await asyncio.sleep(0.1)
            return None
        self.lines.add(line)
        line.was_killed = may_be_cut or self._is_cutting > 0
        # The kernel, and a worker, had it before we did.
        for verdict in self._verdicts:
            if verdict.at >= began:
                verdict.reach(line)
        return line

    async def _visit(self) -> None:
        """One connection with some requests."""
        if (line := await self._connect()) is None:
            return
        try:
            for _ in range(self.rng.randrange(1, 30)):
                if line.closes or not self.open.is_set():
                    break
                await self._pick()(line)
                await asyncio.sleep(self.rng.uniform(0, WALKS_S))
        except _EndError:
            pass
        finally:
            self.lines.discard(line)
            line.sock.close()

    def _pick(self) -> Callable[[Line], Awaitable[None]]:
        kinds = (self._get, self._post, self._large, self._hang_up, self._half)
        return self.rng.choices(kinds, (70, 12, 12, 3, 3))[0]

    def _next(self) -> str:
        self._number += 1
        return f"r{self._number}"

    def _delay_ms(self) -> int:
        return self.rng.randrange(200) if self.rng.random() < 0.1 else self.rng.randrange(8)

    # --- kinds of requests ------------------------------------------------------------------------------------------

    async def _get(self, line: Line) -> None:
        clone = self.rng.choice(["", "", *self.servers.values()])
        cookies = [f"Cookie: JSESSIONID=0000s{self.rng.randrange(500)}:{clone}"] if clone else []
        number = self._next()
        before = dict(self.words)
        target = f"/farm/x?id={number}&delay={self._delay_ms()}"
        answer = await self._ask(line, get(target, *cookies), target)
        if answer.status != 200:
            self._lose(line, target, f"{answer.status} {answer.body[:60]!r}")
            return
        server = answer.body.partition(b" ")[0].decode()
        if answer.body != content(server, number, 0):
            self._fault(f"{target}: another's answer: {answer.body[:80]!r}")
        self.told["GET, 200"] += 1
        if clone and self.servers.get(server) == clone:
            self.told["by affinity"] += 1
        word = before.get(server)
        if word is not None and self.words.get(server) is word and (word.is_down or not clone):
            what = "taken down" if word.is_down else "drained"
            self._fault(f"{target}: {server} is {what}, and was given a request")

    async def _post(self, line: Line) -> None:
        number = self._next()
        body = f"body of {number}".encode() * self.rng.choice((1, 1, 500))
        target = f"/farm/post?id={number}&delay={self._delay_ms()}"
        answer = await self._ask(line, request("POST", target, body=body), target)
        if answer.status in TROUBLE:
            self.told[f"POST, {answer.status}"] += 1
            return
        server = answer.body.partition(b" ")[0].decode()
        if (answer.status, answer.body) != (200, content(server, number, 0) + body):
            self._lose(line, target, f"{answer.status} {answer.body[:60]!r}")
            return
        self.told["POST, 200"] += 1

    async def _large(self, line: Line) -> None:
        number = self._next()
        size = self.rng.choice((10_000, 70_000, 400_000))
        target = f"/shop/x?id={number}&delay={self._delay_ms()}&size={size}"
        answer = await self._ask(line, get(target), target)
        server = answer.body.partition(b" ")[0].decode()
        if (answer.status, answer.body) != (200, content(server, number, size)):
            self._lose(line, target, f"{answer.status} {answer.body[:60]!r}")
            return
        self.told["large GET, 200"] += 1

    async def _hang_up(self, line: Line) -> None:
        """Does not wait for the answer."""
        with suppress(OSError):
            await line.send(get(f"/farm/x?id={self._next()}&delay=100"))
            await asyncio.sleep(self.rng.uniform(0, 0.05))
        self.told["hung up"] += 1
        raise _EndError

    async def _half(self, line: Line) -> None:
        """Ends within a head."""
        with suppress(OSError):
            await line.send(b"GET /farm/x HTTP/1.1\r\nHo")
        self.told["half a head"] += 1
        raise _EndError

    async def _ask(
        self, line: Line, data: bytes, target: str, *, head_only: bool = False
    ) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_S):
                await line.send(data)
                answer = await (line.head() if head_only else line.answer())
                line.closes = answer.closes
                line.was_answered = True
                return answer
        except (OSError, IncompleteError, BadAnswerError) as error:
            # TimeoutError is an OSError.
            after = time.monotonic() - began
            self._lose(
                line, target, f"{type(error).__name__} {str(error)[:80]} after {after:.2f} s"
            )
            raise _EndError from error

    # --- tunnels ----------------------------------------------------------------------------------------------------

    async def hold_tunnel(self) -> None:
        """An upgraded connection that no reload, drain or end of another process may cut; made again where its worker was killed."""
        while not self.is_over:
            if (line := await self._connect()) is None:
                continue
            try:
                head = ("Connection: Upgrade", "Upgrade: websocket")
                answer = await self._ask(line, get("/tunnel/x", *head), "/tunnel/x", head_only=True)
                if answer.status != 101:
                    self._fault(f"/tunnel/x: {answer.status}")
                    return
                self.tunnels += 1
                try:
                    await self._echo(line)
                finally:
                    self.tunnels -= 1
            except _EndError:
                pass
            finally:
                self.lines.discard(line)
                line.sock.close()

    async def _echo(self, line: Line) -> None:
        while not self.is_over:
            word = self._next().encode()
            try:
                await line.send(word)
                came = await line.exactly(len(word))
            except (OSError, IncompleteError) as error:
                how = f"the tunnel ended: {type(error).__name__}"
                ended = time.monotonic()
                while self._is_replacing:  # noqa: ASYNC110  # another task knows
                    await asyncio.sleep(0.02)
                self._lose(line, "/tunnel/x", how, ended)
                raise _EndError from error
            if came != word:
                self._fault(f"/tunnel/x: {came!r} came back for {word!r}")
            self.told["words through tunnels"] += 1
            await asyncio.sleep(0.2)

    # --- verdicts ---------------------------------------------------------------------------------------------------

    def _lose(self, line: Line, target: str, how: str, ended: float | None = None) -> None:
        """``ended``: when a tunnel did; None: it is none."""
        if line.was_killed:
            self.told["cut with their worker"] += 1
        elif ended is not None and ended >= line.may_end:
            self.told["tunnels that ended with their program"] += 1
        else:
            self.told["LOST"] += 1
            self._fault(f"{target}: lost: {how}")

    def _fault(self, text: str) -> None:
        now = time.monotonic()
        lately = [
            f"{what} {now - at:.2f} s ago" for at, what in self.journal if now - at < LATELY_S
        ]
        self.faults.append(f"{text} (lately: {', '.join(lately) or 'nothing'})")


class _EndError(Exception):
    """The connection is of no use any more."""
