"""Addresses of the demo; the demo as a whole is tests/blackbox/test_demo.py."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from wsproxy.config.address import Address
from wsproxy.demo.show import choose_address, reachable
from wsproxy.errors import StartError


def test_a_taken_port_is_told_with_another_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"127.0.0.1:{port} is in use by another process.*--listen 127.0.0.1:{port + 1}"
        with pytest.raises(StartError, match=told):
            choose_address(Address("127.0.0.1", port))


def test_a_port_shared_by_another_proxy_counts_as_taken() -> None:
    """SO_REUSEPORT lets a second listener of the same user in, which would then get half of its requests."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=re.escape(str(port))):
            choose_address(Address("127.0.0.1", port))


def test_port_0_becomes_a_free_port_that_no_connection_is_given() -> None:
    """Nobody gets it between the choice and the start of the proxy, which a busy machine makes seconds of."""
    chosen = choose_address(Address("127.0.0.1", 0))
    assert chosen.host == "127.0.0.1"
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert 0 < chosen.port < first_given


def test_port_0_of_an_address_that_is_not_here_is_left_to_who_explains_it() -> None:
    assert choose_address(Address("192.0.2.7", 0)) == Address("192.0.2.7", 0)


@pytest.mark.parametrize(
    ("listen", "asked"),
    [
        ("", "127.0.0.1:80"),
        ("0.0.0.0", "127.0.0.1:80"),
        ("::", "[::1]:80"),
        ("localhost", "localhost:80"),
    ],
)
def test_a_listener_on_all_addresses_is_asked_on_loopback(listen: str, asked: str) -> None:
    assert str(reachable(Address(listen, 80))) == asked
