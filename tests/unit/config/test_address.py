"""HOST:PORT texts."""

from __future__ import annotations

import ipaddress

import pytest

from wsproxy.config.address import Address, is_loopback, is_own, parse_address, unmapped


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9080", "127.0.0.1", 9080),
        ("[::1]:80", "::1", 80),
        ("[::]:0", "::", 0),
        (":8080", "", 8080),
        ("app.example.com:65535", "app.example.com", 65535),
    ],
)
def test_listener_address_is_split_and_written_back(text: str, host: str, port: int) -> None:
    """Each allowed form gives host and port, and prints as it was written."""
    address = parse_address(text, is_listener=True)
    assert address == Address(host, port)
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("9080", "127.0.0.1:9080 or :9080"),
        ("localhost", "the port is missing"),
        ("", "the port is missing"),
        ("::1:80", "IPv6 in brackets"),
        ("[127.0.0.1]:80", "only IPv6"),
        ("http://localhost:80", "IPv6 in brackets"),
        ("a b:80", "without scheme, path or spaces"),
        ("[::1:80", "IPv6 in brackets"),
        ("localhost:http", "a port from 0 to 65535"),
        ("localhost:65536", "a port from 0 to 65535"),
        ("localhost:-1", "a port from 0 to 65535"),
        ("localhost:٣", "a port from 0 to 65535"),
    ],
)
def test_refused_address_says_what_was_found_and_what_is_allowed(text: str, hint: str) -> None:
    """The message teaches: the text found, and the form that is allowed."""
    with pytest.raises(ValueError, match=r"found .*allowed is") as refused:
        parse_address(text, is_listener=True)
    assert repr(text) in str(refused.value)
    assert hint in str(refused.value)


@pytest.mark.parametrize("text", [":80", "localhost:0"])
def test_server_address_needs_a_host_and_a_real_port(text: str) -> None:
    """What a listener may leave open, a server to talk to may not."""
    parse_address(text, is_listener=True)
    with pytest.raises(ValueError, match="allowed is HOST:PORT"):
        parse_address(text, is_listener=False)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("::FFFF:102:304", "1.2.3.4"),
        ("1.2.3.4", "1.2.3.4"),
        ("::1.2.3.4", "::102:304"),
        ("::ffff:0:102:304", "::ffff:0:102:304"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_only_ipv4_mapped_addresses_are_ipv4_addresses(text: str, plain: str) -> None:
    """Other forms with an IPv4 address in them are IPv6 addresses of their own (RFC 4291, 2.5.5)."""
    assert str(unmapped(ipaddress.ip_address(text))) == plain


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_loopback_is_this_machine_alone(host: str, loopback: bool) -> None:
    """A name may mean another machine tomorrow."""
    assert is_loopback(Address(host, 1)) is loopback


@pytest.mark.parametrize(
    ("host", "listener", "is_it"),
    [
        ("localhost", "", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::", True),
        ("::1", "::", True),
        ("[::1]", "", True),
        ("::1", "0.0.0.0", False),
        ("localhost", "127.0.0.1", True),
        ("localhost", "localhost", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("127.0.0.2", "", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "", False),  # another machine's, as far as we know
        ("app.example.com", "", False),
        ("app.example.com", "app.example.com", False),
        ("0.0.0.0", "", True),
        ("::", "", True),
        ("::", "0.0.0.0", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "10.0.0.5", False),
        ("Localhost", "", True),
        ("127.0.0.1", "::ffff:0.0.0.0", True),
        ("::1", "::ffff:0.0.0.0", False),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("::ffff:127.0.0.1", "0.0.0.0", True),
        ("", "", False),
    ],
)
def test_host_of_a_server_that_is_our_own_listener(host: str, listener: str, is_it: bool) -> None:
    assert is_own(host, Address(listener, 9080)) is is_it
