"""States of a node, what keepalived is told, the guard; and two nodes whose lists of events are cut after every step."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

import pytest

from wsproxy.ha.pair.rules import (
    BASE,
    RUNNING,
    TAKING_ADDS,
    TRANSITIONS,
    Event,
    Health,
    Node,
    Peer,
    RefusedTransitionError,
    Sight,
    State,
    Times,
    is_guarded,
    role,
    steps_aside,
)

S, E = State, Event
TIMES = Times(0.2)


# --- transitions ----------------------------------------------------------------------------------------------------------

# What the presentation of IBM Workload Deployer says, sentence by sentence: from, what happens, to.
SEED = [
    # "Initially, the appliance is in a stand-alone state. High availability is started on the primary appliance first"
    (S.STAND_ALONE, [E.START_PRIMARY], S.PRIMARY),
    # "and after completion, started on the secondary appliance"; its data is synched first
    (S.STAND_ALONE, [E.START_SECONDARY, E.SYNCED], S.SECONDARY),
    # "It is possible that the connection ... is lost during a data synch ... the secondary is considered to be in an inconsistent state"
    (S.STAND_ALONE, [E.START_SECONDARY, E.SYNC_LOST], S.INCONSISTENT),
    # "When the connection is restored the secondary appliance must be reconfigured using the startHA command"
    (S.INCONSISTENT, [E.START_SECONDARY, E.SYNCED], S.SECONDARY),
    # "you can force a failover ... The primary appliance will go into an idle state"
    (S.PRIMARY, [E.HANDED_OVER], S.IDLE),
    # "enabling the appliance to quickly become the secondary appliance of the new primary appliance"
    (S.IDLE, [E.START_SECONDARY, E.SYNCED], S.SECONDARY),
    # "If a failure on the primary appliance occurs, the secondary appliance automatically takes control"
    (S.SECONDARY, [E.TOOK], S.PRIMARY),
    # "Old primary appliance restarts as stand-alone appliance"
    (S.PRIMARY, [E.OVERTAKEN], S.STAND_ALONE),
    # "You must issue the startHA command on the old primary appliance"
    (S.PRIMARY, [E.OVERTAKEN, E.START_SECONDARY, E.SYNCED], S.SECONDARY),
    # "The stopHA command will put the appliance in a stand-alone state, regardless of its starting state"
    *((state, [E.STOP], S.STAND_ALONE) for state in S),
    # "If there is still a failure, the appliance is considered to be in a bad state and the stopHA command should be issued"
    (S.PRIMARY, [E.FAILED], S.BAD),
    (S.SECONDARY, [E.FAILED, E.STOP], S.STAND_ALONE),
    # "reissue the command passing the correct command parameters"
    (S.BAD, [E.START_PRIMARY], S.PRIMARY),
]


@pytest.mark.parametrize(("before", "events", "after"), SEED)
def test_transitions_of_the_seed(before: State, events: list[Event], after: State) -> None:
    """Each sentence of the presentation about a state."""
    node = Node(before, before)
    for event in events:
        node = node.after(event)
    assert node.state is after


@pytest.mark.parametrize(("state", "event"), list(itertools.product(S, E)))
def test_every_state_meets_every_event(state: State, event: Event) -> None:
    """It is in the table, or refused with the state and the commands that it allows."""
    node = Node(state, S.SECONDARY if state is S.BAD else state)
    if (state, event) in TRANSITIONS:
        assert node.after(event).state is TRANSITIONS[state, event]
    elif (state, event) == (S.BAD, E.RECOVERED):
        assert node.after(event) == Node(S.SECONDARY, S.SECONDARY)
    else:
        with pytest.raises(RefusedTransitionError, match=f"found state {state}.*allowed here is .*stop"):  # fmt: skip
            node.after(event)


def test_bad_state_remembers_what_it_was() -> None:
    """However often it fails, and is that again when keepalived runs."""
    node = Node(S.PRIMARY, S.PRIMARY).after(E.FAILED).after(E.FAILED).after(E.CONFIGURE)
    assert node == Node(S.BAD, S.PRIMARY)
    assert node.after(E.RECOVERED) == Node(S.PRIMARY, S.PRIMARY)


# --- what keepalived is told ------------------------------------------------------------------------------------------------


def test_priorities_have_an_order() -> None:
    """Who is told to take it beats who has taken it, who beats a primary, who beats a secondary; none is 0 or 255, which mean something else."""
    numbers = [
        role(S.PRIMARY, is_taking=True, has_taken=False),
        role(S.PRIMARY, is_taking=False, has_taken=True),
        role(S.PRIMARY, is_taking=False, has_taken=False),
        role(S.SECONDARY, is_taking=False, has_taken=False),
    ]
    assert numbers == sorted(set(numbers), reverse=True)
    assert role(S.SECONDARY, is_taking=True, has_taken=False) == TAKING_ADDS
    assert all(0 < BASE + each < 255 for each in numbers)


@pytest.mark.parametrize(
    ("health", "peer", "is_aside"),
    [
        (Health.WELL, Peer.WELL, False),
        (Health.WELL, Peer.UNWELL, False),
        (Health.WELL, Peer.UNKNOWN, False),
        (Health.UNKNOWN, Peer.WELL, False),
        (Health.UNKNOWN, Peer.UNKNOWN, False),
        (Health.GONE, Peer.WELL, True),
        (Health.GONE, Peer.UNWELL, False),
        (Health.GONE, Peer.UNKNOWN, True),
        (Health.SILENT, Peer.WELL, True),
        (Health.SILENT, Peer.UNWELL, False),
        (Health.SILENT, Peer.UNKNOWN, False),
    ],
)
def test_who_steps_aside(health: Health, peer: Peer, *, is_aside: bool) -> None:
    """Only for somebody who may be better."""
    assert steps_aside(health, peer) is is_aside


@pytest.mark.parametrize(("mine", "theirs"), list(itertools.product(Health, Health)))
def test_never_do_both_step_aside(mine: Health, theirs: Health) -> None:
    """When each knows how the other one is, the address is somewhere."""

    def known(health: Health) -> Peer:
        return Peer.WELL if health.is_well else Peer.UNWELL

    assert not (steps_aside(mine, known(theirs)) and steps_aside(theirs, known(mine)))


# --- the guard ----------------------------------------------------------------------------------------------------------------

SIGHT = Sight(holds=False, since=0.0, peer_holds=True, peer_since=100.0, word_age=0.05, advert_age=0.5)  # fmt: skip


def test_guard_is_on_where_words_come_and_adverts_do_not() -> None:
    """VRRP is cut, and the other node says that it holds the address."""
    assert is_guarded(SIGHT, TIMES)
    assert is_guarded(replace(SIGHT, advert_age=None), TIMES)


@pytest.mark.parametrize(
    "sight",
    [
        replace(SIGHT, advert_age=0.3),  # adverts come
        replace(SIGHT, word_age=0.3),  # its last word is old: it may have died
        replace(SIGHT, word_age=None),
        replace(SIGHT, peer_holds=False),  # it has given it away
        replace(SIGHT, holds=True, since=50.0),  # this one held it first
    ],
)
def test_guard_is_off(sight: Sight) -> None:
    """In all other cases VRRP decides."""
    assert not is_guarded(sight, TIMES)


def test_of_two_holders_the_later_one_is_guarded() -> None:
    """And never both."""
    later = replace(SIGHT, holds=True, since=200.0)
    first = replace(SIGHT, holds=True, since=100.0, peer_since=200.0)
    assert is_guarded(later, TIMES)
    assert not is_guarded(first, TIMES)


@pytest.mark.parametrize("advert_s", [0.05, 0.2, 1.0, 40.0])
def test_guard_acts_before_vrrp_and_not_for_a_dead_node(advert_s: float) -> None:
    """The last word of a node that died is old when its adverts are missed, and the secondary's time is not over by then."""
    times = Times(advert_s)
    assert times.fresh_s + advert_s < times.missed_s
    assert times.missed_s + advert_s / 2 < times.down_s
    assert times.fresh_s >= 5 * times.word_s
    # A node dies at any moment after its last advert, with a last word of that moment.
    for step in range(101):
        death = advert_s * step / 100
        at = times.missed_s  # since its last advert
        sight = replace(SIGHT, word_age=at - death, advert_age=at + 1e-9)
        assert not is_guarded(sight, times)


def test_promised_times_hold_by_construction() -> None:
    """With an advert each 0.2 s: a dead node is missed in less than 0.7 s, and who hears that the other one leaves waits 60 ms."""
    assert TIMES.down_s < 0.7
    assert (256 - BASE) / 256 * TIMES.advert_s <= 0.06


# --- two nodes, cut after every step --------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """A node, its proxy, and whether it lives."""

    address: int
    node: Node = field(default_factory=Node)
    health: Health = Health.WELL
    is_alive: bool = True
    holds: bool = False
    has_taken: bool = False
    is_handing: bool = False

    def sees(self, other: Machine, *, is_whole: bool) -> Peer:
        if not is_whole or not other.is_alive or other.node.state is S.STAND_ALONE:
            return Peer.UNKNOWN
        return Peer.WELL if other.health.is_well else Peer.UNWELL


class World:
    """Both, and VRRP as RFC 5798 has it: of those that hear each other the highest priority holds the address, then the highest address."""

    def __init__(self) -> None:
        self.one, self.two = Machine(11), Machine(12)
        self.is_whole = True

    @property
    def machines(self) -> tuple[Machine, Machine]:
        return self.one, self.two

    def other(self, machine: Machine) -> Machine:
        return self.two if machine is self.one else self.one

    def give(self, machine: Machine, event: Event) -> None:
        """A command; what is refused changes nothing."""
        if not machine.is_alive or (event is E.START_PRIMARY and self.other(machine).holds and self.is_whole):  # fmt: skip
            return
        try:
            machine.node = machine.node.after(event)
        except RefusedTransitionError:
            return

    def fail_over(self, machine: Machine) -> None:
        other = self.other(machine)
        if machine.is_alive and machine.node.state is S.PRIMARY and self.is_whole and other.is_alive and other.node.state is S.SECONDARY and other.health.is_well:  # fmt: skip
            machine.is_handing = True
            self.settle(taking=other)
            machine.is_handing = False

    def settle(self, taking: Machine | None = None) -> None:
        """VRRP, and what both agents make of it, until nothing changes."""
        for _ in range(10):
            before = [(m.node, m.holds, m.has_taken) for m in self.machines]
            self._vrrp(taking)
            for machine in self.machines:
                self._follow(machine)
            if before == [(m.node, m.holds, m.has_taken) for m in self.machines]:
                return
        raise AssertionError("no end")

    def _priority(self, machine: Machine, taking: Machine | None) -> tuple[int, int] | None:
        other = self.other(machine)
        runs = machine.is_alive and machine.node.state in RUNNING
        if not runs or steps_aside(machine.health, machine.sees(other, is_whole=self.is_whole)):
            return None
        adds = role(machine.node.state, is_taking=machine is taking, has_taken=machine.has_taken)
        return BASE + adds, machine.address

    def _vrrp(self, taking: Machine | None) -> None:
        found = {id(m): self._priority(m, taking) for m in self.machines}
        for machine in self.machines:
            mine, theirs = found[id(machine)], found[id(self.other(machine))]
            was = machine.holds
            machine.holds = mine is not None and (not self.is_whole or theirs is None or mine > theirs)  # fmt: skip
            if machine.holds and not was:
                machine.has_taken = machine.node.state is S.SECONDARY
                machine.node = machine.node.after(E.TOOK)

    def _follow(self, machine: Machine) -> None:
        other = self.other(machine)
        if not machine.is_alive:
            return
        if self.is_whole and other.is_alive and other.node.state is S.SECONDARY:
            machine.has_taken = False
        if machine.node.state is S.PRIMARY and not machine.holds and other.holds and self.is_whole:
            machine.node = machine.node.after(E.HANDED_OVER if machine.is_handing else E.OVERTAKEN)
        if machine.node.state is S.INCONSISTENT and self.is_whole and other.holds:
            machine.node = machine.node.after(E.SYNCED)

    def do(self, step: str) -> None:
        what, _, which = step.partition(" ")
        machine = self.two if which == "two" else self.one
        if what == "primary":
            self.give(machine, E.START_PRIMARY)
        elif what == "secondary":
            self.give(machine, E.START_SECONDARY)
        elif what == "stop":
            self.give(machine, E.STOP)
        elif what == "failover":
            self.fail_over(machine)
        elif what == "kill":
            machine.health = Health.GONE
        elif what == "restart":
            machine.health = Health.WELL
        elif what == "die":
            machine.is_alive, machine.holds = False, False
        elif what == "boot" and not machine.is_alive:
            # Stand-alone after a boot, and no proxy that was killed is so any more.
            machine.is_alive, machine.node, machine.health = True, Node(), Health.WELL
        elif what == "cut":
            self.is_whole = False
        elif what == "mend":
            self.is_whole = True
        self.settle()


STEPS = [f"{what} {which}" for which in ("one", "two") for what in ("primary", "secondary", "stop", "failover", "kill", "restart", "die", "boot")] + ["cut", "mend"]  # fmt: skip


def check(world: World, done: tuple[str, ...]) -> None:
    holders = [m for m in world.machines if m.holds]
    if world.is_whole:
        assert len(holders) <= 1, (done, "two holders that hear each other")
        assert sum(m.is_alive and m.node.state is S.PRIMARY for m in world.machines) <= 1, done
    for machine in holders:
        assert machine.node.state is S.PRIMARY, done
    able = [m for m in world.machines if m.is_alive and m.node.state in RUNNING and m.health.is_well]  # fmt: skip
    assert holders or not able, (done, "an able node, and nobody holds the address")
    for machine in world.machines:
        assert machine.node.state is not S.BAD
    if world.is_whole and holders and able:
        assert holders[0].health.is_well, (done, "a proxy that is gone holds it beside one that serves")  # fmt: skip


@pytest.mark.parametrize("last", STEPS)
def test_whatever_happens_after_a_pair_is_made(last: str) -> None:
    """All lists of three events after the two commands, looked at after every step: one holder where they hear each other, and never none."""
    for rest in itertools.product(STEPS, repeat=2):
        world = World()
        done: tuple[str, ...] = ()
        for step in ("primary one", "secondary two", last, *rest):
            world.do(step)
            done = (*done, step)
            check(world, done)


@pytest.mark.parametrize("cut", range(12))
@pytest.mark.parametrize("failure", ["kill one", "kill two", "die one", "die two", "cut"])
def test_a_day_of_commands_cut_after_every_step(cut: int, failure: str) -> None:
    """Failovers there and back, each step followed by a failure and what an operator does then: in the end both are a pair again."""
    day = ["primary one", "secondary two", "failover one", "secondary one", "failover two", "secondary two", "stop one", "secondary one", "failover two", "secondary two", "stop two", "secondary two"]  # fmt: skip
    world = World()
    for step in day[:cut]:
        world.do(step)
        check(world, (step,))
    world.do(failure)
    check(world, (failure,))
    for step in ("mend", "restart one", "restart two", "boot one", "boot two"):
        world.do(step)
        check(world, (failure, step))
    holder = next((m for m in world.machines if m.holds), None)
    if holder is None:  # an operator looks, and begins anew
        world.do("stop one")
        world.do("stop two")
        world.do("primary one")
        holder = world.one
    world.do("secondary two" if holder is world.one else "secondary one")
    assert {m.node.state for m in world.machines} == {S.PRIMARY, S.SECONDARY}
    assert holder.holds


def test_last_who_took_it_keeps_it_when_a_network_is_whole_again() -> None:
    """Whatever the addresses are: clients know that one, and equal priorities would move it without a gratuitous ARP."""
    for first, second in (("one", "two"), ("two", "one")):
        world = World()
        for step in (f"primary {first}", f"secondary {second}", "cut"):
            world.do(step)
        assert world.one.holds
        assert world.two.holds
        world.do("mend")
        assert (world.one.holds, world.two.holds) == (second == "one", second == "two")
        loser = world.one if first == "one" else world.two
        assert loser.node.state is S.STAND_ALONE
