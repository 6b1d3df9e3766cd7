"""
Never two holders of one seat: the pure steps against a model of the store, everything cut after every step.

The model has what the real thing has: heartbeats whose way takes time, answers that are lost, what was read of the key coming late,
processes that stop and go on, a store that keeps leases longer than they ask for, and one clock for all (each member's runs at the
same pace; what it shows does not matter, since deadlines are differences).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from wsproxy.ha.group.fence import Fence
from wsproxy.ha.group.seat import Held, Phase, Seat, Step

TTL_S = 4.0
TICK_S = 0.05
NAMES = ("a", "b", "c")


@dataclass
class Proxy:
    name: str
    fence: Fence = field(default_factory=lambda: Fence(TTL_S))
    lease: int = 0
    held: Held | None = None  # as it has read
    wanted: str | None = None  # as its view says
    heartbeats: list[tuple[int, float]] = field(
        default_factory=list
    )  # sent, not received: lease, when
    claims: list[int] = field(default_factory=list)  # sent, not received: lease
    releases: list[int] = field(default_factory=list)  # tokens
    unread: list[Held | None] = field(default_factory=list)  # what the watch still has to tell
    is_stopped: bool = False
    grants: list[float] = field(default_factory=list)  # asked for a lease at

    def __post_init__(self) -> None:
        self.seat = Seat(self.name)


class Cell:
    """Three members, one seat."""

    def __init__(self) -> None:
        self.now = 100.0
        self.revision = 0
        self.next_lease = 0
        self.key: Held | None = None
        self.ends: dict[int, float] = {}  # lease -> the earliest time at which it may end
        self.proxies = {name: Proxy(name) for name in NAMES}
        self.handovers = 0

    def write(self, held: Held | None) -> None:
        self.key = held
        for each in self.proxies.values():
            each.unread.append(held)

    # --- the members -------------------------------------------------------------------------------------------------

    def step(self, proxy: Proxy) -> None:
        """What a member does whenever it runs: the step that is due, as ``group.membership`` does it."""
        if proxy.is_stopped:
            return
        seat = proxy.seat
        due = seat.decide(
            wanted=proxy.wanted, held=proxy.held, lease=proxy.lease, fence=proxy.fence, now=self.now
        )
        if due is Step.CLAIM:
            seat.claiming(proxy.lease)
            proxy.claims.append(proxy.lease)
        elif due is Step.BEGIN:
            assert proxy.held is not None
            seat.begun(proxy.held)
            self.handovers += 1
        elif due is Step.STOP:
            seat.stopping()
            seat.stopped()
        elif due is Step.RELEASE:
            assert proxy.held is not None
            seat.releasing(proxy.held)
            if proxy.held.token not in proxy.releases:
                proxy.releases.append(proxy.held.token)

    def runs(self, name: str) -> None:
        self.step(self.proxies[name])

    def time_passes(self, name: str, ticks: int) -> None:
        """Every member that runs has its timer: it comes at the deadline, whatever else is late."""
        for _ in range(ticks):
            self.now += TICK_S
            for each in self.proxies.values():
                if each.seat.phase is Phase.ON and each.fence.is_past(self.now):
                    self.step(each)

    def sees_another_view(self, name: str, wanted: str | None) -> None:
        """Members may even disagree for ever about who is wanted."""
        self.proxies[name].wanted = wanted
        self.step(self.proxies[name])

    def stops(self, name: str) -> None:
        self.proxies[name].is_stopped = True

    def goes_on(self, name: str) -> None:
        """Before anything else it looks whether it may: its timer is over, or the answer that came asks."""
        proxy = self.proxies[name]
        proxy.is_stopped = False
        self.step(proxy)

    def asks_for_a_lease(self, name: str) -> None:
        proxy = self.proxies[name]
        if not proxy.is_stopped and not proxy.lease:
            proxy.grants.append(self.now)

    def beats(self, name: str) -> None:
        proxy = self.proxies[name]
        if not proxy.is_stopped and proxy.lease:
            proxy.heartbeats.append((proxy.lease, self.now))

    def loses_its_lease(self, name: str) -> None:
        """It was told that the lease is gone, or gives it up: work ends first."""
        proxy = self.proxies[name]
        if not proxy.is_stopped and proxy.lease and proxy.lease not in self.ends:
            proxy.fence.drop()
            proxy.lease = 0
            self.step(proxy)

    # --- the ways, and the store --------------------------------------------------------------------------------------

    def a_lease_is_granted(self, name: str, is_answered: bool) -> None:
        proxy = self.proxies[name]
        if proxy.grants:
            sent_at = proxy.grants.pop(0)
            self.next_lease += 1
            self.ends[self.next_lease] = self.now + TTL_S
            if is_answered and not proxy.is_stopped and not proxy.lease:
                proxy.lease = self.next_lease
                proxy.fence.renewed(sent_at)
                self.step(proxy)

    def a_heartbeat_arrives(self, name: str, is_answered: bool) -> None:
        proxy = self.proxies[name]
        if proxy.heartbeats:
            lease, sent_at = proxy.heartbeats.pop(0)
            if lease in self.ends:
                self.ends[lease] = self.now + TTL_S
                if is_answered and lease == proxy.lease:
                    proxy.fence.renewed(sent_at)
                    self.step(proxy)

    def a_claim_arrives(self, name: str) -> None:
        proxy = self.proxies[name]
        if proxy.claims:
            lease = proxy.claims.pop(0)
            if lease in self.ends and self.key is None:
                self.revision += 1
                self.write(Held(name, lease, self.revision))
            if proxy.seat.phase is Phase.CLAIMING:
                proxy.seat.claimed()  # and what came of it, the watch tells

    def a_claim_is_given_up(self, name: str) -> None:
        """Its time is over, and it may still arrive."""
        proxy = self.proxies[name]
        if proxy.seat.phase is Phase.CLAIMING:
            proxy.seat.claimed()

    def a_release_arrives(self, name: str, is_done: bool) -> None:
        proxy = self.proxies[name]
        if proxy.releases:
            token = proxy.releases.pop(0)
            if is_done and self.key is not None and self.key.token == token:
                self.revision += 1
                self.write(None)

    def is_told(self, name: str) -> None:
        proxy = self.proxies[name]
        if proxy.unread and not proxy.is_stopped:
            proxy.held = proxy.unread.pop(0)
            self.step(proxy)

    def is_told_all(self, name: str) -> None:
        while self.proxies[name].unread and not self.proxies[name].is_stopped:
            self.is_told(name)

    def a_lease_ends(self, pick: int) -> None:
        """At the earliest a ttl after the store received the last heartbeat; often later."""
        over = [lease for lease, at in self.ends.items() if at <= self.now]
        if over:
            lease = over[pick % len(over)]
            del self.ends[lease]
            if self.key is not None and self.key.lease == lease:
                self.revision += 1
                self.write(None)

    # --- what never is -------------------------------------------------------------------------------------------------

    def at_most_one_works(self) -> None:
        """One that is stopped does nothing, and ends its work before anything else when it goes on."""
        at_work = [
            each.name
            for each in self.proxies.values()
            if each.seat.phase is not Phase.OUT
            and each.seat.phase is not Phase.CLAIMING
            and not each.is_stopped
        ]
        assert len(at_work) <= 1, at_work

    def a_stale_token_is_seen(self) -> None:
        """Whoever works without the key (stopped, and somebody else has it) has another token than the store's: its write fails."""
        for each in self.proxies.values():
            if each.seat.phase is Phase.ON and (self.key is None or self.key.name != each.name):
                assert each.is_stopped
                assert self.key is None or self.key.token != each.seat.token

    def move(self, chance: random.Random) -> None:
        """Anything that can happen, likelier what leads on."""
        name = chance.choice(NAMES)
        what: Callable[[], object] = chance.choice(
            (
                lambda: self.runs(name),
                lambda: self.time_passes(name, chance.choice((1, 1, 1, 2, 30))),
                lambda: self.sees_another_view(
                    name, chance.choice((*NAMES, name, name, name, None))
                ),
                lambda: self.stops(name) if chance.random() < 0.2 else self.goes_on(name),
                lambda: self.goes_on(name),
                lambda: self.asks_for_a_lease(name),
                lambda: self.a_lease_is_granted(name, chance.random() < 0.8),
                lambda: self.beats(name),
                lambda: self.beats(name),
                lambda: self.a_heartbeat_arrives(name, chance.random() < 0.8),
                lambda: self.a_heartbeat_arrives(name, chance.random() < 0.8),
                lambda: self.loses_its_lease(name),
                lambda: self.a_claim_arrives(name),
                lambda: self.a_claim_is_given_up(name) if chance.random() < 0.3 else None,
                lambda: self.a_release_arrives(name, chance.random() < 0.8),
                lambda: self.is_told(name),
                lambda: self.is_told_all(name),
                lambda: self.is_told_all(name),
                lambda: self.a_lease_ends(chance.randrange(9)),
            )
        )
        what()
        self.at_most_one_works()
        self.a_stale_token_is_seen()


def walk(seeds: range) -> int:
    """So many lives of a cell, each from its seed; how often a seat was taken."""
    taken = 0
    for seed in seeds:
        chance, cell = random.Random(seed), Cell()
        for _ in range(500):
            cell.move(chance)
        taken += cell.handovers
    return taken


def test_never_two() -> None:
    """In 200,000 steps in all orders; and the seat is taken often, so that there was something to see."""
    assert walk(range(400)) > 400


def naive_renewed(self: Fence, sent_at: float) -> None:
    """Counted from later than the heartbeat was sent: what HA.md 2.3 measured as unsafe."""
    self.deadline = max(self.deadline, sent_at + 2 * self.ttl_s)


def test_the_model_finds_a_late_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence that is late lets two work: the model is one that sees it."""
    monkeypatch.setattr(Fence, "renewed", naive_renewed)
    with pytest.raises(AssertionError):
        walk(range(400))


def test_the_model_finds_a_token_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given back and is still read as ours."""
    monkeypatch.setattr(Seat, "releasing", lambda _self, _held: None)
    with pytest.raises(AssertionError):
        walk(range(400))


def run(cut: int) -> tuple[list[str], Proxy]:
    """A whole life of a holder, cut after ``cut`` steps; what was done, and who did it."""
    cell = Cell()
    a = cell.proxies["a"]
    done: list[str] = []

    def does(name: str, call: object) -> None:
        if len(done) < cut:
            assert callable(call)
            call()
            done.append(name)

    does("ask", lambda: cell.asks_for_a_lease("a"))
    does("grant", lambda: cell.a_lease_is_granted("a", True))
    does("want", lambda: cell.sees_another_view("a", "a"))
    does("claim", lambda: cell.a_claim_arrives("a"))
    does("told", lambda: cell.is_told("a"))
    does("beat", lambda: cell.beats("a"))
    does("beaten", lambda: cell.a_heartbeat_arrives("a", True))
    does("unwanted", lambda: cell.sees_another_view("a", "b"))
    does("release", lambda: cell.runs("a"))
    does("released", lambda: cell.a_release_arrives("a", True))
    does("told again", lambda: cell.is_told("a"))
    cell.at_most_one_works()
    # then nothing more of it: time passes, its lease ends, b takes the seat.
    cell.stops("a")
    cell.time_passes("b", 200)
    for lease in [lease for lease, at in cell.ends.items() if at <= cell.now]:
        del cell.ends[lease]
        if cell.key is not None and cell.key.lease == lease:
            cell.write(None)
    cell.asks_for_a_lease("b")
    cell.a_lease_is_granted("b", True)
    while cell.proxies["b"].unread:
        cell.is_told("b")
    cell.sees_another_view("b", "b")
    cell.a_claim_arrives("b")
    cell.is_told("b")
    assert cell.proxies["b"].seat.phase is Phase.ON
    cell.goes_on("a")
    cell.at_most_one_works()
    cell.a_stale_token_is_seen()
    return done, a


def test_cut_after_every_step() -> None:
    """Wherever a holder is cut off, the next one holds, and the first one does no more when it comes back."""
    lengths = {len(run(cut)[0]) for cut in range(12)}
    assert lengths == set(range(12))


def test_a_fence_never_moves_back() -> None:
    """Answers may overtake each other."""
    fence = Fence(5.0)
    assert fence.is_past(0.0)
    fence.renewed(10.0)
    fence.renewed(9.0)
    assert (fence.deadline, fence.is_past(14.7), fence.is_past(14.75)) == (14.75, False, True)
    fence.drop()
    assert fence.is_past(10.0)


def test_nobody_elses_seat_is_touched() -> None:
    """Held by another, or by an earlier start of ours on another lease: it ends with its lease."""
    seat, fence = Seat("a"), Fence(5.0)
    fence.renewed(0.0)
    for held in (Held("b", 7, 3), Held("a", 6, 3)):
        assert seat.decide(wanted="a", held=held, lease=5, fence=fence, now=1.0) is Step.NOTHING
