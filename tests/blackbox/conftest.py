"""One running proxy for all tests of a module; each test takes an origin of its own. And lanes that end with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.support.proxy import Lane, MakeLane, Proxy, running_proxy
from tests.support.proxy import lane as make_lane

# More than the tests of any module.
LANES = 120
# Short where a test waits for one, long where a test on a busy machine must not run into one.
SETTINGS = """
[timeouts]
head_s = 30
body_s = 30
"""


@dataclass(slots=True)
class Shared:
    """A proxy and the lanes that nobody used yet."""

    proxy: Proxy
    fresh: Iterator[Lane]
    silent: Lane  # whose server must hear nothing

    @property
    def port(self) -> int:
        return self.proxy.port

    def lane(self) -> Lane:
        """A cluster with one server that no other test sees."""
        return next(self.fresh)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["1w", "2w"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    """A proxy with one worker, then one with two."""
    silent = make_lane("silent")
    lanes = [make_lane(f"lane{number}") for number in range(LANES)]
    async with running_proxy([silent, *lanes], workers=request.param, settings=SETTINGS) as proxy:
        yield Shared(proxy, iter(lanes), silent)


@pytest.fixture
def lane() -> Iterator[MakeLane]:
    """``tests.support.proxy.lane``, but the servers end with the test."""
    made: list[Lane] = []

    def make(name: str, members: int = 1, attributes: str = "", server: str = "") -> Lane:
        made.append(make_lane(name, members, attributes, server))
        return made[-1]

    yield make
    for each in made:
        for member in each.members:
            member.origin.close()
