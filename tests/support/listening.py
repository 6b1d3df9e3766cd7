"""
A witness that keeps what it is told of each request of a Stage.

Driven by tests/unit/_fast.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.support.stage import Stage
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.tell.witness import Asked, Chosen, LogLevel
from wsproxy.dataplane.witness import Witness
from wsproxy.routing.retry import Ruling


class Told(NamedTuple):
    asked: Asked
    chosen: Chosen | None


class Listening(Witness):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.later: list[Chosen] = []

    def decided(
        self, downstream: Downstream, asked: Asked, chosen: Chosen | None, head: bytes
    ) -> None:
        self.told.append(Told(asked, chosen))

    def chosen(self, downstream: Downstream) -> None:
        self.later.append(downstream.describe_choice())

    def refused(self, downstream: Downstream, status: int, pool: Pool, ruling: Ruling) -> None:
        self.later.clear()


def listen(stage: Stage, level: LogLevel = LogLevel.TRACE) -> Listening:
    witness = Listening()
    stage.engine.witness = witness
    stage.slow._witness = witness
    stage.engine.log_level = level
    return witness
