"""
For a conftest.py: every test beside it runs on asyncio's selector loop and on uvloop, which drive protocols differently.

Driven by tests/unit/dataplane and tests/unit/_fast/proxy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.support import wire


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    yield
    wire.close_all()
