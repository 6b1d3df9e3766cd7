"""What the tests of several kinds of servers share."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["route", "other"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of the file: its CloneIDs are the names that servers write into session ids, or others."""
    return str(request.param)
