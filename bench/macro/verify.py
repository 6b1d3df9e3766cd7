"""
The proof, before anything is measured, that a proxy does its duty: complaints, none if it does.

Driven by ``bed``. Real requests, the same ones that wrk sends, through the proxy to the upstream that is measured.
"""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.macro import traffic
from bench.macro.cputime import ProcessStat
from bench.macro.render import Addresses
from bench.macro.scenarios import Scenario

ANSWER_S = 5.0
CHECK_PATH = "/app/check"
SESSIONS_TRIED = 4  # for each clone
NEW_VISITORS = (
    12  # round robin over two servers shows both long before that; random misses one in 2048 runs
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got; ``upstream_port`` is None where no upstream answered."""

    status: int
    body: bytes
    upstream_port: int | None
    closes: bool


def complaints(scenario: Scenario, addresses: Addresses, listen_port: int) -> list[str]:
    """Every duty that the proxy on ``listen_port`` does not do; empty if it does all."""
    found: list[str] = []
    try:
        with _connection(listen_port) as connection:
            found += _affinity_complaints(connection, scenario, addresses, listen_port)
            found += _header_complaints(connection, addresses, listen_port)
            found += _new_visitor_complaints(connection, scenario, addresses, listen_port)
    except (OSError, http.client.HTTPException, ValueError) as error:
        found.append(f"broke off: {type(error).__name__}: {error}")
    return list(dict.fromkeys(found))


def pinning_complaints(processes: Iterable[ProcessStat], core: int) -> list[str]:
    """The processes that may run elsewhere than on ``core``: a program may undo what taskset did."""
    found = []
    for process in processes:
        cores = os.sched_getaffinity(process.pid)
        if cores != {core}:
            found.append(
                f"process {process.pid} ({process.name}) may run on cores {sorted(cores)}, not only on {core}"
            )
    return found


def check_echo(pairs: list[list[str]], sent_cookie: str, listen_port: int) -> list[str]:
    """What is wrong with the request head that the app server saw, but for the port. Pure."""
    seen: dict[str, list[str]] = {}
    for name, value in pairs:
        seen.setdefault(name.lower(), []).append(value)
    expected = {
        name.lower(): value for name, value in traffic.expected_private_headers(listen_port).items()
    }
    found = [
        f"{name.upper()} is {seen.get(name, [])}, not [{value!r}]"
        for name, value in expected.items()
        if seen.get(name) != [value]
    ]
    found += [
        f"{name.upper()} of the client reached the app server"
        for name in seen
        if name.startswith(("$ws", "_ws_")) and name not in expected
    ]
    found += [
        f"{name} of the client arrived as {seen.get(name, [])}"
        for name, value in (("host", f"{traffic.HOST_NAME}:{listen_port}"), ("cookie", sent_cookie))
        if seen.get(name) != [value]
    ]
    return found


def _affinity_complaints(
    connection: http.client.HTTPConnection,
    scenario: Scenario,
    addresses: Addresses,
    listen_port: int,
) -> list[str]:
    found = []
    # one server's sessions after the other's: in turn, plain round robin would pass
    for clone_id, port in addresses.clones:
        for number in range(SESSIONS_TRIED):
            answer = _get(connection, scenario.path, listen_port, traffic.cookie(number, clone_id))
            found += _answer_complaints(answer, scenario.body_bytes)
            if answer.upstream_port != port:
                found.append(
                    f"a session of the server on {port} was answered from {answer.upstream_port}"
                )
    return found


def _new_visitor_complaints(
    connection: http.client.HTTPConnection,
    scenario: Scenario,
    addresses: Addresses,
    listen_port: int,
) -> list[str]:
    found = []
    ports = set()
    for number in range(NEW_VISITORS):
        answer = _get(connection, scenario.path, listen_port, traffic.cookie(number, None))
        found += _answer_complaints(answer, scenario.body_bytes)
        ports.add(answer.upstream_port)
    if ports != set(addresses.upstream_ports):
        found.append(f"requests without a session went to {ports} only")
    return found


def _header_complaints(
    connection: http.client.HTTPConnection, addresses: Addresses, listen_port: int
) -> list[str]:
    found = []
    served: list[int] = []  # how many requests the upstream connection had carried
    for clone_id, port in addresses.clones:
        for number in range(SESSIONS_TRIED):
            cookie = traffic.cookie(number, clone_id)
            answer = _get(connection, CHECK_PATH, listen_port, cookie, traffic.SPOOFED_HEADERS)
            if answer.status != http.HTTPStatus.OK:
                return [f"{CHECK_PATH} was answered with {answer.status}"]
            pairs: list[list[str]] = json.loads(answer.body)
            found += check_echo(pairs, cookie, listen_port)
            bench = dict(pairs)
            if bench["X-Bench-Upstream-Port"] != str(port):
                found.append(
                    f"a session of the server on {port} reached {bench['X-Bench-Upstream-Port']}"
                )
            served.append(int(bench["X-Bench-Connection-Requests"]))
    if max(served) == 1:
        found.append("upstream connections are not used again")
    return found


def _answer_complaints(answer: Answer, body_bytes: int) -> list[str]:
    found = []
    if answer.status != http.HTTPStatus.OK:
        found.append(f"status {answer.status}, not 200")
    if len(answer.body) != body_bytes:
        found.append(f"body of {len(answer.body)} bytes, not {body_bytes}")
    if answer.closes:
        found.append("closes the client's connection")
    return found


@contextmanager
def _connection(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        yield connection
    finally:
        connection.close()


def _get(
    connection: http.client.HTTPConnection,
    path: str,
    listen_port: int,
    cookie: str,
    more: tuple[tuple[str, str], ...] = (),
) -> Answer:
    connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
    for name, value in (*traffic.browser_headers(listen_port), ("Cookie", cookie), *more):
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    port = response.getheader("X-Upstream-Port")
    body = response.read()
    return Answer(
        response.status, body, int(port) if port is not None else None, response.will_close
    )
