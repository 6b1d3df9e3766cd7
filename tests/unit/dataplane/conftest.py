"""Every test of the data plane runs on both loops."""

from collections.abc import Iterator

import pytest

from tests.support.loops import no_socket_left, pytest_asyncio_loop_factories
from wsproxy._fast.net import libssl

__all__ = ["no_socket_left", "pytest_asyncio_loop_factories"]


@pytest.fixture(params=["libssl", "python"])
def tls_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of TLS records: by the TLS library itself, where this Python allows that, and through the ssl module."""
    was_used = libssl.is_used()
    if not was_used and request.param == "libssl":
        pytest.skip("this Python's ssl module is not known from inside")
    libssl.use(request.param == "libssl")
    yield
    libssl.use(was_used)
