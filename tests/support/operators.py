"""What operators say of servers, for tests of what follows from it."""

from __future__ import annotations

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import hold_server
from wsproxy._fast.state.operator import Hold


def drain(cluster: Cluster, server: int, *, on: bool = True) -> bool:
    """Requests of its sessions only; or no longer."""
    return hold_server(cluster, server, Hold.DRAIN if on else Hold.NO_HOLD)


def take_down(cluster: Cluster, server: int, *, on: bool = True) -> bool:
    """No requests at all; or no longer."""
    return hold_server(cluster, server, Hold.TAKEN_DOWN if on else Hold.NO_HOLD)
