"""
Who holds what only one may hold: the coordinator's seat, an active place of an HA group. Pure: one table of steps.

Driven by ``group.membership``, which does what ``decide`` says and tells ``Seat`` what came of it. A seat is one key on its
holder's lease. What a holder does, it begins after the store has said that the key is its own and stops **before** the key can go,
in this order only:

    OUT -> CLAIMING   wanted, free, and the fence is not past: the key is created where it does not exist (compare-and-set)
    CLAIMING -> ON    the store says done, and the fence is still not past: the work begins, with the key's revision as its token
    ON -> STOPPING    not wanted any more, or the fence is past: the work ends, and that is awaited
    STOPPING -> OUT   the work has ended; where the key is still ours it is deleted (compare-and-set on the token)

A claim whose answer never came is nobody's until the key is read: it may be ours, and then is taken as such or given back.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wsproxy.ha.group.fence import Fence


class Phase(enum.Enum):
    """See the module."""

    OUT = "out"
    CLAIMING = "claiming"
    ON = "on"
    STOPPING = "stopping"


class Step(enum.Enum):
    """What is to be done next."""

    NOTHING = "nothing"
    CLAIM = "claim"  # create the key where it does not exist, on our lease
    BEGIN = "begin"  # the key is ours: start the work
    STOP = "stop"  # end the work, and say ``stopped`` when it has ended
    RELEASE = "release"  # delete the key, if it has our token


@dataclass(frozen=True, slots=True)
class Held:
    """What the store says of a seat's key: who has written it, on which lease, at which revision it came to be: the token."""

    name: str
    lease: int
    token: int


@dataclass(slots=True)
class Seat:
    """One seat, as one member has it. ``token`` 0: none of ours is known to be in the store."""

    me: str
    phase: Phase = Phase.OUT
    token: int = 0
    lease: int = 0  # of the claim
    given_back: int = 0  # the last token that was, or may have been, given back: never ours again

    def decide(
        self, *, wanted: str | None, held: Held | None, lease: int, fence: Fence, now: float
    ) -> Step:
        """
        The next step, from what the store last said: ``wanted`` is to hold the seat, ``held`` does. Nothing changes.

        ``lease``: ours of now, 0: none. A seat that is held by somebody else is never touched, nor by an earlier start of ours:
        that ends with its lease.
        """
        may_hold = wanted == self.me and lease != 0 and not fence.is_past(now)
        if self.phase is Phase.ON:
            is_ours = held is not None and held.token == self.token and self.lease == lease
            return Step.NOTHING if may_hold and is_ours else Step.STOP
        if self.phase is not Phase.OUT:
            return Step.NOTHING  # an answer, or the end of the work, is awaited
        if held is not None and lease and held.lease == lease and held.name == self.me:
            # What we gave back may still stand in what we have read: the key can be gone already.
            is_usable = may_hold and held.token > self.given_back
            return Step.BEGIN if is_usable else Step.RELEASE
        if held is None and may_hold:
            return Step.CLAIM
        return Step.NOTHING

    # what came of a step

    def claiming(self, lease: int) -> None:
        """The claim is being sent."""
        assert self.phase is Phase.OUT
        self.phase, self.lease = Phase.CLAIMING, lease

    def claimed(self) -> None:
        """It was answered, or never will be: what holds is what is read of the key."""
        assert self.phase is Phase.CLAIMING
        self.phase = Phase.OUT

    def releasing(self, held: Held) -> None:
        """The key is being deleted: whether that was answered or not, its token is not used any more."""
        assert self.phase is Phase.OUT
        self.given_back = max(self.given_back, held.token)

    def begun(self, held: Held) -> None:
        """The key is ours and the work begins."""
        assert self.phase is Phase.OUT
        assert held.name == self.me
        self.phase, self.token, self.lease = Phase.ON, held.token, held.lease

    def stopping(self) -> None:
        """The work is being ended."""
        assert self.phase is Phase.ON
        self.phase = Phase.STOPPING

    def stopped(self) -> None:
        """It has ended."""
        assert self.phase is Phase.STOPPING
        self.phase, self.token = Phase.OUT, 0
