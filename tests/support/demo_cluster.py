"""Real app servers for tests: ``with DemoCluster(tmp_path) as cluster``, and requests to them or to a proxy before them."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.process import WAIT_S
from wsproxy.demo.cluster import THREE_SERVERS, DemoCluster, DemoServer, ServerSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; ``cookie`` is the value of its JSESSIONID, None where it set none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.body)
        return value

    @property
    def cookie(self) -> str | None:
        found = re.match("JSESSIONID=([^;]*)", self.headers.get("Set-Cookie", ""))
        return found[1] if found else None


def ask(
    url: str,
    path: str = "/app/json",
    *,
    cookie: str | None = None,
    headers: Mapping[str, str] = {},
    method: str = "GET",
) -> Answer:
    """A request on a connection of its own; ``cookie`` is the value of JSESSIONID."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    sent = dict(headers)
    if cookie is not None:
        sent["Cookie"] = f"JSESSIONID={cookie}"
    with closing(
        http.client.HTTPConnection(parts.hostname, parts.port, timeout=WAIT_S)
    ) as connection:
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())


@dataclass(slots=True)
class Client:
    """A browser with one cookie: sends it, and takes over what comes back."""

    cookie: str | None = None
    answers: list[Answer] = field(default_factory=list)

    def ask(self, url: str, path: str = "/app/json") -> dict[str, Any]:
        """The JSON of a 200."""
        answer = ask(url, path, cookie=self.cookie)
        assert answer.status == http.HTTPStatus.OK, answer
        self.answers.append(answer)
        self.cookie = answer.cookie or self.cookie
        return answer.json


def session_of(cookie: str | None) -> str:
    """The 23 characters that name the session."""
    assert cookie is not None
    return cookie[4:27]


def open_connection(server: DemoServer) -> socket.socket:
    """A plain TCP connection to an app server, with a time-out."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=WAIT_S)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What came up to and including ``end``; fails if the server closes before."""
    read = b""
    while end not in read:
        part = connection.recv(65536)
        assert part, f"closed before {end!r} came; it sent {read!r}"
        read += part
    return read


@contextmanager
def started_cluster(directory: Path, *specs: ServerSpec) -> Iterator[DemoCluster]:
    """A running cluster of ``specs``, or of s1 to s3; none of its processes is left afterwards."""
    with DemoCluster(directory, specs or THREE_SERVERS) as cluster:
        yield cluster
    assert not any(server.is_running for server in cluster.servers)
