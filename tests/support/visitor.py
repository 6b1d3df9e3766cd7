"""
A browser as far as session affinity goes: it keeps the session cookie, and reads what the application says it saw.

Driven by tests/acceptance, against the servlet in tests/acceptance/app. Must not follow anything but the session cookie.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from tests.support.client import Answer, Client, get
from tests.support.process import WAIT_S
from tests.support.proxy import Proxy


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer of the servlet: how it came, and what the application saw."""

    answer: Answer
    set_cookie: str | None  # value of the session cookie that came with it
    member: str
    count: int
    session: str | None
    requested_session: str | None
    scheme: str
    is_secure: bool
    remote_address: str
    server_name: str
    server_port: int
    headers: dict[str, list[str]]


def seen(answer: Answer, cookie: str = "JSESSIONID") -> Seen:
    """What is in the answer, which must be a 200 of the servlet; ``cookie``: name of the session's."""
    assert answer.status == 200, (answer.head, answer.body)
    pairs = [value.decode().partition(";")[0].partition("=") for value in answer.all(b"set-cookie")]
    cookies = [value for name, _, value in pairs if name == cookie]
    assert len(cookies) < 2, answer.head
    fields: dict[str, Any] = json.loads(answer.body)
    return Seen(answer, cookies[0] if cookies else None, **fields)


@dataclass(slots=True)
class Visitor:
    """One session at ``port``; ``host`` is its Host field with the port."""

    port: int
    host: str
    cookie: str | None = None
    history: list[Seen] = field(default_factory=list)
    name: str = "JSESSIONID"  # of the cookie
    path: str = "/app/count"

    @property
    def member(self) -> str:
        """Who answered last."""
        return self.history[-1].member

    @property
    def count(self) -> int:
        return self.history[-1].count

    @property
    def session(self) -> str:
        """The session that the application saw last."""
        session = self.history[-1].session
        assert session is not None
        return session

    def request(self, path: str, *lines: str) -> bytes:
        """A GET with the cookie."""
        own = [f"Cookie: {self.name}={self.cookie}"] if self.cookie is not None else []
        return get(path, *own, *lines).replace(b"shop.example:9080", self.host.encode())

    async def visit(self, client: Client, path: str = "") -> Seen:
        """What the application saw of one request on this connection; the cookie that it sets is kept."""
        said = seen(await client.ask(self.request(path or self.path)), self.name)
        if said.set_cookie is not None:
            self.cookie = said.set_cookie
        self.history.append(said)
        return said

    async def call(self, path: str = "", *, source: str = "") -> Seen:
        """The same on a connection of its own."""
        async with await Client.connect(self.port, source=source) as client:
            return await self.visit(client, path)


async def new_sessions(
    port: int, host: str, count: int, *, name: str = "JSESSIONID", path: str = "/app/count"
) -> list[Visitor]:
    """Sessions in turn at all servers, each after its first visit; ``name`` of their cookie."""
    visitors = [Visitor(port, host, name=name, path=path) for _ in range(count)]
    for visitor in visitors:
        await visitor.call()
    return visitors


async def visit_in_rounds(proxy: Proxy, visitors: list[Visitor], rounds: int) -> set[int]:
    """Lets all visit at the same time, so many times, each on a new connection; the workers that had the connections."""
    workers = set()
    for _ in range(rounds):
        clients = [await Client.connect(proxy.port) for _ in visitors]
        try:
            await asyncio.gather(*map(Visitor.visit, visitors, clients))
            workers |= {worker for worker, held in proxy.clients_of_workers().items() if held}
        finally:
            for client in clients:
                client.sock.close()
    return workers


async def until_in_turn(member: str, port: int, host: str) -> None:
    """Returns when a request without a session was answered by this member: it is not marked down any more."""
    async with asyncio.timeout(WAIT_S):
        while (await Visitor(port, host).call("/app/who")).member != member:
            pass
