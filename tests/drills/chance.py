"""
Which two faults a drill has, by its seed alone: the same number draws the same two, on any machine. Pure.

Driven by ``__main__`` and by ``tests/acceptance/test_drills.py``. Places are roles (who holds the address, who leads), so that a seed
means the same whatever came before it.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Of a pair with keepalived: each kind, and where it can be.
NODES = ("holder", "other")
PAIR: Mapping[str, Sequence[str]] = {
    "kill-proxy": NODES,
    "stop-proxy": NODES,
    "kill-agent": NODES,  # its keeper starts another
    "kill-agent-and-keeper": NODES,
    "stop-agent": NODES,
    "kill-keepalived": NODES,
    "stop-keepalived": NODES,
    "hang": NODES,  # SIGSTOP of all that runs on the machine; its kernel goes on, as it holds the address
    "death": NODES,
    "cut-sync": NODES,
    "cut-service": NODES,  # and the machine sees that its link is down
    "dark-service": NODES,  # its link stays up, nothing passes
    "cut-both": NODES,
    "cut-vrrp": NODES,
    "loss-service": NODES,
    "loss-both": NODES,
    "clock": NODES,  # the agent's and keepalived's wall clock jumps
    "failover": NODES,  # no fault: an operator who does something meanwhile
}

# Of a core group with an etcd on each of three machines.
ETCDS = ("leader", "follower")
MEMBERS = ("holder", "coordinator", "other")
GROUP: Mapping[str, Sequence[str]] = {
    "kill-etcd": ETCDS,
    "stop-etcd": ETCDS,
    "cut-etcd": ETCDS,  # from the other two; members are answered
    "full-etcd": ETCDS,
    "cut-machine": (*MEMBERS, "leader"),
    "loss-machine": (*MEMBERS, "leader"),
    "freeze-machine": (*MEMBERS, "leader"),
    "kill-machine": (*MEMBERS, "leader"),
    "kill-member": MEMBERS,  # its supervisor starts it again
    "kill-supervisor": MEMBERS,  # the member dies with it; whoever starts it does so as another one
    "stop-member": MEMBERS,
    "kill-keeper": MEMBERS,
    "stop-keeper": MEMBERS,
    "kill-guard": MEMBERS,
    "stop-guard": MEMBERS,
    "kill-program": ("holder",),
    "stop-program": ("holder",),
    "move": MEMBERS,  # no fault: an operator
}
KINDS = {"pair": PAIR, "group": GROUP}

# How long a fault lasts: from what nobody notices to longer than any lease and any number of adverts.
LEAST_S, MOST_S = 0.2, 6.0
# Half of all pairs begin in one moment, the others one after the other within this.
APART_S = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One of two. ``amount``: share of packets lost, or by which the clock jumps (of an hour, either way)."""

    kind: str
    place: str
    after_s: float
    for_s: float
    amount: float

    def __str__(self) -> str:
        much = {"loss": f" {abs(self.amount):.0%}", "cloc": f" {3600 * self.amount:+.0f} s"}
        return f"{self.kind}{much.get(self.kind[:4], '')} at the {self.place} after {self.after_s:g} s for {self.for_s:g} s"


def draw(family: str, seed: int) -> tuple[Fault, Fault]:
    """Two faults that are not the same at the same place."""
    chance = random.Random(f"{family} {seed}")
    kinds = KINDS[family]
    first, second = chance.sample(
        [(kind, place) for kind, places in kinds.items() for place in places], 2
    )
    apart = chance.choice((0.0, chance.uniform(0, APART_S)))
    found = []
    for (kind, place), after_s in ((first, 0.0), (second, apart)):
        for_s = round(chance.uniform(LEAST_S, MOST_S), 2)
        amount = round(chance.uniform(0.1, 0.9) * chance.choice((-1, 1)), 2)
        found.append(Fault(kind, place, round(after_s, 2), for_s, amount))
    return found[0], found[1]


def told(error: BaseException) -> str:
    """All of it, where it is of several at once."""
    return (
        str(error)
        if isinstance(error, AssertionError)
        else "".join(traceback.format_exception(error))
    )
