"""
Who is told what happens to requests: the interface of a log that shows each decision, and the one that writes nothing.

Called by ``_fast.proxy.intake`` and ``_fast.proxy.client`` while ``Engine.log_level`` asks for it, and by ``dataplane.slowpath`` for every
failure. Whoever listens gets the results of decisions as they were taken, and heads that ``_fast.tell.mask`` has been through for the
present level; must not decide, wait or raise.
"""

from __future__ import annotations

from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.proxy.slow import Listener
from wsproxy._fast.tell.witness import Asked, Chosen
from wsproxy.dataplane.plan import Plan
from wsproxy.routing.retry import Failure, Ruling


class Witness(Listener):
    """Listens and keeps nothing; ``logs.plugin_writer`` has the one that writes."""

    def attach_to(self, engine: Engine) -> None:
        """From now on this engine's requests are told of."""

    def take_plan(self, plan: Plan) -> None:
        """The engine goes by this one from now on: it may name another file."""

    # requests that go well, too ----------------------------------------------------------------------------------------

    def picked(self, downstream: Downstream, number: int, server: str, by_affinity: bool) -> None:
        """LogLevel Stats: a server was chosen, and nothing spoke against any; the common case."""

    def checked(self, downstream: Downstream, chosen: Chosen) -> None:
        """LogLevel Stats: a server was chosen, or none found, and there is more to say."""

    def decided(
        self, downstream: Downstream, asked: Asked, chosen: Chosen | None, head: bytes
    ) -> None:
        """From LogLevel Detail on: Route and server; ``chosen`` None: no Route. ``head`` was sent on a warm connection."""

    def sent(self, downstream: Downstream, head: bytes, reused: bool) -> None:
        """The request goes to a connection that the slow path had to find."""

    def answered(self, downstream: Downstream, head: bytes) -> None:
        """The head of the server's answer."""

    def over(self, downstream: Downstream, number: int, server: str, by_affinity: bool) -> None:
        """The exchange ended; ``server`` empty: what became of the last try was told before."""

    # what the slow path knows ------------------------------------------------------------------------------------------

    def chosen(self, downstream: Downstream) -> None:
        """Another server was chosen, or none found."""

    def kept(self, downstream: Downstream) -> None:
        """Another server was looked for and none found: the answer of the present one will do."""

    def failed(
        self,
        downstream: Downstream,
        failure: Failure,
        ruling: Ruling,
        *,
        error: int = 0,
        is_timeout: bool = False,
    ) -> None:
        """A try at the present server failed, and what follows."""

    def refused(self, downstream: Downstream, status: int, pool: Pool, ruling: Ruling) -> None:
        """The server answered with a status that counts as a failure."""

    def moved_on(self, downstream: Downstream, pool: Pool) -> None:
        """The request leaves this server for another one."""

    def cut(self, downstream: Downstream) -> None:
        """The server failed within its answer."""

    def gave_up(self, downstream: Downstream, *, no_server: bool) -> None:
        """The client gets an error of our own; ``no_server``: because none is left."""

    # the worker --------------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Some times a second: looks whether anybody wants more, less, or another file."""

    def close(self) -> None:
        """The worker ends: writes what is left."""
