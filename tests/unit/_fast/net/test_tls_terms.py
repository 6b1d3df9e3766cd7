"""Which certificate is shown to whom; the way through OpenSSL is in tests/blackbox/test_tls_clients.py."""

from __future__ import annotations

import ssl

import pytest

from wsproxy._fast.net import libssl
from wsproxy._fast.net.tls_terms import Certificates, Terms

pytestmark = pytest.mark.asan

FIRST, SHOP, WILD = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(3))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, FIRST),
        ("", FIRST),
        (".", FIRST),
        ("other", FIRST),
        ("shop.example", SHOP),
        ("Shop.Example.", SHOP),
        ("a.shop.example", WILD),
        ("a.b.shop.example", FIRST),
        ("*.shop.example", WILD),
        (".shop.example", WILD),
    ],
)
def test_context_follows_the_name(name: str | None, expected: ssl.SSLContext) -> None:
    shown = Certificates({"shop.example": SHOP, "*.shop.example": WILD}, FIRST)
    assert shown.find(name) is expected


@pytest.mark.skipif(not libssl.owns(), reason="this Python's ssl module is not known from inside")
def test_only_a_context_of_the_ssl_module_is_looked_into() -> None:
    assert Terms(FIRST, Certificates({}, FIRST)).context is FIRST
    with pytest.raises(ValueError, match="context of another kind"):
        Terms(object())  # type: ignore[arg-type]


def test_the_way_can_be_chosen_where_there_is_one() -> None:
    owned, used = libssl.owns(), libssl.is_used()
    try:
        assert libssl.own(False) is False
        assert libssl.way() == ("loop" if used else "python")
        assert libssl.own(True) is owned
        assert libssl.way() == ("sockets" if owned else "loop" if used else "python")
    finally:
        libssl.own(owned)
