"""
etcd's JSON gateway (``/v3/...``) over several endpoints: one question, asked at each of them once; one stream that follows them.

Driven by ``store.etcd``. Knows addresses, time-outs and what errors of etcd mean for the next endpoint; not what is asked. Rules of
HA.md 3: each endpoint once and 0.4 s each; every question says that it wants a leader (``Grpc-Metadata-hasleader``), since a watch on a
server without a majority hangs for ever otherwise; a stream follows the endpoint that the questions use, since a cut
network ends no connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import msgspec

from wsproxy.config.problems import printable
from wsproxy.ha.store.base import CompactedError, LeaseGoneError, StoreAwayError, TooLargeError
from wsproxy.ha.store.token import AUTHENTICATE_S, Token, TokenError, is_about_token
from wsproxy.ha.store.token import PATH as TOKEN_PATH

log = logging.getLogger("wsproxy.ha")

# An endpoint that is well answers in 1 to 10 ms, and during an election not at all: then the next one, or the next heartbeat.
TRY_S = 0.4
# A stream may hang where a firewall has forgotten it; a new one goes on behind the last revision and loses nothing.
STREAM_S = 30.0
# etcd's own limit of a request is 1.5 MB; base64 and many events make more of it, endless lines are no etcd's.
MOST_LINE_BYTES = 64 << 20
# Of what an endpoint says is wrong: it goes into logs, status and, of a bridge, into our own etcd.
MOST_REASON = 300

# Compressed, a small answer may be any size.
_HEADERS = {"Grpc-Metadata-hasleader": "true", "Accept-Encoding": "identity"}

# How the other side of TLS says it, in OpenSSL's words; with TLS 1.3 only after the handshake, so in place of an answer.
_OUR_CERTIFICATE = re.compile(r"ALERT.*(CERTIFICATE|UNKNOWN_CA)")

# What etcd with users says to a certificate that could be one, in HTTP 400.
_COMMON_NAME = b"CommonName of client"

# gRPC's numbers.
_CANCELLED, _UNKNOWN, _DEADLINE, _NOT_FOUND, _OUT_OF_RANGE = 1, 2, 4, 5, 11


class Gateway:
    """One a process; use and close it within one event loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: ssl.SSLContext | None = None,
        *,
        try_s: float = TRY_S,
        stream_s: float = STREAM_S,
        most_bytes: int = MOST_LINE_BYTES,
        token: Token | None = None,
    ) -> None:
        """``endpoints``: URLs; the first is asked first, as long as it answers. ``most_bytes``: of an answer, or of a stream's line. ``token``: of etcd's user; several gateways of one etcd may share it; None: there is no user."""
        self._endpoints = [each.rstrip("/") for each in endpoints]
        self._current = 0
        self._try_s = try_s
        self._stream_s = stream_s
        self._most_bytes = most_bytes
        self._token = token or Token(None)
        self._streams: dict[aiohttp.ClientResponse, int] = {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls if tls is not None else True),
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,  # a proxy for the web is none for etcd
            auto_decompress=False,
        )

    @property
    def count(self) -> int:
        """Of endpoints."""
        return len(self._endpoints)

    @property
    def endpoint(self) -> str:
        """Where questions go first now."""
        return self._endpoints[self._current]

    async def close(self) -> None:
        """No question runs afterwards."""
        for response in list(self._streams):
            _drop(response)
        await self._session.close()

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """
        The answer of the first endpoint that has one.

        Raises:
            StoreAwayError: none has; whether one has done it is not known.
            LeaseGoneError: the lease of the question does not exist.
        """
        doubts = []
        first = self._current
        for index in self._order(first):
            try:
                answer = await self._ask_one(index, path, body)
            except TooLargeError:
                raise  # the others would say the same
            except StoreAwayError as error:
                doubts.append(str(error))
                continue
            self._use(index, first)
            return answer
        raise StoreAwayError("; ".join(doubts))

    def _order(self, first: int) -> list[int]:
        count = len(self._endpoints)
        return [(first + offset) % count for offset in range(count)]

    def _use(self, index: int, first: int) -> None:
        """Has this endpoint asked first from now on, as it has answered and ``first`` not: streams at others end, and go on here."""
        if index == first or self._current != first:
            return  # another question has found one meanwhile
        self._current = index
        log.info("ha: etcd is asked at %s now", self.endpoint)
        for response, at in list(self._streams.items()):
            if at != index:
                _drop(response)

    async def _ask_one(self, index: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = self._endpoints[index]
        token = await self._token_at(url)
        try:
            return await self._post(url, path, body, token)
        except TokenError:
            self._token.drop(token)
            if not self._token.has_user:
                raise
        return await self._post(url, path, body, await self._token_at(url))

    async def _token_at(self, url: str) -> str:
        async def ask(question: dict[str, Any]) -> dict[str, Any]:
            return await self._post(url, TOKEN_PATH, question, "", max(AUTHENTICATE_S, self._try_s))

        return await self._token.get(ask)

    def doubt(self, message: str) -> None:
        """A stream says that it was ended, and why: the next question has another token where that was the reason."""
        if is_about_token(message):
            self._token.drop(self._token.now)

    async def _post(
        self, url: str, path: str, body: dict[str, Any], token: str, try_s: float = 0.0
    ) -> dict[str, Any]:
        try_s = try_s or self._try_s
        try:
            async with (
                asyncio.timeout(try_s),
                await self._send(url, path, body, token) as response,
            ):
                text = await _whole(response, url, self._most_bytes)
        except TimeoutError:
            raise StoreAwayError(f"{url}: no answer within {try_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._no_answer(url, error, token) from error
        answer = _decoded(text, url)
        if response.status != 200 or "error" in answer:
            raise _failure(answer, response.status, url)
        return answer

    async def _send(self, url: str, path: str, body: dict[str, Any], token: str) -> aiohttp.ClientResponse:  # fmt: skip
        """The answer's beginning, of nobody else: a site that was taken over would choose whom we ask, and who hears our password without TLS."""
        response = await self._session.post(
            url + path,
            data=msgspec.json.encode(body),
            headers=_headers_of(token),
            allow_redirects=False,
        )
        if 300 <= response.status < 400:
            _drop(response)
            raise StoreAwayError(f"{url}: found a redirect (HTTP {response.status}), which is not followed; allowed is etcd itself")  # fmt: skip
        return response

    def _no_answer(self, url: str, error: Exception, token: str) -> StoreAwayError:
        """Etcd 3.4.23 (Debian 12) and some later ones end the connection where they do not know the token (etcd issue 15256)."""
        kind = TokenError if token and isinstance(error, aiohttp.ServerDisconnectedError) else StoreAwayError  # fmt: skip
        return kind(f"{url}: {_reason(error)}")

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """
        What the endpoint that is in use tells, line after line; ends where it does, where another endpoint is in use, or after a while.

        Raises:
            StoreAwayError: it cannot be asked.
            CompactedError: as etcd says.
        """
        at = self._current
        url = self._endpoints[at]
        token = await self._token_at(url)
        try:
            async with asyncio.timeout(self._try_s):
                response = await self._send(url, path, body, token)
        except TimeoutError:
            raise StoreAwayError(f"{url}: no answer within {self._try_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            self._token.drop(token)
            raise self._no_answer(url, error, token) from error
        self._streams[response] = at
        ends = asyncio.get_running_loop().time() + self._stream_s
        try:
            lines = _lines(response, url, self._most_bytes)
            while True:
                # Not around what whoever reads does with a line: it would be cancelled in our place.
                async with asyncio.timeout_at(ends):
                    line = await anext(lines, None)
                if line is None:
                    return
                answer = _decoded(line, url)
                if response.status != 200 or "error" in answer:
                    raise _failure(answer, response.status, url)
                yield answer
        except TokenError:
            self._token.drop(token)
            raise
        except (TimeoutError, aiohttp.ClientError, OSError):
            return  # it had begun: whoever reads goes on behind what has come
        finally:
            del self._streams[response]
            _drop(response)

    def move_on(self) -> None:
        """The endpoint in use does not stream: the next one is tried."""
        first = self._current
        self._use((first + 1) % len(self._endpoints), first)


def _drop(response: aiohttp.ClientResponse) -> None:
    """Its connection is gone. TLS would wait for the other side's word, for 30 s where the network is cut."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _whole(response: aiohttp.ClientResponse, url: str, most: int) -> bytes:
    found = bytearray()
    async for part in response.content.iter_any():
        found += part
        if len(found) > most:
            _drop(response)
            raise TooLargeError(
                f"{url}: found an answer of more than {most} bytes; allowed is etcd's"
            )
    return bytes(found)


async def _lines(response: aiohttp.ClientResponse, url: str, most: int) -> AsyncIterator[bytes]:
    kept = bytearray()
    async for part in response.content.iter_any():
        kept += part
        if b"\n" in part:
            *whole, rest = bytes(kept).split(b"\n")
            kept = bytearray(rest)
            for line in whole:
                if line:
                    yield line
        if len(kept) > most:
            raise TooLargeError(
                f"{url}: found a line of more than {most} bytes; allowed is etcd's answer"
            )
    if kept:
        yield bytes(kept)


def _headers_of(token: str) -> dict[str, str]:
    return {"Authorization": token} if token else {}


def _decoded(text: bytes, url: str) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(text)
    except msgspec.DecodeError:
        answer = None
    if not isinstance(answer, dict):
        if text.startswith(_COMMON_NAME):
            raise StoreAwayError(
                f"{url}: found a certificate with a common name; allowed is one without, since etcd has users (`wsproxy ha certs` makes such)"
            )
        shown = text[:60].decode("ascii", "backslashreplace")
        raise StoreAwayError(
            f"{url}: found {shown!r}; allowed is etcd's JSON gateway (3.4 or later)"
        )
    return answer


def _failure(answer: dict[str, Any], status: int, url: str) -> Exception:
    """What an error of etcd means. In a stream it is an object with ``grpc_code``, in an answer a text with ``code``."""
    error = answer.get("error")
    fields = error if isinstance(error, dict) else answer
    code = fields.get("grpc_code", fields.get("code", 0))
    message = printable(str(fields.get("message") or error or f"HTTP {status}")[:MOST_REASON])
    if code == _NOT_FOUND and "lease" in message:
        return LeaseGoneError(message)
    if code == _OUT_OF_RANGE and ("compacted" in message or "future revision" in message):
        return CompactedError(message)
    if is_about_token(message):
        return TokenError(f"{url}: {message}; allowed is one of etcd's users (user, password_file)")
    if "database space exceeded" in message:
        message += "; it takes nothing until its database is made smaller: `etcdctl compact`, `etcdctl defrag`, `etcdctl alarm disarm`, or a larger --quota-backend-bytes"
    return StoreAwayError(f"{url}: {message}")


def _reason(error: Exception) -> str:
    """Why there was no answer, as a person may act on it."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not believed: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    text = printable(str(error)[:MOST_REASON]) or type(error).__name__
    if _OUR_CERTIFICATE.search(text):
        return f"it does not believe our certificate ({text}); allowed is one by the issuer that it trusts (--trusted-ca-file)"
    return text
