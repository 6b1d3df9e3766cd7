"""
The app server of the proof before a measurement: answers with the request head that it saw, as JSON.

Driven by ``bed`` and read by ``verify``; the upstream nginx sends ``/app/check`` here. Idle while anything is measured.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_HEADER = "X-Bench-Body"


def describe_body(body: bytes) -> str:
    """Length and digest: what the echo says of a body. Pure."""
    return f"{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}"


class EchoHandler(BaseHTTPRequestHandler):
    """Answers GET and POST with ``[[name, value], ...]`` in order, repetitions included; a body adds BODY_HEADER."""

    protocol_version = "HTTP/1.1"
    timeout = 10  # a verification takes less than a second; no thread outlives the run

    def do_GET(self) -> None:
        """One echo."""
        self._echo(self.headers.items())

    def do_POST(self) -> None:
        """One echo, with what the body was."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._echo([*self.headers.items(), (BODY_HEADER, describe_body(body))])

    def _echo(self, pairs: list[tuple[str, str]]) -> None:
        body = json.dumps(pairs).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the run's output is the table."""


@contextmanager
def echo_origin() -> Iterator[int]:
    """The port of a running echo server; stopped at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EchoHandler)
    thread = threading.Thread(target=server.serve_forever, name="echo origin", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
