"""Sockets that a program is given: those of an address, in their order, once."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.forks import run_forked
from wsproxy.errors import StartError
from wsproxy.process.given import FIRST_FD, GivenSocket, GivenSockets, from_systemd


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def given(stack: ExitStack, host: str, port: int, wanted: int = -1, place: int = 0) -> GivenSocket:
    sock = stack.enter_context(socket.socket())
    return GivenSocket(sock, host, port, port if wanted < 0 else wanted, can_grow=True, place=place)


def test_all_of_an_address_are_taken_in_their_order_and_once(stack: ExitStack) -> None:
    sockets = [given(stack, "127.0.0.1", 80, place=at) for at in range(3)]
    other = given(stack, "127.0.0.2", 80)
    found = GivenSockets([sockets[0], other, *sockets[1:]])
    assert found.take("127.0.0.1", 80) == sockets
    assert found.take("127.0.0.1", 80) == []
    assert list(found) == [other]


@pytest.mark.parametrize("host", ["::", "0.0.0.0"])
def test_all_addresses_are_one_socket_of_either_family(stack: ExitStack, host: str) -> None:
    one = given(stack, host, 80)
    assert GivenSockets([one]).take("127.0.0.1", 80) == []
    assert GivenSockets([one]).take("", 80) == [one]


def test_any_port_is_one_that_was_opened_as_any(stack: ExitStack) -> None:
    """Two listeners with port 0 have two ports, and each gets its own again."""
    named = given(stack, "127.0.0.1", 7)
    first = [given(stack, "127.0.0.1", 8, 0), given(stack, "127.0.0.1", 8, 0)]
    second = given(stack, "127.0.0.1", 9, 0)
    found = GivenSockets([named, first[0], second, first[1]])
    assert found.take("127.0.0.1", 0) == first
    assert found.take("127.0.0.1", 0) == [second]
    assert found.take("127.0.0.1", 0) == []


def activated(*kinds: str) -> str:
    """In a process of its own, whose descriptors from 3 on are such sockets: what ``from_systemd`` makes of them."""

    def run(_worker: int) -> str:
        fds = []
        for kind in kinds:
            sock = socket.socket(
                type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
            )
            sock.bind(("127.0.0.1", 0))
            if kind == "listening":
                sock.listen()
            fds.append(fcntl.fcntl(sock.detach(), fcntl.F_DUPFD, 100))  # out of the way
        for at, fd in enumerate(fds):
            os.dup2(fd, FIRST_FD + at, inheritable=True)
        environ = {"LISTEN_PID": "77", "LISTEN_FDS": str(len(kinds)), "LISTEN_FDNAMES": "web"}
        try:
            found = from_systemd(environ, 77)
        except StartError as error:
            return f"{error}; {environ}"
        text = " ".join(
            f"{each.name or '-'} {each.sock.fileno()} {each.can_grow} {os.get_inheritable(each.sock.fileno())}"
            for each in found
        )
        return f"{text}; {environ}"

    text: str
    [text] = run_forked(run, 1)
    return text


def test_sockets_of_systemd_are_those_from_3_on() -> None:
    assert activated("listening", "listening") == "web 3 False False - 4 False False; {}"


@pytest.mark.parametrize("kind", ["datagram", "bound"])
def test_what_is_no_listening_socket_is_refused(kind: str) -> None:
    text = activated("listening", kind)
    assert text.startswith(
        "LISTEN_FDS: descriptor 4: found another kind of socket; allowed is a listening TCP socket"
    )


def test_variables_for_another_process_mean_nothing() -> None:
    environ = {"LISTEN_PID": "78", "LISTEN_FDS": "1"}
    assert from_systemd(environ, 77) == []
    assert environ == {}
