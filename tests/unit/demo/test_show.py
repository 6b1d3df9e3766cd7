"""Addresses of the demo; the demo as a whole is tests/blackbox/test_demo.py."""

from __future__ import annotations

import re
import socket

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


def test_port_0_becomes_a_free_port() -> None:
    chosen = choose_address(Address("127.0.0.1", 0))
    assert chosen.host == "127.0.0.1"
    assert chosen.port > 0


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
