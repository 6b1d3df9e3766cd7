"""The order of a resource's start and stop: whatever happens after whichever step, nobody else gets its place while anything of it is left."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsproxy.ha.resource.order import CODE_STUCK, FREE, TABLE, Event, Phase, step


def go(phase: Phase, *events: Event) -> list[Phase]:
    found = []
    for event in events:
        moved = step(phase, event)
        if moved is not None:
            phase = moved.phase
        found.append(phase)
    return found


def test_the_order_of_a_start_and_a_stop() -> None:
    """Take, start; stop, awaited, release: each after the one before has ended."""
    up = go(Phase.IDLE, Event.BEGIN, Event.DONE, Event.UP)
    assert up == [Phase.TAKING, Phase.STARTING, Phase.RUNNING]
    down = go(Phase.RUNNING, Event.END, Event.GONE, Event.LATE, Event.DONE)
    assert down == [Phase.STOPPING, Phase.DELAYING, Phase.RELEASING, Phase.IDLE]


def test_what_stop_returns_is_not_believed() -> None:
    """The seed's rc207: its command has ended, and its processes have not."""
    assert go(Phase.STOPPING, Event.DONE, Event.FAILED) == [Phase.STOPPING, Phase.STOPPING]


def test_late_is_killed_and_says_207() -> None:
    """And so does what cannot be released."""
    moved = step(Phase.STOPPING, Event.LATE)
    assert moved is not None
    assert (moved.phase, moved.code) == (Phase.KILLING, CODE_STUCK) == (Phase.KILLING, 207)
    stuck = step(Phase.RELEASING, Event.FAILED)
    assert stuck is not None
    assert (stuck.phase, stuck.code) == (Phase.STUCK, 207)
    assert go(Phase.STUCK, Event.LATE, Event.GONE, Event.DONE)[-1] == Phase.IDLE


def test_failures_are_the_members() -> None:
    """A start that fails, or never comes up, and a resource that falls ill; a stop that is late says nothing against a member."""
    bad = {(Phase.TAKING, Event.FAILED), (Phase.TAKING, Event.LATE), (Phase.STARTING, Event.FAILED), (Phase.STARTING, Event.LATE), (Phase.RUNNING, Event.ILL)}  # fmt: skip
    for phase, event in TABLE:
        moved = step(phase, event)
        assert moved is not None
        assert bool(moved.failure) == ((phase, event) in bad)


def test_from_everywhere_the_end_can_be_reached() -> None:
    """No phase is a trap: with an environment that does what it is told each one ends in IDLE."""
    for phase in Phase:
        now = phase
        for _ in range(10):
            for event in (Event.END, Event.GONE, Event.DONE, Event.LATE):
                moved = step(now, event)
                if moved is not None:
                    now = moved.phase
                    break
        assert now in (Phase.IDLE, Phase.RELEASING, Phase.DELAYING, Phase.KILLING) or now == phase
        while now is not Phase.IDLE:
            before = now
            for event in (Event.END, Event.GONE, Event.DONE, Event.LATE):
                moved = step(now, event)
                if moved is not None:
                    now = moved.phase
                    break
            assert now is not before


@pytest.mark.parametrize("phase", [Phase.TAKING, Phase.STARTING, Phase.RUNNING])
@pytest.mark.parametrize("event", [Event.END, Event.FENCE])
def test_an_end_comes_through_at_once(phase: Phase, event: Event) -> None:
    """Also while it starts."""
    assert go(phase, event) == [Phase.STOPPING]


@dataclass
class World:
    """What is really there: the disk is taken, the program runs. Events are told as a keeper would see them."""

    phase: Phase = Phase.SWEEPING
    has_taken: bool = False
    runs: bool = False
    log: list[str] = field(default_factory=list)

    def can(self, event: Event) -> bool:
        """Whether a keeper could say so now."""
        match event:
            case Event.GONE:
                return not self.runs
            case Event.FOUND:
                return self.runs
            case Event.UP:
                return self.runs
            case _:
                return True

    def happen(self, event: Event) -> None:
        if not self.can(event):
            return
        before = self.phase
        moved = step(before, event)
        if before is Phase.RELEASING and event is Event.DONE:
            self.has_taken = False
        if moved is None:
            return
        self.phase = moved.phase
        if self.phase is Phase.TAKING:
            self.has_taken = True  # from the moment on at which it begins
        if self.phase is Phase.STARTING:
            self.runs = True
        self.log.append(f"{before} {event} {self.phase}")

    def end_program(self) -> None:
        """Stopped, killed, or fell over: as it likes."""
        self.runs = False

    def lose_keeper(self) -> None:
        """By kill -9: the next one begins with a sweep."""
        self.phase = Phase.SWEEPING

    def check(self) -> None:
        if self.phase in FREE:
            assert not self.runs, self.log
            assert not self.has_taken, self.log


LIFE = [Event.GONE, Event.DONE, Event.BEGIN, Event.DONE, Event.UP, Event.ILL, Event.LATE, Event.GONE, Event.DONE, Event.BEGIN, Event.DONE, Event.UP, Event.END, None, Event.GONE, Event.LATE, Event.FAILED, Event.LATE, Event.GONE, Event.DONE]  # fmt: skip


@pytest.mark.parametrize("cut", range(len(LIFE) + 1))
@pytest.mark.parametrize("fault", ["kill", "fence", "end", "program"])
def test_cut_after_every_step(cut: int, fault: str) -> None:
    """A whole life with a failed start and a stuck release, one fault after each step, and the rest of it once more."""
    world = World()
    for place, event in enumerate([*LIFE, *LIFE]):
        if place == cut:
            if fault == "kill":
                world.lose_keeper()
            elif fault == "program":
                world.end_program()
            else:
                world.happen(Event.FENCE if fault == "fence" else Event.END)
        if event is None or world.phase in (Phase.KILLING, Phase.STOPPING):
            world.end_program()
        if event is not None:
            world.happen(event)
        world.check()


@given(st.lists(st.sampled_from([*Event, "program", "keeper"]), max_size=80))
def test_any_order_of_events(events: list[Event | str]) -> None:
    """IDLE is never said while the program runs or the disk is taken."""
    world = World()
    for event in events:
        if event == "program":
            world.end_program()
        elif event == "keeper":
            world.lose_keeper()
        else:
            assert isinstance(event, Event)
            world.happen(event)
        world.check()
