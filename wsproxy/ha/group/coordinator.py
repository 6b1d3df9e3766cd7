"""
The coordinator of a core group: who it is, and that there are never two.

Driven by ``agent``. It is a seat like others (``membership``): by the preferred list, then the lowest id (``view.coordinator_of``); a better one that joins
takes over, as with HAManager. What it does is this group's: it looks after what is everybody's and nobody's own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from wsproxy.ha.group.membership import Chair, Membership
from wsproxy.ha.group.view import coordinator_of
from wsproxy.ha.names import COORDINATOR

log = logging.getLogger("wsproxy.ha")


class Coordinator:
    """One a member. ``token`` 0: another one coordinates, or nobody."""

    def __init__(self, core_group: str) -> None:
        """Nobody's yet."""
        self._core_group = core_group
        self.token = 0

    async def begin(self, token: int) -> None:
        """It is us."""
        self.token = token
        log.info("ha: this member is the active coordinator of core group %s", self._core_group)  # fmt: skip

    async def stop(self) -> None:
        """It is not."""
        self.token = 0
        log.info("ha: this member is not the coordinator of core group %s any more", self._core_group)  # fmt: skip


def add_coordinator(
    membership: Membership, core_group: str, preferred: Sequence[str]
) -> tuple[Coordinator, Chair]:
    """The member takes the coordinator's seat when it is its turn; before ``membership.run``."""
    coordinator = Coordinator(core_group)
    chair = membership.add_seat(
        COORDINATOR, lambda view: coordinator_of(view, preferred), coordinator
    )
    return coordinator, chair
