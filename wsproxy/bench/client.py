"""
The client of the proof before a measurement: one request at a time, and what became of its connection.

Driven by ``verify``. Not ``http.client.HTTPConnection``: that reconnects by itself, and does not show whether the other side
really closed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from wsproxy.bench.site import HOST_NAME

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got; ``upstream_port`` is None where no upstream answered."""

    status: int
    body: bytes
    upstream_port: int | None
    says_close: bool
    is_chunked: bool
    upload_bytes: (
        int | None
    )  # what the upstream had read of the request, its head included, before it answered


@dataclass(slots=True)
class Client:
    """A connection to ``port``, opened when it is needed; TLS where there is a ``context``."""

    port: int
    context: ssl.SSLContext | None
    patience_s: float = ANSWER_S  # for each read
    tls_version: str | None = None
    cipher: str | None = None
    has_resumed: bool = False  # whether any connection took up an earlier TLS session
    _sock: socket.socket | None = None
    _session: ssl.SSLSession | None = None

    def exchange(
        self, method: str, path: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        """
        One request and its answer; the connection stays. I/O.

        Raises: OSError, http.client.HTTPException.
        """
        sock = self._sock = self._sock or self._connect()
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        sock.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        response = http.client.HTTPResponse(sock, method=method)
        try:
            response.begin()
            content = response.read()
            return Answer(
                response.status,
                content,
                _number(response, "X-Upstream-Port"),
                response.will_close,
                response.chunked,
                _number(response, "X-Upload-Bytes"),
            )
        finally:
            response.close()

    def is_closed_by_peer(self) -> bool:
        """Whether the connection ends; waits up to ``patience_s`` for that. I/O."""
        if self._sock is None:
            return False
        try:
            return self._sock.recv(1) == b""
        except TimeoutError:
            return False

    def close(self) -> None:
        """Ends the connection, if there is one; the next exchange offers its TLS session again, as wrk does."""
        if isinstance(self._sock, ssl.SSLSocket):
            self._session = self._sock.session
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), self.patience_s)
        if self.context is None:
            return sock
        wrapped = self.context.wrap_socket(sock, server_hostname=HOST_NAME, session=self._session)
        chosen = wrapped.cipher()
        self.tls_version = wrapped.version()
        self.cipher = chosen[0] if chosen is not None else None
        self.has_resumed = self.has_resumed or bool(wrapped.session_reused)
        return wrapped


def _number(response: http.client.HTTPResponse, name: str) -> int | None:
    value = response.getheader(name)
    return int(value) if value is not None else None
