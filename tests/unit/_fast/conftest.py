"""What tests of several floors stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """An engine without a loop; at the end nothing may be left."""
    made = Stage()
    yield made
    made.end()
