"""
What comes after what when a resource starts and stops on one member. Pure: one table.

Driven by ``keeper``, which does what a phase means and says what came of it. The order is that of HACMP's resource groups: stop, release, (another member) take, start;
and each is awaited. ``IDLE`` alone means that nothing of the resource is left here, so that its place may be given to another member:
there is no way to it but through ``RELEASING``, and none to that but from where everything has ended.

    SWEEPING   a keeper begins: what one before it has left is looked for
    IDLE       nothing of it is here
    TAKING     `take` runs
    STARTING   `start` runs, until the resource is up
    RUNNING    it is up
    STOPPING   `stop` runs; until processes, ports and locks are gone
    KILLING    it was late, or the lease ends: SIGKILL, again and again, until they are gone. Code 207
    DELAYING   all has ended; stop_delay
    RELEASING  `release` runs
    STUCK      `release` failed, or was late: killed and tried again. Code 207; the place is kept
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

# HACMP's: "failed to stop the Deployment Manager and to release the shared disk resource".
CODE_STUCK = 207


class Phase(enum.StrEnum):
    """See the module."""

    SWEEPING = "sweeping"
    IDLE = "idle"
    TAKING = "taking"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    KILLING = "killing"
    DELAYING = "delaying"
    RELEASING = "releasing"
    STUCK = "stuck"


class Event(enum.StrEnum):
    """What the keeper has seen, or was told."""

    BEGIN = "begin"  # it is to run here
    END = "end"  # it is not any more
    FENCE = "fence"  # the lease is about to end: now or never
    DONE = "done"  # the command of this phase ended with 0; there is none
    FAILED = "failed"  # it ended otherwise, or cannot be run
    UP = "up"  # `start` was right: it runs
    LATE = "late"  # this phase has taken its time
    ILL = "ill"  # it was up and is not
    GONE = "gone"  # no process, port or lock of it is left
    FOUND = "found"  # of a sweep: processes that nobody keeps


_P, _E = Phase, Event

TABLE: dict[tuple[Phase, Event], Phase] = {
    (_P.SWEEPING, _E.FOUND): _P.KILLING,
    (_P.SWEEPING, _E.ILL): _P.STOPPING,  # `status` says that it runs, and no process is ours
    (_P.SWEEPING, _E.GONE): _P.RELEASING,
    (_P.IDLE, _E.BEGIN): _P.TAKING,
    (_P.TAKING, _E.DONE): _P.STARTING,
    (_P.TAKING, _E.FAILED): _P.STOPPING,
    (_P.TAKING, _E.LATE): _P.STOPPING,
    (_P.TAKING, _E.END): _P.STOPPING,
    (_P.TAKING, _E.FENCE): _P.STOPPING,
    (_P.STARTING, _E.UP): _P.RUNNING,
    (_P.STARTING, _E.FAILED): _P.STOPPING,
    (_P.STARTING, _E.LATE): _P.STOPPING,
    (_P.STARTING, _E.END): _P.STOPPING,
    (_P.STARTING, _E.FENCE): _P.STOPPING,
    (_P.RUNNING, _E.ILL): _P.STOPPING,
    (_P.RUNNING, _E.END): _P.STOPPING,
    (_P.RUNNING, _E.FENCE): _P.STOPPING,
    (_P.STOPPING, _E.GONE): _P.DELAYING,
    (_P.STOPPING, _E.LATE): _P.KILLING,
    (_P.KILLING, _E.GONE): _P.RELEASING,
    (_P.DELAYING, _E.LATE): _P.RELEASING,
    (_P.DELAYING, _E.FENCE): _P.RELEASING,
    (_P.RELEASING, _E.DONE): _P.IDLE,
    (_P.RELEASING, _E.FAILED): _P.STUCK,
    (_P.RELEASING, _E.LATE): _P.STUCK,
    (_P.STUCK, _E.LATE): _P.KILLING,  # again, after a while
}

# Nobody else may be given the place of a resource that is in another phase than this.
FREE = frozenset({Phase.IDLE})
# Its processes have ended, or are being killed.
ENDING = frozenset({Phase.KILLING, Phase.DELAYING, Phase.RELEASING, Phase.STUCK})
# What failed in these counts as a failure of the member, which may give the resource up.
_COUNTED = {
    (_P.TAKING, _E.FAILED): "take failed",
    (_P.TAKING, _E.LATE): "take did not end in time",
    (_P.STARTING, _E.FAILED): "start failed",
    (_P.STARTING, _E.LATE): "it did not come up in time",
    (_P.RUNNING, _E.ILL): "it was found not running",
}


@dataclass(frozen=True, slots=True)
class Moved:
    """One step: where to. ``failure``: what it says against this member, empty: nothing. ``code``: 207, or 0."""

    phase: Phase
    failure: str = ""
    code: int = 0


def step(phase: Phase, event: Event) -> Moved | None:
    """The phase after this event; None: it means nothing in this one."""
    after = TABLE.get((phase, event))
    if after is None:
        return None
    is_bad = after in (Phase.KILLING, Phase.STUCK)
    return Moved(after, _COUNTED.get((phase, event), ""), CODE_STUCK if is_bad else 0)
