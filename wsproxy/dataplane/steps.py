"""
Long work in short steps: a generator that yields wherever somebody else may have a turn, and returns what it made.

Driven by ``dataplane.arrival`` on a worker's event loop, where requests have their turn between two steps; by everybody else
at once (``at_once``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import TypeVar

_MadeT = TypeVar("_MadeT")
Steps = Generator[None, None, _MadeT]

# What requests may be kept waiting for at a time; a step is a part of it.
TURN_S = 0.001


def at_once(steps: Steps[_MadeT]) -> _MadeT:
    """What the steps make, without anybody else having a turn."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: _MadeT = end.value
            return made


async def in_turns(steps: Steps[_MadeT]) -> _MadeT:
    """The same on an event loop: after a millisecond of it others have their turn."""
    while True:
        until = time.perf_counter() + TURN_S
        try:
            while time.perf_counter() < until:
                next(steps)
        except StopIteration as end:
            made: _MadeT = end.value
            return made
        await asyncio.sleep(0)
