"""
What a node of a pair is, what becomes of it, and what it tells keepalived. Pure: all times are given.

Driven by ``agent``. Words are IBM Workload Deployer's: a node is stand-alone, primary, secondary, idle or inconsistent, and in a bad state
where a command failed half-way. Who holds the address is VRRP's decision alone; a node's state follows it, and never the other way round.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class State(enum.StrEnum):
    """What a node is."""

    STAND_ALONE = "stand-alone"
    PRIMARY = "primary"
    SECONDARY = "secondary"
    IDLE = "idle"  # it has handed over, keeps its settings, and takes no address
    INCONSISTENT = "inconsistent"  # to be secondary, and not known to serve what the primary serves
    BAD = "bad"  # keepalived does not do what it is told


class Event(enum.StrEnum):
    """What happens to a node."""

    START_PRIMARY = "start --primary"
    START_SECONDARY = "start --secondary"
    CONFIGURE = "configure"
    STOP = "stop"
    SYNCED = "in sync with the primary"
    SYNC_LOST = "the primary was lost before both were in sync"
    TOOK = "the address is here"
    HANDED_OVER = "the other node has taken the address, as told"
    OVERTAKEN = "the other node has taken the address"
    FAILED = "keepalived failed"
    RECOVERED = "keepalived runs again"


S, E = State, Event

# Who is not there is refused: the operator hears what the state is, and what it allows.
TRANSITIONS: dict[tuple[State, Event], State] = {
    (S.STAND_ALONE, E.START_PRIMARY): S.PRIMARY,
    (S.STAND_ALONE, E.START_SECONDARY): S.INCONSISTENT,
    (S.STAND_ALONE, E.STOP): S.STAND_ALONE,
    (S.PRIMARY, E.START_PRIMARY): S.PRIMARY,
    (S.PRIMARY, E.CONFIGURE): S.PRIMARY,
    (S.PRIMARY, E.STOP): S.STAND_ALONE,
    (S.PRIMARY, E.TOOK): S.PRIMARY,
    (S.PRIMARY, E.HANDED_OVER): S.IDLE,
    (S.PRIMARY, E.OVERTAKEN): S.STAND_ALONE,
    (S.PRIMARY, E.FAILED): S.BAD,
    (S.SECONDARY, E.START_SECONDARY): S.INCONSISTENT,
    (S.SECONDARY, E.CONFIGURE): S.SECONDARY,
    (S.SECONDARY, E.STOP): S.STAND_ALONE,
    (S.SECONDARY, E.TOOK): S.PRIMARY,
    (S.SECONDARY, E.FAILED): S.BAD,
    (S.IDLE, E.START_PRIMARY): S.PRIMARY,
    (S.IDLE, E.START_SECONDARY): S.INCONSISTENT,
    (S.IDLE, E.CONFIGURE): S.IDLE,
    (S.IDLE, E.STOP): S.STAND_ALONE,
    (S.INCONSISTENT, E.START_SECONDARY): S.INCONSISTENT,
    (S.INCONSISTENT, E.CONFIGURE): S.INCONSISTENT,
    (S.INCONSISTENT, E.STOP): S.STAND_ALONE,
    (S.INCONSISTENT, E.SYNCED): S.SECONDARY,
    (S.INCONSISTENT, E.SYNC_LOST): S.INCONSISTENT,
    (S.INCONSISTENT, E.FAILED): S.BAD,
    (S.BAD, E.START_PRIMARY): S.PRIMARY,
    (S.BAD, E.START_SECONDARY): S.INCONSISTENT,
    (S.BAD, E.CONFIGURE): S.BAD,
    (S.BAD, E.STOP): S.STAND_ALONE,
    (S.BAD, E.FAILED): S.BAD,
}

COMMANDS = (E.START_PRIMARY, E.START_SECONDARY, E.CONFIGURE, E.STOP)
# keepalived runs in these, and only in these may it hold the address.
RUNNING = (S.PRIMARY, S.SECONDARY)


class RefusedTransitionError(Exception):
    """The state does not allow it; the text says what it allows."""


@dataclass(frozen=True, slots=True)
class Node:
    """``was``: what a node in a bad state was before, and is again where keepalived recovers."""

    state: State = State.STAND_ALONE
    was: State = State.STAND_ALONE

    def after(self, event: Event) -> Node:
        """
        What becomes of it.

        Raises:
            RefusedTransitionError: nothing may; it stays as it is.
        """
        if self.state is State.BAD and event is Event.RECOVERED:
            return Node(self.was, self.was)
        found = TRANSITIONS.get((self.state, event))
        if found is None:
            allowed = ", ".join(each for each in COMMANDS if (self.state, each) in TRANSITIONS)
            raise RefusedTransitionError(
                f'found state {self.state}, which "{event}" does not go with; allowed here is {allowed}'
            )
        if found is State.BAD:
            return Node(found, self.was if self.state is State.BAD else self.state)
        return Node(found, found)


# --- what keepalived is told: numbers in files that it watches ----------------------------------------------------------

# Priorities of VRRP. The secondary's is high, too: who hears that the other one is gone waits (256 - priority) / 256 of an
# interval before it takes the address. 255 is for who owns the address.
BASE = 180
PRIMARY_ADDS = 40
TOOK_ADDS = 45
TAKING_ADDS = 60


def role(state: State, *, is_taking: bool, has_taken: bool) -> int:
    """
    What is added to the priority of a node.

    ``has_taken``: it took the address from one that had failed, and has not heard that one as secondary since. Should both hold it when
    a network is whole again, the last one keeps it, which clients know by then; with equal priorities the higher address would
    win, and send no gratuitous ARP, as it never lost it: clients lost 52 s (measured), until their ARP entries ended.
    """
    if is_taking:
        return TAKING_ADDS
    if state is State.PRIMARY:
        return TOOK_ADDS if has_taken else PRIMARY_ADDS
    return 0


class Health(enum.Enum):
    """Of the proxy on this machine."""

    UNKNOWN = "not looked at yet"
    WELL = "well"
    GONE = "gone"  # its process has ended, or listens no longer
    SILENT = "silent"  # it is there and does not answer

    @property
    def is_well(self) -> bool:
        """Whether it serves."""
        return self is Health.WELL


class Peer(enum.Enum):
    """What is known of the other node's proxy, by a word that is not old."""

    WELL = "well"
    UNWELL = "unwell"
    UNKNOWN = "unknown"


def steps_aside(health: Health, peer: Peer) -> bool:
    """
    Whether this node gives the address away, or does not take it, because of its own proxy.

    Not where the other one is no better: an address somewhere beats one nowhere. Of whom nothing is known may take it from a
    proxy that is gone; but one that is only slow to answer keeps it, or two busy machines would throw it away. An agent that has just
    begun knows nothing, and moves nothing.
    """
    if health in (Health.WELL, Health.UNKNOWN) or peer is Peer.UNWELL:
        return False
    return health is Health.GONE or peer is Peer.WELL


@dataclass(frozen=True, slots=True)
class Times:
    """All that follow from the interval of VRRP's adverts, in seconds."""

    advert_s: float

    @property
    def down_s(self) -> float:
        """After so long without an advert, keepalived of the secondary takes the address (RFC 5798 6.1)."""
        return 3 * self.advert_s + (256 - BASE) / 256 * self.advert_s

    @property
    def word_s(self) -> float:
        """Between two words to the other node; not long, however long the interval is: they tell of health as well."""
        return min(self.advert_s / 4, 0.25)

    @property
    def fresh_s(self) -> float:
        """A word is believed so long. Not shorter than five of them: a busy machine is late."""
        return 1.25 * self.advert_s

    @property
    def missed_s(self) -> float:
        """
        Without an advert for so long, the guard asks what the other node said last.

        Later than a word is believed plus one interval: where a node has died its last word is old by then, and the guard does not hold
        up who takes over. Earlier than ``down_s``, by a time in which the agent can write a file.
        """
        return 2.3 * self.advert_s

    @property
    def lost_s(self) -> float:
        """Who says nothing for so long is told of as lost."""
        return max(2.0, min(5 * self.advert_s, 10.0))


@dataclass(frozen=True, slots=True)
class Sight:
    """What a node knows at a moment; ages in seconds, None: never heard."""

    holds: bool
    since: float  # when it took the address, seconds of the epoch; 0: it does not hold it
    peer_holds: bool
    peer_since: float
    word_age: float | None
    advert_age: float | None


def is_guarded(sight: Sight, times: Times) -> bool:
    """
    Whether this node must not hold the address, because the other one says that it does: adverts are missing and words are not.

    Where both hold it, who took it later gives it back: it is who did not hear the other one.
    """
    if sight.word_age is None or sight.word_age > times.fresh_s or not sight.peer_holds:
        return False
    is_missing = sight.advert_age is None or sight.advert_age > times.missed_s
    if sight.holds:
        return is_missing and sight.since > sight.peer_since
    return is_missing
