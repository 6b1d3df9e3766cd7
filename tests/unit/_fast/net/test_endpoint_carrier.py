"""A carrier by itself carries nothing."""

from __future__ import annotations

from wsproxy._fast.net.endpoint import Carrier
from wsproxy._fast.net.poller import PlainTransport
from wsproxy._fast.net.tls_socket import TlsTransport


def test_transports_of_ours_are_carriers() -> None:
    """By that streams know whom they may ask more than asyncio's."""
    assert issubclass(PlainTransport, Carrier)
    assert issubclass(TlsTransport, PlainTransport)
