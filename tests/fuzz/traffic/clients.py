"""
Plays the client of a plan: sends step by step, and reads at its own pace, both at the same time.

Driven by ``run``. What it saw is in the ``Visit``; must not judge it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from tests.fuzz.traffic.link import READ_BYTES, CutError, End, Link
from tests.fuzz.traffic.plans import Do, Step
from tests.fuzz.traffic.reading import pattern
from tests.fuzz.traffic.records import Left, Visit

TUNNEL_PIECE = 3000
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; Python has no name for it


class Player:
    """One visit; ``context`` for clients that speak TLS."""

    def __init__(self, visit: Visit, port: int, context: ssl.SSLContext) -> None:
        self._visit = visit
        self._port = port
        self._context = context if visit.plan.is_tls else None
        self._news = asyncio.Event()
        self._link: Link

    async def play(self) -> None:
        """Returns when the connection is over."""
        visit = self._visit
        try:
            self._link = await self._connect()
        except CutError:
            visit.answers.finish(End.CUT)
            return
        reading = asyncio.ensure_future(self._read())
        sending = asyncio.ensure_future(self._send())
        try:
            await asyncio.wait((reading, sending), return_when=asyncio.FIRST_COMPLETED)
            if visit.left is not Left.GONE:
                await (reading if sending.done() else self._rest_of(sending))
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)
            self._note_left(visit.left)
            self._link.close()
        for task in (sending, reading):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _rest_of(self, sending: asyncio.Future[None]) -> None:
        """After the end of what there is to read: a tunnel goes on in the other direction."""
        if self._has_tunnel() and self._visit.answers.end is End.ORDERLY:
            await sending

    async def _connect(self) -> Link:
        visit = self._visit
        sock = socket.socket()
        try:
            sock.setblocking(False)
            if visit.plan.receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, visit.plan.receive_buffer)
            # The port is chosen when both ends are known: one that is in use to another client's end will do.
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((visit.address, 0))
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
            link = Link(sock, self._context)
            await link.handshake()
        except BaseException:
            sock.close()
            raise
        return link

    # --- sending -----------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """The steps, and what goes through a tunnel; a peer that is gone is for the reader to see."""
        with contextlib.suppress(CutError):
            for step in self._visit.plan.steps:
                if self._visit.left is Left.GONE:
                    return
                await self._do(step)
            if self._visit.left is Left.STAYED:
                await self._tunnel()

    async def _do(self, step: Step) -> None:
        visit = self._visit
        match step:
            case Do.SEND, bytes(data):
                visit.sent += len(data)
                await self._link.send(data)
            case Do.PAUSE, float(seconds):
                await asyncio.sleep(seconds)
            case Do.AWAIT, int(count):
                await self._until(lambda: visit.answers.complete >= count or self._has_tunnel())
            case Do.LOOK, float(seconds):
                before = visit.answers.received
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._until(lambda: visit.answers.received > before)
            case way, _:
                assert isinstance(way, Do)
                await self._leave(way)

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Until it holds, or nothing more comes."""
        while not holds() and self._visit.answers.end is End.OPEN and not self._visit.answers.error:
            self._news.clear()
            await self._news.wait()

    def _has_tunnel(self) -> bool:
        found = self._visit.answers.found
        return bool(found) and found[-1].is_tunnel

    async def _tunnel(self) -> None:
        if not self._has_tunnel():
            return
        data = pattern(f"t{self._visit.address}", self._visit.plan.tunnel)
        for at in range(0, len(data), TUNNEL_PIECE):
            piece = data[at : at + TUNNEL_PIECE]
            self._visit.tunnel_sent += piece
            await self._link.send(piece)
        await self._leave(Do.END)

    async def _leave(self, way: Do) -> None:
        if way is Do.END and not self._visit.plan.is_tls:
            self._note_left(Left.ENDED)
            self._link.shut()
            return
        # TLS is never half open: whoever ends it has left.
        self._note_left(Left.GONE)
        if way is Do.RESET:
            self._link.reset()
            return
        if way is Do.END:
            await self._link.end()
        elif way is Do.SHUT:
            self._link.shut()
        self._link.close()

    def _note_left(self, left: Left) -> None:
        visit = self._visit
        visit.left = left
        visit.left_s = visit.left_s or asyncio.get_running_loop().time()

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Until the proxy ends the connection, all is there, or the client leaves."""
        visit = self._visit
        answers, plan = visit.answers, visit.plan
        try:
            while not self._has_all():
                data = await self._link.read()
                if not data:
                    answers.finish(End.UNCLEAR if self._link.is_broken else End.ORDERLY)
                    break
                answers.feed(data)
                self._news.set()
                if answers.error:
                    break
                if 0 <= plan.leaves_at <= answers.received:
                    await self._leave(plan.leaves_by)
                    break
                if plan.read_pause_s and len(data) < READ_BYTES:
                    await asyncio.sleep(plan.read_pause_s)
        except CutError:
            answers.finish(End.CUT)
        self._news.set()

    def _has_all(self) -> bool:
        """Whether nothing more can come: the stream was sent, and each of its requests has its answer."""
        visit = self._visit
        whole = sum(request.is_whole for request in visit.asked.requests)
        is_refused = visit.asked.refusal is not None or visit.asked.has_rest
        return (
            visit.sent >= len(visit.plan.stream)
            and not is_refused
            and whole == len(visit.asked.requests)
            and visit.answers.complete >= whole
        )
