"""Every test of the data plane runs on both loops."""

from collections.abc import Iterator

import pytest

from tests.support.loops import no_socket_left, pytest_asyncio_loop_factories
from wsproxy._fast.net import libssl

__all__ = ["no_socket_left", "pytest_asyncio_loop_factories"]


@pytest.fixture(params=["sockets", "libssl", "python"])
def tls_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """All ways of TLS: clients on sockets of our own; the loop's, with records by the TLS library; through the ssl module."""
    owned, was_used = libssl.owns(), libssl.is_used()
    wanted = {"sockets": owned, "libssl": was_used, "python": True}
    if not wanted[request.param]:
        pytest.skip("this Python's ssl module is not known from inside")
    libssl.own(request.param == "sockets")
    libssl.use(request.param != "python")
    yield
    libssl.own(owned)
    libssl.use(was_used)
