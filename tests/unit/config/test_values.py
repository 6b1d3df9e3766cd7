"""Values that are well-formed and hardly meant: what is said of each, and what nothing is said of."""

from __future__ import annotations

import pytest

from wsproxy.config.patterns import parse_virtual_host, uri_doubt, virtual_host_doubt
from wsproxy.config.values import (
    MOST_CONNECT_S,
    duration_doubt,
    host_flaw,
    in_words,
    is_windows_path,
    text_flaw,
)


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("a name", ""),
        ("", ""),
        ("größer", ""),
        (" name", ", which begins or ends with a blank; allowed is the same without"),
        ("name\t ", ", which has a control character in it; allowed is text without"),
        ("name\u00a0", ", which begins or ends with a blank; allowed is the same without"),
        ("/var/log\n", ", which has a line break in it; allowed is text without"),
        ("a\u2028b", ", which has a line break in it; allowed is text without"),
        ("a\x1bb", ", which has a control character in it; allowed is text without"),
    ],
)
def test_texts(text: str, flaw: str) -> None:
    assert text_flaw(text) == flaw


@pytest.mark.parametrize(
    "host",
    ["app1", "app_1.example", "app1.example.", "10.0.0.1", "::1", "[2001:db8::1]", "fe80::1%eth0"],
)
def test_hosts(host: str) -> None:
    assert host_flaw(host) is None


@pytest.mark.parametrize(
    ("host", "flaw"),
    [
        ("http://app1", ("has a scheme", '"app1"')),
        ("https://app1:9443/x", ("has a scheme", '"app1", and the port in Port')),
        ("http://[::1]:9080", ("has a scheme", '"[::1]", and the port in Port')),
        ("http://", ("has a scheme", "a host name or an address")),
        ("app1:9080", ("has a port", '"app1", and the port in Port')),
        ("[::1]:9080", ("has a port", '"[::1]", and the port in Port')),
        ("app1/shop", ("has a path", '"app1"')),
        (" app1", ("begins or ends with a blank", '"app1"')),
        ("app1\n", ("has a line break in it", '"app1"')),
        ("app 1", ("has a blank in it", "a host name or an address")),
        ("[::1", ("has a character that no host name has", "a host name or an address")),
        ("app1,app2", ("has a character that no host name has", "a host name or an address")),
    ],
)
def test_what_is_no_host(host: str, flaw: tuple[str, str]) -> None:
    """A name with more around it: what is meant is named."""
    assert host_flaw(host) == flaw


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59, "59 s"), (127.4, "2 min 7 s"), (3600, "1 h"), (60000, "16 h 40 min"), (3661, "1 h 1 min 1 s")],
)  # fmt: skip
def test_long_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_durations() -> None:
    """Up to what may be meant nothing is said; above it how long that is, and what was meant if it was milliseconds."""
    assert duration_doubt(MOST_CONNECT_S, MOST_CONNECT_S) == ""
    assert duration_doubt(-3600, 3600) == ""
    assert duration_doubt(200, 127) == ", which is 3 min 20 s; allowed is seconds"
    assert duration_doubt(-60000, 3600) == (
        ", which is 16 h 40 min; allowed is seconds: -60 where -60000 milliseconds were meant"
    )


def test_paths_of_windows() -> None:
    found = [r"C:\IBM\key.kdb", "d:/x", r"\\host\share"]
    assert all(map(is_windows_path, found))
    assert not any(map(is_windows_path, ["/opt/x", "x:y", "key.kdb", "C", "|rotatelogs C:/x"]))


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("/\u00fcber/*", '"/%C3%BCber/*", the path as clients send it'),
        ("/%c3%BCber/*", '"/%C3%BCber/*"'),
        ("/x%2f", '"/x%2F"'),
        ("/x;v=1", "a path without ;"),
        ("/x y", "a path as it is requested"),
    ],
)
def test_uris_that_no_request_has(uri: str, allowed: str) -> None:
    doubt = uri_doubt(uri)
    assert doubt is not None
    assert doubt[1] == allowed


@pytest.mark.parametrize("uri", ["/", "/a%20b/*", "*.jsp", "/%", "/%zz", "/a+b", "/A_b-c.~/*"])
def test_uris_that_requests_have(uri: str) -> None:
    assert uri_doubt(uri) is None


def test_virtual_hosts_are_what_clients_send() -> None:
    """A last dot is no part of the name; letters beyond ASCII are sent in another form."""
    assert parse_virtual_host("Shop.Example.:81").host == "shop.example"
    assert parse_virtual_host("shop.example.").host == "shop.example"
    doubt = virtual_host_doubt(parse_virtual_host("b\u00fccher.example:80"))
    assert doubt is not None
    assert doubt[1] == '"xn--bcher-kva.example", the name as clients send it'
    assert virtual_host_doubt(parse_virtual_host("xn--bcher-kva.example:80")) is None
