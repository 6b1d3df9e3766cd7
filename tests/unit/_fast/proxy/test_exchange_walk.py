"""Anything at any time: clients and origins send, stall, close and reset as hypothesis likes."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import wire
from tests.support.bed import Bed, config_of, server
from tests.support.walk import BIG, Client, Served, World
from tests.support.wire import Origin, Wire
from wsproxy.config.model import Config
from wsproxy.config.settings import QueueSettings, Settings

SIZES = st.sampled_from([1, 1000, 70_000, BIG])
INDEX = st.integers(0, 3)
STEP = st.one_of(
    st.tuples(st.just("connect"), st.booleans(), st.just(0), st.just(0)),
    st.tuples(st.just("ask"), INDEX, st.integers(0, 4), SIZES),
    st.tuples(st.just("push"), INDEX, st.integers(1, 2), st.just(0)),
    st.tuples(st.just("read"), INDEX, st.sampled_from([1, 1000, BIG]), st.just(0)),
    st.tuples(st.just("listen"), INDEX, st.just(0), st.just(0)),
    st.tuples(st.just("answer"), INDEX, st.sampled_from([0, 0, 0, 1, 2, 2, 3, 4, 5]), SIZES),
    st.tuples(st.just("finish"), INDEX, st.just(0), st.just(0)),
    st.tuples(st.just("client goes"), INDEX, st.sampled_from([0, 1, 2]), st.just(0)),
    st.tuples(st.just("server goes"), INDEX, st.sampled_from([0, 1, 2]), st.just(0)),
    st.tuples(st.just("garble"), INDEX, st.just(0), st.just(0)),
    st.tuples(st.just("take"), INDEX, st.just(0), st.just(0)),
)
Step = tuple[str, int, int, int]


def go(end: Wire, how: int) -> None:
    try:
        (end.close, end.reset, end.end_sending)[how]()
    except OSError:
        end.close()  # the peer was quicker


def plans_for(ports: list[int]) -> list[tuple[Config, Settings]]:
    """That of the beginning; the same in another order, with limits and a queue; one with other pools; half of it."""
    plain = [server(f"s{at}", port) for at, port in enumerate(ports)]
    few = [dataclasses.replace(each, max_connections=1) for each in reversed(plain)]
    slow = [dataclasses.replace(each, server_io_timeout_s=50) for each in plain]
    waits = Settings(queue=QueueSettings(size=2, wait_s=600))
    return [
        (config_of(*plain, retry_interval_s=0), Settings()),
        (config_of(*few, retry_interval_s=0), waits),
        (config_of(*slow, retry_interval_s=0), Settings()),
        (config_of(few[0], retry_interval_s=0), waits),
    ]


class Walk:
    """One bed and its world, driven step by step."""

    def __init__(self, bed: Bed, origins: list[Origin]) -> None:
        self.bed = bed
        self.world = World(origins)
        self.plans = plans_for([origin.port for origin in origins])

    async def settle(self) -> None:
        """Lets everything that can happen now happen."""
        for _ in range(4):
            await asyncio.sleep(0)
        self.world.accept()

    def client(self, index: int) -> Client | None:
        here = [each for each in self.world.clients if not each.is_gone]
        return here[index % len(here)] if here else None

    def origin(self, index: int) -> Served | None:
        here = [each for each in self.world.served if not each.is_gone]
        return here[index % len(here)] if here else None

    async def step(self, step: Step) -> None:
        what, index, kind, size = step
        if what == "take":
            self.bed.take(*self.plans[index])
        elif what == "connect":
            if len(self.world.clients) < 4:
                made = await self.bed.client(receive_buffer=4096 if index else 0)
                self.world.clients.append(Client(made))
        elif what in ("listen", "answer", "finish", "server goes"):
            self.serve(what, self.origin(index), kind, size)
        else:
            self.play(what, self.client(index), kind, size)
        await self.settle()

    def play(self, what: str, client: Client | None, kind: int, size: int) -> None:
        if client is None:
            return
        if what == "ask":
            self.world.ask(client, kind, size)
            client.push()
        elif what == "push":
            client.push()
        elif what == "read":
            client.read(kind)
        elif what == "garble":
            self.world.garble(client)
            client.push()
        else:
            client.is_gone = kind != 2
            go(client.wire, kind)

    def serve(self, what: str, served: Served | None, kind: int, size: int) -> None:
        if served is None:
            return
        if what == "listen":
            self.world.listen(served)
        elif what == "answer":
            self.world.listen(served)
            self.world.answer(served, kind, size)
        elif what == "finish":
            self.world.finish(served)
        else:
            served.is_gone = kind != 2
            go(served.wire, kind)
        served.push()

    async def finish(self, orderly: bool) -> None:
        """Everybody who is left says and hears what is owed (or not), and leaves; then nothing may stay."""
        for _ in range(60 if orderly else 0):
            for client in self.world.clients:
                client.push()
                client.read(BIG)
            for served in self.world.served:
                self.world.listen(served)
                self.world.answer(served, 0, 1000)
                served.push()
            await self.settle()
        for client in self.world.clients:
            client.read(BIG)
            client.check()
            client.wire.close()
        for served in self.world.served:
            served.wire.close()
        for origin in self.world.origins:
            origin.close()
        # No close_all: every connection ends by itself.
        await self.bed.until(lambda: self.bed.engine.open_streams == 0)
        assert not any(self.bed.inflight())


class Errors(logging.Handler):
    """What our own bugs would say."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(self.format(record))


async def walk(steps: list[Step], orderly: bool, errors: Errors) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.seen.append(str(context)))
    origins = [Origin(), Origin()]
    async with Bed(*plans_for([each.port for each in origins])[0]) as bed:
        walked = Walk(bed, origins)
        walked.world.clients.append(Client(await bed.client()))
        for step in steps:
            await walked.step(step)
        await walked.finish(orderly)
    assert errors.seen == []


@pytest.mark.timeout(600)  # beside eight busy processes its many examples take minutes
@pytest.mark.parametrize(
    "make_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEP, max_size=40), orderly=st.booleans())
def test_walk_leaves_nothing_behind_and_mixes_no_bytes(
    make_loop: Callable[[], asyncio.AbstractEventLoop], steps: list[Step], orderly: bool
) -> None:
    errors = Errors()
    watched = [logging.getLogger("wsproxy.connection"), logging.getLogger("wsproxy.tasks")]
    for logger in watched:
        logger.addHandler(errors)
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(walk(steps, orderly, errors))
    finally:
        wire.close_all()
        for logger in watched:
            logger.removeHandler(errors)
