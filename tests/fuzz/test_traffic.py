"""Whole traffic through real proxies, as ``make fuzz TARGET=traffic`` has it: for a minute where the proxies are instrumented."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.traffic.bed import VARIANTS, running_bed
from tests.fuzz.traffic.plans import Case, ClientPlan, Do
from tests.support import sanitized

PROJECT = Path(__file__).parents[2]
SECONDS = 50 if sanitized.is_wanted() else 6
# The same cases each time: what a change breaks is found with that change. `make fuzz` takes others each time.
SEED = "ci"


@pytest.mark.asan
@pytest.mark.timeout(400)
def test_traffic_is_right() -> None:
    """Hundreds of cases with each proxy; what is found is printed with the command that plays it again."""
    # A process of its own: clients and servers need not be slow because the proxies are instrumented.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.traffic", f"--seed={SEED}", f"--time={SECONDS}"],
        cwd=PROJECT,
        env=sanitized.plain_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    played = re.findall(r"^traffic/(\w+) +clean: ([\d,]+) cases", done.stdout, re.MULTILINE)
    assert [name for name, _ in played] == [each.name for each in VARIANTS]
    assert all(int(count.replace(",", "")) > 20 for _, count in played), done.stdout


async def test_worker_that_ends_is_found() -> None:
    async with running_bed(VARIANTS[0]) as bed:
        assert bed.check_alive() == []
        victim = bed.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        await bed.proxy.line(rf"worker \d \(pid {victim}\) was killed by SIGKILL")
        problems = "\n".join(bed.check_alive())
        assert f"{victim}" in problems
        assert "was killed by SIGKILL" in problems
        bed.proxy.expected.append("was killed by SIGKILL")


async def test_what_is_still_in_flight_is_found() -> None:
    """A client that stays, and the place that its request has at a server."""
    async with running_bed(VARIANTS[0]) as bed:
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(bed.play(waiting_case()))
            while not await bed.find_busy():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            busy = await bed.check_quiet(0)
            playing.cancel()
        assert any("1 requests are in flight at s0 of full" in each for each in busy), busy
        assert any("holds 1 connections" in each for each in busy), busy
        assert await bed.check_quiet() == []


def waiting_case() -> Case:
    """A request whose body never comes to its end."""
    stream = b"POST /full/x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
    return Case(SEED, 0, (ClientPlan("polite", False, stream, ((Do.SEND, stream), (Do.AWAIT, 1))),))
