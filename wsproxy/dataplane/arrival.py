"""
How a worker comes to go by another configuration: between two requests, without keeping one waiting.

Driven by ``dataplane.worker`` and by parcels that the supervisor passes on. Everything that takes long is done in steps, or
beside the loop: reading the parcel, making a View of it, reading keyrings, and giving back the memory of a configuration that
no request goes by any more.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable

from wsproxy._fast.proxy.engine import Engine
from wsproxy.dataplane.inbox import Inbox
from wsproxy.dataplane.parcel import PIECE, unpack
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.post import Retire
from wsproxy.dataplane.steps import Steps, in_turns
from wsproxy.dataplane.tasks import spawn

log = logging.getLogger("wsproxy.worker")


class Arrivals:
    """One a worker."""

    def __init__(
        self,
        worker_id: int,
        engine: Engine,
        plan: Plan,
        taking_steps: Callable[[Engine, Plan], Steps[None]],
    ) -> None:
        """``engine`` goes by ``plan``; ``taking_steps`` have it go by another one."""
        self._worker_id = worker_id
        self._state = plan.state
        self._engine = engine
        self._taking_steps = taking_steps
        self._newest = plan.generation
        # By generation, until no request goes by it: it ends here, in steps, and not with some request.
        self._plans: dict[int, Plan] = {plan.generation: plan}
        self.sweep()

    def listen(self, box: socket.socket, on_retire: Callable[[Retire], None]) -> None:
        """From now on; ``on_retire`` when this worker is replaced."""
        Inbox(box, self._take, on_retire)

    def sweep(self) -> None:
        """Says by which generations this worker's requests go; some times a second."""
        in_use = {view.plan.generation for view in self._engine.views_in_use()}
        self._state.note_generations(self._worker_id, self._newest, min(in_use))
        for generation in [each for each in self._plans if each not in in_use]:
            plan = self._plans.pop(generation)
            spawn(in_turns(_bury([plan])), "end of a configuration")
            del plan

    async def _take(self, fd: int) -> None:
        """
        Goes by the parcel's configuration from now on.

        A collection would look at every object of it, 30 ms for the largest ones: there is none meanwhile, and none afterwards
        looks at what stays.
        """
        gc.disable()
        try:
            plan = await in_turns(unpack(fd, self._state))
            keyrings = await in_turns(plan.keyring_steps())
            await asyncio.to_thread(plan.read_keyrings, keyrings)
            await in_turns(self._taking_steps(self._engine, plan))
            self._plans[plan.generation] = plan
            self._newest = plan.generation
            self.sweep()
            gc.freeze()
        finally:
            gc.enable()
        log.debug("configuration %d is in use", plan.generation)


def _bury(plans: list[Plan]) -> Steps[None]:
    """
    Gives back the memory of a plan that nobody uses any more, in pieces.

    The last reference to a large tuple frees all that is in it at once. So the pieces are held while it goes.
    """
    plan = plans.pop()
    pieces: list[object] = []
    config = plan.config
    for items in (
        *(group.virtual_hosts for group in config.virtual_host_groups),
        config.routes,
        plan.routes.rows,
        plan.clusters,
        config.server_clusters,
    ):
        for at in range(0, len(items), PIECE):
            pieces.append(items[at : at + PIECE])
            yield
    del plan, config, items
    yield
    while pieces:
        pieces.pop()
        yield
