"""How the tables of the matcher's tests come to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wsproxy._fast.decide.match import RouteTable

Make = Callable[..., RouteTable]


def mapped_copy(*rows: object, **options: object) -> RouteTable:
    """The table of these rows as another process has it: in memory that somebody else owns, at another place."""
    built: RouteTable = RouteTable(*rows, **options)  # type: ignore[arg-type]
    return RouteTable.mapped(bytes(built.flat()))


MAKERS: list[Make] = [RouteTable, mapped_copy]


@pytest.fixture(params=MAKERS, ids=["built", "mapped"])
def make(request: pytest.FixtureRequest) -> Make:
    """What makes a RouteTable of rows."""
    made: Make = request.param
    return made
