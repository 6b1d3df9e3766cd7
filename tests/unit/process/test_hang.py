"""Who hangs and who does not: real processes, and a clock that the test moves."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.support.debugger import held
from tests.support.forks import Child as Forked
from tests.support.forks import start_child
from tests.support.process import WAIT_S
from wsproxy.process.child import Child
from wsproxy.process.hang import ABORT_GRACE_S, EXCUSE_S, LOOK_S, SILENT_S, HangWatch
from wsproxy.process.system import read_process
from wsproxy.process.turns import Turns

HANG_S = 30.0
HOUR = 3600.0


def quietly(work: Callable[[], None]) -> None:
    faulthandler.disable()  # pytest's
    work()


def sleep_on() -> None:
    while True:
        time.sleep(100)


def wait_for_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def spin() -> None:
    while True:
        pass


@dataclass(slots=True)
class Scene:
    """A watch over one process, looked at twice a second of a clock of our own."""

    hang_s: float = HANG_S
    turns: Turns = field(default_factory=lambda: Turns(1))
    watch: HangWatch = field(init=False)
    child: Child = field(init=False)
    forked: Forked = field(init=False)
    now: float = 1000.0

    def start(self, work: Callable[[], None]) -> None:
        self.forked = start_child(partial(quietly, work))
        while work is not spin and self.letter() != "S":
            time.sleep(0.001)
        self.watch = HangWatch(self.turns, self.hang_s)
        self.child = Child("worker 0", row=0, pid=self.forked.pid)
        self.watch.begin(0)
        self.turns.note(0)
        self.watch.look([self.child], self.now)

    def letter(self) -> str:
        state = read_process(self.forked.pid)
        return "" if state is None else state.letter

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self.watch.look([self.child], self.now)

    def end(self) -> int | None:
        """The signal that ended it; None: it runs."""
        pid, status = os.waitpid(self.forked.pid, os.WNOHANG)
        return os.WTERMSIG(status) if pid else None

    def wait(self) -> int:
        return os.WTERMSIG(os.waitpid(self.forked.pid, 0)[1])


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    os.close(made.forked.answer)
    made.forked.kill()


@pytest.mark.parametrize("is_stopped", [False, True])
def test_silence_is_told_then_ended(
    scene: Scene, is_stopped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """After SILENT_S others get its work, after hang_s it gets SIGABRT, which also one that is stopped acts on."""
    scene.start(sleep_on)
    if is_stopped:
        os.kill(scene.forked.pid, signal.SIGSTOP)
        os.waitpid(scene.forked.pid, os.WUNTRACED)
    scene.run(SILENT_S - LOOK_S)
    assert not scene.watch.is_silent(0)
    scene.run(LOOK_S)
    assert scene.watch.is_silent(0)
    assert "makes no turn for 2.0 s" in caplog.text
    scene.run(HANG_S - SILENT_S - LOOK_S)
    assert scene.end() is None
    scene.run(LOOK_S)
    assert scene.wait() == signal.SIGABRT
    does = "was stopped by a signal" if is_stopped else "waits in a system call"
    assert f"makes no turn for 30.0 s (process.hang_s): it {does}" in caplog.text


def test_turn_ends_the_silence(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """However often it comes close."""
    caplog.set_level(logging.WARNING)
    scene.start(sleep_on)
    for _ in range(3):
        scene.run(HANG_S - LOOK_S)
        scene.turns.note(0)
        scene.run(LOOK_S)
        assert not scene.watch.is_silent(0)
    assert scene.end() is None
    assert caplog.text.count("makes turns again, after 29.5 s") == 3


def test_sleep_of_the_machine_is_nobodys_silence(scene: Scene) -> None:
    """Nor is a supervisor that was stopped itself: time that it did not see does not count, however often that happens."""
    scene.start(sleep_on)
    for _ in range(5):
        scene.now += HOUR
        scene.run(LOOK_S)
        assert not scene.watch.is_silent(0)
        scene.turns.note(0)
        scene.run(LOOK_S)
    assert scene.end() is None


def test_who_waits_for_a_cpu_does_not_hang(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """It is ready to run and had next to no CPU time: another process in its place would have none either. It is told why."""
    scene.start(spin)
    scene.run(HANG_S / 2)
    assert scene.watch.is_hanging(0)  # as far as anybody knows
    scene.run(HANG_S / 2 + 2 * EXCUSE_S)
    assert not scene.watch.is_hanging(0)
    assert scene.end() is None
    assert caplog.text.count("and is not killed: it is ready to run and got 0.") == 3


def test_who_spins_hangs(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """It has all the CPU time it wants."""
    scene.hang_s = 1.0
    scene.start(spin)
    scene.run(LOOK_S)
    deadline = time.monotonic() + WAIT_S
    while _used_s(scene.forked.pid) < 0.5 and time.monotonic() < deadline:
        time.sleep(0.02)
    scene.run(1.0)
    assert scene.wait() == signal.SIGABRT
    assert "it runs without end" in caplog.text


def _used_s(pid: int) -> float:
    state = read_process(pid)
    assert state is not None
    return state.cpu_s


def test_who_is_debugged_does_not_hang(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """As long as the debugger is there; then it is killed."""
    scene.start(sleep_on)
    with held(scene.forked.pid):
        scene.run(HANG_S + 5)
        assert f"is not killed: process {os.getpid()} traces it" in caplog.text
        assert scene.letter() == "t"
        assert not scene.watch.is_hanging(0)
    while "and is killed" not in caplog.text:
        scene.run(LOOK_S)
    assert scene.wait() == signal.SIGABRT


def test_sigkill_follows(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """For who does not act on SIGABRT; who stays even then is lost, and told to the service manager by silence."""
    reader, writer = os.pipe()

    def deaf() -> None:
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        os.write(writer, b"r")
        sleep_on()

    scene.start(deaf)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    scene.run(HANG_S)
    assert scene.watch.is_hanging(0)
    scene.run(ABORT_GRACE_S)
    assert scene.wait() == signal.SIGKILL
    assert "did not end with SIGABRT; SIGKILL" in caplog.text
    assert scene.watch.is_hanging(0)


def test_who_waits_for_a_lock_is_not_killed_with_its_holder(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One at a time, and first who does not wait for a lock: what the others waited for is free then."""
    waits, holds = Scene(), Scene()
    try:
        waits.start(wait_for_lock)
        holds.start(sleep_on)
        turns = Turns(2)
        watch = HangWatch(turns, HANG_S)
        children = [Child("waits", row=0, pid=waits.forked.pid), Child("holds", row=1, pid=holds.forked.pid)]  # fmt: skip
        for row in (0, 1):
            watch.begin(row)
        for look in range(round(HANG_S / LOOK_S) + 2):
            watch.look(children, 1000 + look * LOOK_S)
        assert holds.wait() == signal.SIGABRT
        children[1].pid = None
        turns.note(0)
        for look in range(10):
            watch.look(children, 1000 + HANG_S + look * LOOK_S)
        assert waits.end() is None
        assert caplog.text.count("and is killed") == 1
    finally:
        for scene in (waits, holds):
            os.close(scene.forked.answer)
            scene.forked.kill()


def test_off_kills_nobody(scene: Scene) -> None:
    """But new connections still go to others, and a service manager hears of it."""
    scene.hang_s = 0.0
    scene.start(sleep_on)
    scene.run(HOUR)
    assert scene.end() is None
    assert scene.watch.is_silent(0)
    assert scene.watch.is_hanging(0)


def test_off_excuses_as_well(scene: Scene) -> None:
    """The service manager is not told that a worker hangs which a debugger holds."""
    scene.hang_s = 0.0
    scene.start(sleep_on)
    with held(scene.forked.pid):
        scene.run(EXCUSE_S - LOOK_S)
        assert scene.watch.is_hanging(0)
        scene.run(2 * LOOK_S)
        assert not scene.watch.is_hanging(0)


def test_a_service_manager_that_waits_too_short_is_named(caplog: pytest.LogCaptureFixture) -> None:
    watch = HangWatch(Turns(1), 30.0)
    watch.compare(0)
    watch.compare(40)
    assert caplog.text == ""
    watch.compare(39)
    assert "let it wait 40 s at least" in caplog.text


def test_successor_begins_anew(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """With the silence of its predecessor forgotten; a start that takes its time is no news, but has to end."""
    scene.start(sleep_on)
    scene.run(HANG_S - LOOK_S)
    scene.watch.begin(0)
    caplog.clear()
    scene.run(HANG_S)
    assert "makes no turn" not in caplog.text
    assert scene.end() is None
    scene.run(LOOK_S)
    assert scene.wait() == signal.SIGABRT


def test_turns_are_seen_across_processes() -> None:
    """What a child counts, its parent reads; rows are apart."""
    turns = Turns(3)
    child = start_child(partial(turns.note, 1))
    os.waitpid(child.pid, 0)
    os.close(child.answer)
    turns.note(2)
    assert [turns.count(row) for row in range(3)] == [0, 1, 1]
