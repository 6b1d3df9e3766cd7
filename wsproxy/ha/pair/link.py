"""
The other node, by TLS over both networks: a word of how it is some times an interval, and questions.

Driven by ``agent``. Each node has one connection a network to the other, on which it says its words and asks, and is the server of the other
one's. Both show a certificate of the group's issuer (``wsproxy ha certs``). What is decided by a word is ``rules``' part.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from wsproxy.config.key_context import group_tls
from wsproxy.config.keystore import KeyFileError
from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.first_of import first_of
from wsproxy.ha.pair.conf import Pair

log = logging.getLogger("wsproxy.ha.pair")

CONNECT_S = 1.0
AGAIN_S = 0.2
# A network that is cut ends no connection; after this the kernel does, and a new one is tried.
USER_TIMEOUT_MS = 1000
ASK_S = 30.0
# Of an answer: five logs of 2 MiB in base64, and some air.
MOST_LINE_BYTES = 32 << 20
# Of a word or a question: some hundred bytes.
MOST_QUESTION_BYTES = 64 << 10
# Connections that are open at once, of the other node (one a network, and those before them that have not ended yet) and of all others:
# who has no key keeps one for as long as a handshake may take, and the agent's descriptors are for other things.
MOST_OF_PEER = 8
# Whoever says nothing for so long is gone, and its end was lost on the way: without this each cut of a network leaves connections that nobody ends, until no place is
# left for the one over which words would come again. Who says words does so four times a second; who only asks waits for an answer.
SILENT_S = 5.0
MOST_OF_OTHERS = 32


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """How a node is."""

    state: str
    holds: bool
    since: float  # when it took the address
    well: bool
    health: str
    version: str
    digest: str  # of the configuration that it serves by; empty: unknown
    settings: str  # digest of what both are to be told alike
    autostart: bool = False


class LinkError(WsproxyError):
    """The other node could not be asked, or refuses; the text says why."""


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes over a connection: a word, a question with its number, or the answer to that."""

    word: Word | None = None
    ask: str = ""
    number: int = 0
    given: dict[str, Any] = {}
    error: str = ""


# To a question, what is given with it, and whether the other node asks: another machine may have a key of the group.
Answer = Callable[[str, dict[str, Any], bool], Awaitable[dict[str, Any]]]


class Link:
    """
    Both networks.

    ``say`` makes this node's word; ``on_word``: the other one's has come, over the network of this name; ``answer``: what to say to a question, or raises LinkError.
    """

    def __init__(
        self,
        pair: Pair,
        say: Callable[[], Word],
        on_word: Callable[[str, Word], None],
        answer: Answer,
    ) -> None:
        """
        Nothing is open yet. # I/O.

        Raises:
            StartError: a key or a certificate cannot be used.
        """
        self._pair = pair
        self._say = say
        self._on_word = on_word
        self._answer = answer
        self._server_tls, self._client_tls = group_contexts(pair.ca, pair.certificate, pair.key)
        self._peers = {pair.peer, pair.sync_peer} - {""}
        self._news: dict[str, asyncio.Event] = {name: asyncio.Event() for name, *_ in pair.paths}
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._served: set[asyncio.StreamWriter] = set()
        self._open = {True: 0, False: 0}  # whether of the other node -> connections
        self._doubts: dict[str, str] = {}

    @property
    def doubts(self) -> Mapping[str, str]:
        """Why the other node cannot be reached, by network."""
        return self._doubts

    @property
    def reasons(self) -> str:
        """The same for people; empty where there is none."""
        return "; ".join(f"{name} network: {why}" for name, why in self._doubts.items())

    def say_now(self) -> None:
        """Something is new."""
        for each in self._news.values():
            each.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            paths = self._pair.paths
            await first_of(
                *(self._listen_always(name, own) for name, own, _ in paths),
                *(self._speak_always(name, own, peer) for name, own, peer in paths),
            )
        finally:
            for writer in [*self._served, *self._writers.values()]:
                writer.close()
            for each in self._waiting.values():
                each.cancel()

    # --- what the other one says ------------------------------------------------------------------------------------------

    async def _listen_always(self, name: str, own: str) -> None:
        told = ""
        while True:
            try:
                listener = _listener(own, self._pair.port)
            except OSError as error:
                if told != str(error):
                    told = str(error)
                    log.error("cannot listen on %s port %d: %s; tried again", own, self._pair.port, error.strerror)  # fmt: skip
                await asyncio.sleep(AGAIN_S)
                continue
            with listener:
                await self._accept_always(name, listener)

    async def _accept_always(self, name: str, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            # Not sock_accept: one of Python 3.11 that is cancelled as a connection comes loses that.
            failed = loop.create_future()
            loop.add_reader(listener, self._accept, name, listener, failed)
            try:
                await failed
            except OSError as error:
                log.error("cannot accept a connection of the %s network: %s", name, error.strerror)
            finally:
                loop.remove_reader(listener)
            await asyncio.sleep(AGAIN_S)

    def _accept(self, name: str, listener: socket.socket, failed: asyncio.Future[None]) -> None:
        try:
            sock, (source, *_) = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # who came has gone
            return
        except OSError as error:  # no descriptor
            if not failed.done():
                failed.set_exception(error)
            return
        is_peer = source in self._peers
        if self._open[is_peer] >= (MOST_OF_PEER if is_peer else MOST_OF_OTHERS):
            sock.close()
            return
        sock.setblocking(False)
        self._open[is_peer] += 1
        spawn(self._greet(name, sock, source), "ha pair connection")

    async def _greet(self, name: str, sock: socket.socket, source: str) -> None:
        """A handshake, with a certificate of the group's, and all that is said."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=MOST_QUESTION_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=self._server_tls, ssl_handshake_timeout=CONNECT_S * 5
            )
            await self._serve(name, source, reader, asyncio.StreamWriter(transport, protocol, reader, loop))  # fmt: skip
        except OSError as error:
            log.debug("connection from %s: %s", source, error)
            sock.close()
        finally:
            self._open[source in self._peers] -= 1

    async def _serve(
        self, name: str, source: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        tune(writer)
        self._served.add(writer)
        try:
            limit_s = 2 * ASK_S
            while line := await _line_of(reader, limit_s):
                said = msgspec.json.decode(line, type=_Line)
                limit_s = limit_s if said.word is None else SILENT_S
                if said.word is not None and source in self._peers:
                    self._on_word(name, said.word)
                elif said.ask:
                    spawn(self._reply(said, writer, source in self._peers), "ha pair answer")
        except (OSError, ValueError, msgspec.DecodeError, ssl.SSLError) as error:
            log.debug("connection from %s: %s", source, error)
        finally:
            self._served.discard(writer)
            writer.close()

    async def _reply(self, said: _Line, writer: asyncio.StreamWriter, is_peer: bool) -> None:
        try:
            given = await self._answer(said.ask, said.given, is_peer)
            answer = _Line(number=said.number, given=given)
        except WsproxyError as error:
            answer = _Line(number=said.number, error=str(error))
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(answer) + b"\n")
            await writer.drain()

    # --- what we say ------------------------------------------------------------------------------------------------------

    async def _speak_always(self, name: str, own: str, peer: str) -> None:
        while True:
            try:
                async with asyncio.timeout(CONNECT_S):
                    reader, writer = await asyncio.open_connection(
                        peer, self._pair.port, ssl=self._client_tls, server_hostname=peer,
                        local_addr=(own, 0), limit=MOST_LINE_BYTES,
                    )  # fmt: skip
            except (OSError, ssl.SSLError, TimeoutError) as error:
                self._doubts[name] = _reason(error)
                await asyncio.sleep(AGAIN_S)
                continue
            tune(writer)
            self._writers[name] = writer
            self._doubts.pop(name, None)
            try:
                self._doubts[name] = await self._speak(name, reader, writer)
            finally:
                self._writers.pop(name, None)
                writer.close()
            await asyncio.sleep(AGAIN_S)

    async def _speak(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        """Until the connection ends; why it did."""
        try:
            await first_of(self._say_words(name, writer), self._read_answers(reader))
        except Exception as error:
            if not isinstance(error, (OSError, ValueError, EOFError)):
                log.exception("the connection to the other node failed")
            return _reason(error)
        return ""

    async def _say_words(self, name: str, writer: asyncio.StreamWriter) -> None:
        news, period_s = self._news[name], self._pair.times.word_s
        while True:
            news.clear()
            writer.write(msgspec.json.encode(_Line(word=self._say())) + b"\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await news.wait()

    async def _read_answers(self, reader: asyncio.StreamReader) -> None:
        while True:
            line = await reader.readline()
            if not line:
                raise EOFError("the other node has ended the connection")
            said = msgspec.json.decode(line, type=_Line)
            waiting = self._waiting.pop(said.number, None)
            if waiting is None or waiting.done():
                continue
            if said.error:
                waiting.set_exception(LinkError(said.error))
            else:
                waiting.set_result(said.given)

    async def ask(self, what: str, within_s: float = ASK_S, **given: Any) -> dict[str, Any]:
        """
        What the other node answers, by the first network that there is.

        Raises:
            LinkError: nothing, or that it refuses.
        """
        writer = next((self._writers[name] for name, *_ in self._pair.paths if name in self._writers), None)  # fmt: skip
        if writer is None:
            raise LinkError(
                f"the other node does not answer ({self.reasons or 'not connected yet'})"
            )
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            writer.write(msgspec.json.encode(_Line(ask=what, number=number, given=given)) + b"\n")
            async with asyncio.timeout(within_s):
                answer: dict[str, Any] = await waiting
        except (TimeoutError, OSError) as error:
            raise LinkError(f"the other node has not answered within {within_s:g} s") from error
        finally:
            self._waiting.pop(number, None)
        return answer


async def ask_node(
    address: str, port: int, tls: ssl.SSLContext, what: str, **given: Any
) -> dict[str, Any]:
    """
    What the node at an address answers, for who is neither of both. # I/O.

    Raises:
        LinkError: nothing, or that it refuses.
    """
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=tls, server_hostname=address, limit=MOST_LINE_BYTES
            )
            try:
                writer.write(msgspec.json.encode(_Line(ask=what, number=1, given=given)) + b"\n")
                line = await reader.readline()
                said = msgspec.json.decode(line, type=_Line)
            finally:
                writer.close()
    except (OSError, ssl.SSLError, TimeoutError, ValueError) as error:
        raise LinkError(f"{address}: {_reason(error)}") from error
    if said.error:
        raise LinkError(f"{address}: {said.error}")
    answer: dict[str, Any] = said.given
    return answer


def group_contexts(ca: str, certificate: str, key: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """
    For who is asked, and for who asks. # I/O.

    Raises:
        StartError: a file cannot be used.
    """
    try:
        server = group_tls(ca, certificate, key, ssl.Purpose.CLIENT_AUTH)
        client = group_tls(ca, certificate, key)
    except KeyFileError as error:
        raise StartError(f"{error}, best one that `wsproxy ha certs` made") from error
    for each in (server, client):
        each.minimum_version = ssl.TLSVersion.TLSv1_3
    return server, client


async def _line_of(reader: asyncio.StreamReader, within_s: float) -> bytes:
    """Raises: TimeoutError, and as it does."""
    async with asyncio.timeout(within_s):
        return await reader.readline()


def _listener(own: str, port: int) -> socket.socket:
    """Raises: OSError."""
    sock = socket.create_server(
        (own, port), family=socket.AF_INET6 if ":" in own else socket.AF_INET, backlog=100
    )
    sock.setblocking(False)
    return sock


def tune(writer: asyncio.StreamWriter) -> None:
    """No waiting for more to send, and an end where nothing is acknowledged."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
