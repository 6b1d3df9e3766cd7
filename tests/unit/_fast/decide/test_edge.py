"""``[[edge]]``: which tables fit a request, and what becomes of it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy._fast.decide.edge import Edge, EdgeAct, EdgeTable, ask_edges, edit_own_answer
from wsproxy._fast.http.paths import is_ambiguous_path, read_path_as, tidied_path
from wsproxy.config.settings_file import parse_settings
from wsproxy.dataplane.edges import build_edges

pytestmark = pytest.mark.asan

CLUSTERS = ["shop", "pay"]


def tables(text: str) -> EdgeTable:
    built = build_edges(parse_settings(text, Path("wsproxy.toml")), CLUSTERS)
    assert built is not None
    return built


def head(
    target: bytes = b"/x", host: bytes | None = b"www.example.com", method: bytes = b"GET"
) -> bytes:
    if host is None:
        return b"%b %b HTTP/1.0\r\n\r\n" % (method, target)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)


def fit(table: EdgeTable, data: bytes, **how: object) -> list[int]:
    """Numbers of the tables that fit."""
    mask = ask_edges(table, data, **how)[0]  # type: ignore[arg-type]
    return [at for at in range(64) if mask >> at & 1]


# --- selection ----------------------------------------------------------------------------------------------------------


def test_each_part_of_a_selection_must_fit() -> None:
    table = tables(
        """
        [[edge]]
        allow = ["all"]
        [[edge]]
        listener = ":80"
        allow = ["all"]
        [[edge]]
        listener = "10.0.0.1:80"
        allow = ["all"]
        [[edge]]
        ports = [443, 8443]
        allow = ["all"]
        [[edge]]
        scheme = "https"
        allow = ["all"]
        [[edge]]
        clusters = ["pay"]
        allow = ["all"]
        [[edge]]
        ports = [80]
        scheme = "http"
        hosts = ["www.example.com"]
        paths = ["/x"]
        clusters = ["shop"]
        allow = ["all"]
        """
    )
    assert fit(table, head(), local_port=80) == [0, 1]
    assert fit(table, head(), local_port=80, local_host=b"10.0.0.1") == [0, 1, 2]
    assert fit(table, head(), local_port=8443) == [0, 3]
    assert fit(table, head(), local_port=8443, secure=True) == [0, 3, 4]
    assert fit(table, head(), local_port=1, cluster=1) == [0, 5]
    assert fit(table, head(), local_port=80, cluster=0) == [0, 1, 6]
    assert fit(table, head(b"/y"), local_port=80, cluster=0) == [0, 1]
    assert fit(table, head(host=b"other"), local_port=80, cluster=0) == [0, 1]


@pytest.mark.parametrize(
    ("listener", "came_to"),
    [
        ("[2001:DB8:0::1]:80", b"2001:db8::1"),
        ("[::ffff:10.0.0.1]:80", b"10.0.0.1"),
        ("[::]:80", b"2001:db8::1"),
        ("0.0.0.0:80", b"10.0.0.1"),
    ],
)
def test_listener_is_an_address_however_it_is_written(listener: str, came_to: bytes) -> None:
    table = tables(f'[[edge]]\nlistener = "{listener}"\nallow = ["all"]')
    assert fit(table, head(), local_port=80, local_host=came_to) == [0]
    assert fit(table, head(), local_port=81, local_host=came_to) == []


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("www.example.com", b"www.example.com", True),
        ("WWW.example.com", b"www.EXAMPLE.com:8080", True),
        ("www.example.com", b"www.example.com.", True),
        ("www.example.com", b"example.com", False),
        ("*.example.com", b"a.b.example.com", True),
        ("*.example.com", b"example.com", False),
        ("*.example.com", b"badexample.com", False),
        ("[::1]", b"[::1]:80", True),
    ],
)
def test_hosts_are_compared_as_those_of_virtual_hosts(
    pattern: str, host: bytes, fits: bool
) -> None:
    table = tables(f'[[edge]]\nhosts = ["{pattern}"]\nallow = ["all"]')
    assert (fit(table, head(host=host)) == [0]) is fits


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/app", b"/app", True),
        ("/app", b"/app/", False),
        ("/app", b"/app?x=/y", True),
        ("/app/*", b"/app", True),
        ("/app/*", b"/app/", True),
        ("/app/*", b"/app/x/y", True),
        ("/app/*", b"/application", False),
        ("/app*", b"/application", True),
        ("*.jsp", b"/a/b.jsp", True),
        ("*.jsp", b"/a/b.jsp;jsessionid=1", True),
        ("/a/*.jsp", b"/b/b.jsp", False),
        ("/a*a", b"/a", False),
        ("*", b"/", True),
        ("/*", b"/", True),
        # As a server reads it:
        ("/admin/*", b"/%61dmin/x", True),
        ("/admin/*", b"//admin/x", True),
        ("/admin/*", b"/x/../admin/x", True),
        ("/admin/*", b"/x/%2e%2e/admin/x", True),
        ("/admin/*", b"/x/..;y=1/admin/x", True),
        ("/admin/*", b"/./admin;a/x", True),
        ("/admin/*", b"/x%2f..%2fadmin/x", True),
        ("/public/*", b"/public/../admin/x", False),
    ],
)
def test_paths_are_compared_decoded_and_tidied(pattern: str, path: bytes, fits: bool) -> None:
    table = tables(f'[[edge]]\npaths = ["{pattern}"]\nallow = ["all"]')
    assert (fit(table, head(path)) == [0]) is fits


def test_what_is_no_head_fits_tables_that_ask_for_nothing_in_it() -> None:
    table = tables(
        """
        [[edge]]
        ports = [80]
        headers.set = { "A" = "b" }
        [[edge]]
        hosts = ["www.example.com"]
        headers.set = { "A" = "b" }
        [[edge]]
        paths = ["*"]
        headers.set = { "A" = "b" }
        """
    )
    assert ask_edges(table, b"\0", local_port=80) == (1, EdgeAct.EDGE_PASSES, -1, b"")


def tidied(path: bytes) -> bytes:
    """The oracle: segments without their parameters, decoded, then resolved."""
    without_params = b"".join(
        re.sub(rb";.*", b"", each, flags=re.DOTALL) if at % 2 == 0 else each
        for at, each in enumerate(re.split(rb"(/|%2[fF])", path))
    )
    found: list[bytes] = []
    segments = unquote_to_bytes(without_params).split(b"/")[1:]
    for each in segments:
        if each == b"..":
            found[-1:] = []
        elif each not in (b"", b"."):
            found.append(each)
    tail = b"/" if found and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(found) + tail


@given(
    st.lists(
        st.sampled_from(
            [
                b"/",
                b".",
                b"..",
                b"a",
                b"%2e",
                b"%2F",
                b"%2f",
                b";",
                b"%61",
                b"%",
                b"%4",
                b"b=",
                b"%3b",
            ]
        ),
        max_size=12,
    )
)
def test_tidied_path_is_what_the_oracle_says(parts: list[bytes]) -> None:
    path = b"/" + b"".join(parts)
    assert tidied_path(path) == tidied(path)


@pytest.mark.parametrize(
    "path",
    [
        b"/app/admin/..%2fx",  # `%2F` is no slash: still below /app/admin
        b"/app/admin/%2e%2e%2Fx",
        b"/app/admin/a//../../x",  # RFC 3986 takes back the empty segment first
        b"/app/admin/;/../../app/x",
        b"/app/admin/../x",  # not resolved at all
        b"/app/admin%3bx",  # decoded before parameters are taken off
        b"/app/admin%5cx",
        b"/app/x%5c..%5cadmin/x",
        b"/app/admin%00.txt",
        b"/app/admin%2Fx",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        """
        [[edge]]
        paths = ["/app/admin/*"]
        deny = ["all"]
        """,
        """
        [[edge]]
        paths = ["/app/x/*", "/app/app/*"]
        allow = ["all"]
        [[edge]]
        paths = ["/app/admin/*"]
        allow = ["10.0.0.0/8"]
        """,
    ],
    ids=["deny", "allow"],
)
def test_no_spelling_leads_past_a_list_at_a_server_that_reads_it_otherwise(
    text: str, path: bytes
) -> None:
    """Each reading of the path must be allowed, not only ours."""
    table = tables(text)
    assert ask_edges(table, head(path))[1] == EdgeAct.EDGE_DENIES
    assert ask_edges(table, head(path), peer=b"")[1] == EdgeAct.EDGE_PASSES  # nobody asks


@pytest.mark.parametrize(
    "path",
    [b"/app/a//b", b"/app/x/../y", b"/app/%2e/x", b"/app/x%2fy", b"/app/administer", b"*"],
)
def test_ambiguous_path_that_no_reading_denies_passes(path: bytes) -> None:
    table = tables('[[edge]]\npaths = ["/app/admin/*"]\ndeny = ["all"]')
    assert ask_edges(table, head(path, method=b"OPTIONS"))[1] == EdgeAct.EDGE_PASSES


def read(path: bytes, reading: int) -> bytes:
    """The oracle of ``read_path``: one habit after the other on the whole path."""
    slash, merge, dots, odd = (bool(reading & bit) for bit in (1, 2, 4, 8))
    raw = path.replace(b"\\", b"/") if odd else path
    raw = re.sub(rb"%5[cC]", b"%2f" if slash else b"/", raw) if odd else raw
    raw = re.split(rb"%00|\0", raw)[0] if odd else raw
    parts = re.split(rb"/|%2[fF]" if slash else rb"/", raw)[1:]
    parts = [re.split(rb";|%3[bB]" if odd else rb";", each)[0] for each in parts]
    parts = [
        b"%2f".join(unquote_to_bytes(piece) for piece in re.split(rb"%2[fF]", each))
        for each in parts
    ]
    found: list[bytes] = []
    for at, each in enumerate(parts):
        is_last = at == len(parts) - 1
        if dots and each in (b".", b".."):
            if each == b"..":
                found[-1:] = []
            if is_last:
                found.append(b"")
        elif each or not merge or is_last:
            found.append(each)
    return b"/" + b"/".join(found)


@given(
    st.lists(
        st.sampled_from(
            [b"/", b".", b"..", b"a", b"%2e", b"%2F", b";", b"%61", b"%3B", b"%5c", b"\\", b"%00"]
        ),
        max_size=12,
    ),
    st.integers(min_value=0, max_value=15),
)
def test_each_reading_is_what_the_oracle_says(parts: list[bytes], reading: int) -> None:
    path = b"/" + b"".join(parts)
    assert read_path_as(path, reading) == read(path, reading)


@given(st.lists(st.sampled_from([b"/", b"a", b"b.c", b"%61", b"%20", b"d;x=1"]), max_size=9))
def test_path_that_is_not_ambiguous_has_one_reading(parts: list[bytes]) -> None:
    """Else looking at one would not be enough."""
    path = b"/" + b"".join(parts)
    if not is_ambiguous_path(path):
        assert len({read_path_as(path, reading) for reading in range(16)}) == 1


# --- duties -------------------------------------------------------------------------------------------------------------


def test_first_table_that_has_the_duty_decides() -> None:
    """An exception stands before what it is an exception of."""
    table = tables(
        """
        [[edge]]
        paths = ["/.well-known/acme-challenge/*"]
        redirect = "none"
        [[edge]]
        paths = ["/status"]
        allow = ["192.0.2.7"]
        [[edge]]
        redirect = "https"
        deny = ["192.0.2.7"]
        """
    )
    assert ask_edges(table, head(b"/.well-known/acme-challenge/1"))[1] == EdgeAct.EDGE_PASSES
    assert ask_edges(table, head())[1:] == (EdgeAct.EDGE_REDIRECTS, 2, b"https://www.example.com/x")
    assert ask_edges(table, head(), peer=b"192.0.2.7")[1:3] == (EdgeAct.EDGE_DENIES, 2)
    assert (
        ask_edges(table, head(b"/status"), peer=b"192.0.2.7", secure=True)[1] == EdgeAct.EDGE_PASSES
    )
    assert ask_edges(table, head(b"/status"), peer=b"192.0.2.8")[1:3] == (EdgeAct.EDGE_DENIES, 1)


@pytest.mark.parametrize(
    ("redirect", "asked", "secure", "location"),
    [
        ('"https"', head(), False, b"https://www.example.com/x"),
        ('"https"', head(), True, b""),
        ('"https"', head(b"/a%20b;c?d=/%2F"), False, b"https://www.example.com/a%20b;c?d=/%2F"),
        ('"https"', head(host=b"www.example.com:8080"), False, b"https://www.example.com/x"),
        ('"https"', head(host=b"[2001:db8::1]:80"), False, b"https://[2001:db8::1]/x"),
        ('"https"', head(b"//evil.example/x"), False, b"https://www.example.com//evil.example/x"),
        ('"https"', head(b"http://other.example/x?y", b"www.example.com"), False, b"https://other.example/x?y"),
        ('"https"', head(b"*", method=b"OPTIONS"), False, b"https://www.example.com/"),
        ('{ to = "https", port = 8443 }', head(), False, b"https://www.example.com:8443/x"),
        ('{ to = "https", port = 443 }', head(), False, b"https://www.example.com/x"),
        ('{ to = "http" }', head(), True, b"http://www.example.com/x"),
        ('{ to = "http" }', head(), False, b""),
        ('{ host = "www.example.com" }', head(), False, b""),
        ('{ host = "www.example.com" }', head(host=b"WWW.Example.com:80"), False, b""),
        ('{ host = "www.example.com" }', head(host=b"example.com:8080"), False, b"http://www.example.com/x"),
        ('{ host = "www.example.com" }', head(host=b"example.com"), True, b"https://www.example.com/x"),
        ('{ host = "www.example.com" }', head(host=None), False, b"http://www.example.com/x"),
        ('{ to = "https", host = "www.example.com" }', head(), False, b"https://www.example.com/x"),
        ('{ to = "https", host = "www.example.com" }', head(), True, b""),
        ('{ path = "/app/" }', head(b"/"), False, b"http://www.example.com/app/"),
        ('{ path = "/app/" }', head(b"/", b"www.example.com:8080"), False, b"http://www.example.com:8080/app/"),
        ('{ path = "/app/" }', head(b"/app/"), False, b""),
        ('{ port = 8080 }', head(), False, b"http://www.example.com:8080/x"),
        ('{ port = 8080 }', head(host=b"www.example.com:8080"), False, b""),
    ],
)  # fmt: skip
def test_redirect_leads_where_its_table_says_and_never_to_where_it_is(
    redirect: str, asked: bytes, secure: bool, location: bytes
) -> None:
    act = EdgeAct.EDGE_REDIRECTS if location else EdgeAct.EDGE_PASSES
    table = tables(f"[[edge]]\nredirect = {redirect}")
    assert ask_edges(table, asked, secure=secure)[1:] == (act, 0 if location else -1, location)


def test_redirect_needs_a_host() -> None:
    """One that is made up, of an address of our own, would be kept by caches."""
    table = tables('[[edge]]\nredirect = "https"')
    assert ask_edges(table, head(host=None))[1] == EdgeAct.EDGE_NO_HOST


SENDS_ON = tables('[[edge]]\nredirect = "https"\n[[edge]]\nredirect = { to = "http" }')
_BITS = [
    b"/",
    b"//",
    b"\\",
    b"evil.example",
    b"@",
    b":",
    b"%0d%0a",
    b"%2f",
    b"?",
    b"#",
    b"http:",
    b"..",
    b"a",
    b";",
]


@given(
    st.lists(st.sampled_from(_BITS), max_size=8),
    st.sampled_from([b"", b"http://own.example", b"https://own.example:81"]),
    st.booleans(),
)
def test_no_target_leads_to_another_host(parts: list[bytes], form: bytes, secure: bool) -> None:
    """Whatever stands in the target, the new address is the same path at the host that the request names."""
    target = b"/" + b"".join(parts)
    _, act, _, location = ask_edges(SENDS_ON, head(form + target, b"own.example"), secure=secure)
    if act != EdgeAct.EDGE_REDIRECTS:  # what is no head is refused, not redirected
        return
    assert urlsplit(location).hostname == b"own.example"
    assert b"\r" not in location
    assert b"\n" not in location
    assert location == (b"http" if secure else b"https") + b"://own.example" + target


@given(
    st.lists(st.ip_addresses(), min_size=1, max_size=3),
    st.lists(st.tuples(st.booleans(), st.integers(0, 32), st.integers(0, 3)), max_size=4),
)
def test_allow_and_deny_are_what_ipaddress_says(
    clients: list[ipaddress.IPv4Address | ipaddress.IPv6Address], rows: list[tuple[bool, int, int]]
) -> None:
    """Deny wins; who is not in a list of allowed ones is denied, too."""
    lists: dict[bool, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {True: [], False: []}
    for is_allow, bits, at in rows:
        base = clients[at % len(clients)]
        network = ipaddress.ip_network(f"{base}/{bits}", strict=False)
        lists[is_allow].append(network)
    text = "".join(
        f"{name} = {[str(each) for each in lists[is_allow]]}\n"
        for name, is_allow in (("allow", True), ("deny", False))
    )
    table = tables(f"[[edge]]\nheaders.remove = ['X']\n{text}")

    def within(
        client: object, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]
    ) -> bool:
        return any(
            each.version == client.version and client in each  # type: ignore[attr-defined]
            for each in networks
        )

    for client in clients:
        if getattr(client, "ipv4_mapped", None):
            continue
        allowed = not within(client, lists[False]) and (
            not lists[True] or within(client, lists[True])
        )
        act = ask_edges(table, head(), peer=str(client).encode())[1]
        assert act == (EdgeAct.EDGE_PASSES if allowed else EdgeAct.EDGE_DENIES)
        if client.version == 4:
            mapped = f"::ffff:{client}".encode()
            assert ask_edges(table, head(), peer=mapped)[1] == act


def test_client_without_an_address_is_allowed_by_no_list() -> None:
    table = tables('[[edge]]\nallow = ["all"]')
    assert ask_edges(table, head(), peer=b"unknown")[1] == EdgeAct.EDGE_DENIES


def test_maintenance_is_on_by_setting_or_by_word_but_not_for_everybody() -> None:
    table = tables(
        """
        [[edge]]
        clusters = ["pay"]
        maintenance_on = true
        maintenance_allow = ["10.0.0.0/8"]
        """
    )
    shop, pay = {"cluster": 0}, {"cluster": 1}
    assert ask_edges(table, head(), **pay)[1:3] == (EdgeAct.EDGE_MAINTENANCE, 0)  # type: ignore[arg-type]
    assert ask_edges(table, head(), peer=b"10.1.1.1", **pay)[1] == EdgeAct.EDGE_PASSES  # type: ignore[arg-type]
    assert ask_edges(table, head(), **shop)[1] == EdgeAct.EDGE_PASSES  # type: ignore[arg-type]
    word = ask_edges(table, head(), is_maintained=True, **shop)  # type: ignore[arg-type]
    assert word[1:3] == (EdgeAct.EDGE_MAINTENANCE, -1)
    assert (
        ask_edges(table, head(), peer=b"10.1.1.1", is_maintained=True, **pay)[1]  # type: ignore[arg-type]
        == EdgeAct.EDGE_PASSES
    )


def test_fields_of_all_tables_are_joined_and_the_first_has_the_last_word_on_a_name() -> None:
    table = tables(
        """
        [[edge]]
        headers.remove = ["Server"]
        headers.set = { "X-A" = "1" }
        [[edge]]
        headers.set = { "x-a" = "2", "X-B" = "2" }
        headers.add = { "Link" = "<b>" }
        [[edge]]
        headers.add = { "Link" = "<c>", "Server" = "c" }
        """
    )
    ours = b"HTTP/1.1 200 OK\r\nSERVER: s\r\nX-A: 0\r\nServers: kept\r\nx-b:0\r\nLink: <s>\r\n\r\nX-A: body\r\n\r\n"
    assert edit_own_answer(table, 0b111, ours) == (
        b"HTTP/1.1 200 OK\r\nServers: kept\r\nLink: <s>\r\nX-A: 1\r\nX-B: 2\r\nLink: <b>\r\nLink: <c>\r\n\r\nX-A: body\r\n\r\n"
    )
    assert b"x-a: 2\r\n" in edit_own_answer(table, 0b110, ours)
    assert b"Server: c\r\n" in edit_own_answer(table, 0b100, ours)
    assert edit_own_answer(table, 0, ours) == ours


def test_more_tables_than_a_word_has_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="65 tables; allowed are up to 64"):
        EdgeTable(tuple(Edge() for _ in range(65)))
