"""A cluster whose slots have what its configuration says: most tests want nothing else."""

from __future__ import annotations

from typing import TypeVar

from wsproxy._fast.decide.balance import Balancer

C = TypeVar("C", bound=Balancer)


def applied(cluster: C) -> C:
    """The same, after ``Cluster.apply``."""
    cluster.apply()
    return cluster
