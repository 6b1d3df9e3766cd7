"""Sweeps go on whatever fails, in one of them or around it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from wsproxy._fast.net.poller import Poller
from wsproxy._fast.net.stream import Hub
from wsproxy.dataplane.sweeper import Sweeper

EVERY_S = 0.002
PATIENCE_S = 30


def run_sweeps(
    make_round: Callable[[], Iterator[None]], loop: asyncio.AbstractEventLoop | None = None
) -> None:
    """Until a round stops the loop; a worker's own kind unless given."""

    async def start() -> tuple[Poller, Sweeper]:
        poller = Poller(Hub())
        return poller, Sweeper(poller, make_round, EVERY_S)

    loop = loop or uvloop.new_event_loop()
    try:
        poller, sweeper = loop.run_until_complete(start())
        signal.alarm(PATIENCE_S)
        try:
            loop.run_forever()
        finally:
            signal.alarm(0)
        sweeper.close()
        poller.close()
    finally:
        loop.close()


def test_a_round_has_its_steps_in_order_and_others_their_turn_between() -> None:
    seen: list[str] = []

    def make_round() -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for step in "abc":
            seen.append(step)
            loop.call_soon(seen.append, "other")
            yield
        loop.stop()

    run_sweeps(make_round)
    assert seen == ["a", "other", "b", "other", "c", "other"]


def test_a_round_that_fails_is_told_and_the_next_one_follows(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds: list[int] = []

    def make_round() -> Iterator[None]:
        rounds.append(1)
        if len(rounds) == 3:
            asyncio.get_running_loop().stop()
        yield
        raise ValueError("a fault")

    run_sweeps(make_round)
    assert "internal error at a sweep; the next one follows" in caplog.text


@pytest.mark.parametrize("is_told", [True, False])
def test_no_lost_wake_up_ends_the_sweeps(is_told: bool) -> None:
    """Without memory the loop refuses a call, or takes it and cannot make it: the kernel ticks on."""
    lost: list[object] = []

    class Forgetful(asyncio.SelectorEventLoop):
        """Makes no call for a sweep that goes on."""

        def call_soon(  # type: ignore[override]
            self, callback: Any, *args: Any, context: Any = None
        ) -> asyncio.Handle:
            handle = super().call_soon(callback, *args, context=context)
            if isinstance(getattr(callback, "__self__", None), Sweeper):
                lost.append(callback)
                handle.cancel()
                if is_told:
                    raise MemoryError
            return handle

    seen: list[int] = []

    def make_round() -> Iterator[None]:
        for step in range(3):
            seen.append(step)
            yield
        if len(seen) == 6:
            asyncio.get_running_loop().stop()

    run_sweeps(make_round, Forgetful())
    assert seen == [0, 1, 2, 0, 1, 2]
    assert len(lost) == 6
