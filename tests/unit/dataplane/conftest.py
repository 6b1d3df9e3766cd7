"""Every test of the data plane runs on both loops."""

from tests.support.loops import no_socket_left, pytest_asyncio_loop_factories

__all__ = ["no_socket_left", "pytest_asyncio_loop_factories"]
