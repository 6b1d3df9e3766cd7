"""
The sweeps of a worker: some times a second it looks at deadlines, at who waits, and at what was left for later.

Made by ``dataplane.worker``. What a sweep does is the worker's to say; must not depend on a wake-up that may be lost: a call of the event
loop needs memory, so a task that sleeps may sleep for ever where there is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

from wsproxy._fast.net.poller import Poller
from wsproxy._fast.net.ticker import Ticker

log = logging.getLogger("wsproxy.worker")

# How often deadlines are looked at: they are coarse on purpose, one walk instead of a timer a request.
SWEEP_S = 0.25


class Sweeper:
    """Begins a round at each tick, unless one still runs; requests have their turn after each of its steps."""

    def __init__(
        self, poller: Poller, make_round: Callable[[], Iterator[None]], every_s: float = SWEEP_S
    ) -> None:
        """``make_round()``: the steps of one sweep; what it raises ends that one only. Sweeps begin now."""
        self._loop = asyncio.get_running_loop()
        self._make_round = make_round
        self._round: Iterator[None] | None = None
        self._is_called = False  # by the loop, once this turn is over
        self._ticker = Ticker(poller, every_s, self._tick)

    def close(self) -> None:
        """No more sweeps."""
        self._ticker.close()
        self._round = None

    def _tick(self) -> None:
        self._is_called = False  # or the call was lost
        self._step()

    def _go_on(self) -> None:
        if self._is_called:
            self._is_called = False
            if self._round is not None:
                self._step()

    def _step(self) -> None:
        try:
            if self._round is None:
                self._round = self._make_round()
            next(self._round)
        except StopIteration:
            self._round = None
        except Exception:  # above all a MemoryError, of whatever asks for memory first
            self._round = None
            log.exception("internal error at a sweep; the next one follows")
        else:
            with suppress(MemoryError):
                self._loop.call_soon(self._go_on)
                self._is_called = True
