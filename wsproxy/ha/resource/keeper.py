"""
The process that runs one resource on this member, and that stops it when nobody tells it any more that it may run.

Forked by ``runner``, which tells it to begin and to end, and until when the member's lease lets anything run (``Told``); it answers with what it does (``Said``). It outlives
the member's process: where that one ends, hangs or is killed, the resource is stopped before the lease can end for anybody else. What a keeper that
was killed has left, the next one finds and ends before it says anything. One thread, no event loop: a resource's programs are awaited here and nothing else.
Order is ``order``'s; must not know of etcd.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence

import msgspec

from wsproxy.admin.wall_clock import wall_ms
from wsproxy.config.address import Address, parse_address
from wsproxy.config.settings_groups import KILL_S, ResourceSettings, fence_lead_s
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.own_process import become_reaper
from wsproxy.ha.resource import processes
from wsproxy.ha.resource.command import Command, Look, begin, drain, environment_of
from wsproxy.ha.resource.lock import Claim
from wsproxy.ha.resource.messages import MOST_BYTES, Identity, Said, Told
from wsproxy.ha.resource.order import CODE_STUCK, Event, Phase, step
from wsproxy.ha.resource.page import Page

log = logging.getLogger("wsproxy.ha")

# How often what cannot be waited for is looked at: processes that are nobody's child, ports, locks.
LOOK_S = 0.05
# Behind a look that found a resource not stopped by its `status`, or not up: the next one.
ASK_AGAIN_S = 0.25
# So many looks in a row find nothing that was left: one that becomes another program is not seen in that moment.
EMPTY_LOOKS = 3
# A pid file may be so much older than the start that wrote it, by the clock of its disk.
PID_FILE_S = 1.0
# A release that failed is tried again after so long.
STUCK_S = 5.0
_BEGAN = "this process began"

MakeGuard = Callable[[int, socket.socket, Page], int]


class Keeper:
    """One a resource and member."""

    def __init__(
        self, resource: ResourceSettings, identity: Identity, channel: socket.socket | None,
        make_guard: MakeGuard, lock: socket.socket | None = None, clock: Callable[[], float] = boot_clock,
        left: Sequence[processes.Known] = (), ends_at: float = 0.0,
    ) -> None:  # fmt: skip
        """
        ``channel``: SOCK_SEQPACKET, to the member's process; None: there is none any more. ``lock``: that of the one before, where it was handed on.

        ``make_guard``: forks one, given a descriptor of this process, the lock and what both share; its pid. ``left``: what the one before had, whatever became of its mark.
        ``ends_at``: the end of the right, as the one before knew it.
        """
        self._make_guard = make_guard
        self._page = Page()
        self._left = left
        self._resource = resource
        self._identity = identity
        self._channel = channel
        self._clock = clock
        self._ports: list[Address] = [
            parse_address(each, is_listener=False) for each in resource.ports
        ]
        self._commands: list[Command] = []
        self._current: Command | None = None  # what the phase waits for
        self._status: Command | None = None
        self._status_sessions: set[int] = set()
        self._start: Command | None = None
        self._main: processes.Known | None = None  # of the pid file
        self._started_at = 0.0  # seconds of 1970
        self._entered_status = 0.0
        self._is_known_up = False
        self._look = Look()
        self._phase = Phase.SWEEPING
        self._entered = clock()
        self._has_begun = False  # `start` was run
        self._number = 0
        self._runs = False
        self._token = 0
        self._until = 0.0
        self._ends_at = ends_at  # of the right; known also where it is another process's
        self._every_s = resource.is_alive_s
        self._code = 0
        self._why = _BEGAN
        self._failures: list[float] = []
        self._given_up_until = 0.0
        self._is_alone = channel is None
        self._said: Said | None = None
        self._lock = lock
        self._claim = Claim(identity.mark, clock())
        self._guard = 0  # pid
        self._empty_looks = 0
        self._selector = selectors.DefaultSelector()

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the member's process is gone and nothing of the resource is left."""
        become_reaper()
        me = os.pidfd_open(os.getpid())
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, lambda: drain(wake))
        if self._channel is not None:
            self._channel.setblocking(False)
            self._selector.register(self._channel, selectors.EVENT_READ, self._hear)
        while not (self._is_alone and self._phase is Phase.IDLE):
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            self._reap()
            if self._lock is not None and not self._guard:
                self._guard = self._make_guard(me, self._lock, self._page)
            self._act()
            self._promise()
            self._say()
        if self._guard:
            processes.kill([self._guard])

    def _wait_s(self) -> float:
        now = self._clock()
        if self._phase is Phase.KILLING and now > self._entered + 1.0:
            return ASK_AGAIN_S  # what a second has not ended, a faster look does not
        if self._phase is Phase.IDLE:
            due = self._given_up_until if self._given_up_until > now else now + 3600.0
            lapse = self._until - KILL_S
            return max(min(due, lapse if lapse > now else due) - now, 0.0)
        if self._phase is Phase.RUNNING:
            due = min(self._look.ask_at or now + 3600.0, self._fence_at)
            if self._status is not None:
                due = min(due, now + LOOK_S)
            return max(due - now, 0.0)
        return LOOK_S

    def _hear(self) -> None:
        assert self._channel is not None
        while True:
            try:
                data = self._channel.recv(MOST_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._be_alone()
                return
            told = msgspec.json.decode(data, type=Told)
            self._number = told.number
            if told.until is not None:
                self._until = self._ends_at = told.until
            if told.every_s is not None:
                self._every_s = told.every_s
            if told.token is not None:
                self._token = told.token
            if told.clears:
                self._failures.clear()
                self._given_up_until = 0.0
            if told.runs is not None:
                self._runs = told.runs

    def _be_alone(self) -> None:
        """The member's process has ended: nobody would say when the lease does."""
        assert self._channel is not None
        self._selector.unregister(self._channel)
        self._is_alone = True
        self._runs = False
        if self._phase is not Phase.IDLE:
            log.warning("ha: resource %s: the member's process is gone; it is stopped", self._name)

    def _say(self) -> None:
        given_up = self._given_up_until > self._clock()
        last = self._said
        is_same = (
            last is not None
            and (last.number, last.phase, last.code, last.why, last.given_up)
            == (self._number, self._phase, self._code, self._why, given_up)
        )  # fmt: skip
        is_silent = self._phase is Phase.SWEEPING and not self._claim.why
        if is_same or self._is_alone or is_silent or self._channel is None:
            return
        is_moved = last is None or last.phase is not self._phase
        since_ms = wall_ms() if is_moved or last is None else last.since_ms
        said = Said(self._number, self._phase, self._code, self._why, given_up, since_ms)
        with contextlib.suppress(OSError):  # its end is heard next
            self._channel.send(msgspec.json.encode(said))
            self._said = said

    # --- programs -----------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        return self._resource.name

    def _begin(self, what: str) -> Command | None:
        """None: it cannot be run, which was noted."""
        identity = self._identity
        environment = environment_of(identity.mark, identity.member, self._name, self._token)
        environment["WSPROXY_HA_ACTION"] = what
        try:
            command = begin(what, getattr(self._resource, what), environment)
        except OSError as error:
            self._why = f"{what} cannot be run: {error}"
            return None
        self._commands.append(command)
        self._selector.register(command.output, selectors.EVENT_READ, lambda: self._empty(command))
        return command

    def _empty(self, command: Command) -> None:
        fd = command.output
        if not command.read():
            self._selector.unregister(fd)
            if command.code is not None:
                self._commands.remove(command)

    def _reap(self) -> None:
        """Of all descendants: orphans are ours, too."""
        by_pid = {each.pid: each for each in self._commands}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid == self._guard:
                self._guard = 0
            if (command := by_pid.get(pid)) is not None:
                command.note_end(status)
                if command.output >= 0:
                    self._empty(command)
                if command.output < 0 and command in self._commands:
                    self._commands.remove(command)

    # --- what is there ------------------------------------------------------------------------------------------------

    def _living(self) -> list[int]:
        """Processes of the resource, without looks at it."""
        found = processes.descendants(os.getpid(), self._not_of_it)
        if self._phase is Phase.KILLING:  # what another keeper has left is nobody's descendant here
            found += processes.marked(self._identity.mark, self._not_of_it)
            found += [each.pid for each in self._left if processes.lives(each)]
        if self._main is not None and processes.lives(self._main):
            found.append(self._main.pid)
        known = (processes.known_of(each) for each in found)
        self._page.note([each for each in known if each is not None])
        return found

    def _promise(self) -> None:
        """What the guard holds this process to: it has acted by the end of the right, or said that it has nothing to do then."""
        is_due = self._phase in (Phase.TAKING, Phase.STARTING, Phase.RUNNING, Phase.STOPPING)
        # One that has nothing to keep would still keep its successors waiting, for its lock.
        is_due |= self._phase is Phase.IDLE and self._until - KILL_S > self._clock()
        self._page.promise(self._until - KILL_S / 2 if is_due else float("inf"), self._ends_at)

    def _is_gone(self) -> bool:
        """No process, no port, no lock; and where a `status` is believed, it says so, too."""
        # Twice: one whose parent ended while they were counted is nobody's child in that count.
        if self._living() or self._living():
            return False
        if not self._has_begun:
            return True  # ports and locks are not ours
        if processes.taken(self._ports, self._resource.lock_files):
            return False
        if not self._resource.status:
            return True
        is_killing = self._phase is Phase.KILLING
        if not is_killing and self._clock() >= self._until - KILL_S:
            return True  # no time to ask
        code = self._ask_status()
        if code is None:
            return is_killing and self._is_last_moment
        return code > 0 or (is_killing and code < 0)

    @property
    def _is_last_moment(self) -> bool:
        """What is released now is, before another member takes it: no answer of a `status` is waited for. Once that is past, nothing is gained by hurry."""
        release_s = self._resource.fence_s if self._resource.release else 0.0
        return self._entered < self._ends_at <= self._clock() + release_s + KILL_S / 2

    @property
    def _not_of_it(self) -> set[int]:
        """Sessions of looks, and of the guard."""
        # Only while the look itself is there: what it has started and left is the resource's.
        looks = {each for each in self._status_sessions if os.path.exists(f"/proc/{each}")}
        return {*looks, self._guard}

    def _ask_status(self) -> int | None:
        """What the last `status` of this phase said; None: none has ended yet, one is under way. A negative one was killed: it hung."""
        look, now = self._look, self._clock()
        if self._status is not None:
            limit = self._entered_status + self._resource.status_s
            if self._status.code is None and now >= limit:
                self._status.end_now()
                look.status = -signal.SIGKILL
                self._why = f"status took more than {self._resource.status_s:g} s and was killed"
                self._status = None
                look.ask_at = now + ASK_AGAIN_S
            elif self._status.code is not None:
                look.status = self._status.code
                if look.status:
                    self._why = f"status {self._status.words}"
                self._status.end_now()  # what it has left in its group
                self._status = None
                look.ask_at = now + ASK_AGAIN_S
            return look.status
        if look.status is None or now >= look.ask_at:
            self._status = self._begin("status")
            self._entered_status = now
            if self._status is None:
                look.status, look.ask_at = 127, now + ASK_AGAIN_S
            else:
                alive = {each for each in self._status_sessions if os.path.exists(f"/proc/{each}")}
                self._status_sessions = {*alive, self._status.pid}
        return look.status

    def _is_up(self) -> bool:
        """By ports and `status`; without both by the return of `start`."""
        if not self._ports and not self._resource.status:
            return self._start is not None and self._start.code == 0
        if not all(processes.is_open(each, doubt=False) for each in self._ports):
            return False
        return not self._resource.status or self._ask_status() == 0

    # --- the order ----------------------------------------------------------------------------------------------------

    @property
    def _fence_at(self) -> float:
        return self._until - fence_lead_s(self._resource)

    def _limit(self) -> float:
        """When this phase has taken its time."""
        resource = self._resource
        release_s = resource.fence_s if resource.release else 0.0
        match self._phase:
            case Phase.TAKING | Phase.STARTING:
                return self._entered + resource.start_s
            case Phase.STOPPING:
                return min(self._entered + resource.stop_s, self._until - KILL_S - release_s)
            case Phase.DELAYING:
                return self._entered + (0.0 if self._is_fenced else resource.stop_delay)
            case Phase.RELEASING:
                if self._until <= self._entered:
                    return self._entered + resource.stop_s  # nothing is gained by less any more
                least = self._entered + resource.fence_s
                return max(min(self._entered + resource.stop_s, self._until), least)
            case Phase.STUCK:
                return self._entered + STUCK_S
            case _:
                return float("inf")

    @property
    def _is_fenced(self) -> bool:
        return self._clock() >= self._fence_at

    def _act(self) -> None:
        """As far as it goes now."""
        while (event := self._event()) is not None:
            moved = step(self._phase, event)
            assert moved is not None, (self._phase, event)
            before = self._phase
            if moved.failure:
                self._note_failure(moved.failure)
            if moved.code:
                self._code = moved.code
            self._phase, self._entered = moved.phase, self._clock()
            self._tell(before, event)
            self._enter()
            # Before what this phase does: to look through all processes takes its time on a busy machine, and who does not say that it kills is killed itself.
            if self._phase is Phase.KILLING:
                self._promise()
                self._say()

    def _event(self) -> Event | None:  # noqa: C901, PLR0912  # one look at a phase each
        """What has happened that means something in this phase; None: nothing."""
        phase, now = self._phase, self._clock()
        if phase in (Phase.TAKING, Phase.STARTING, Phase.RUNNING):
            if self._is_fenced:
                return Event.FENCE
            if not self._runs:
                return Event.END
        current = self._current
        match phase:
            case Phase.SWEEPING:
                return self._sweep()
            case Phase.IDLE:
                may = self._runs and not self._is_fenced and now >= self._given_up_until
                return Event.BEGIN if may else None
            case Phase.TAKING | Phase.RELEASING:
                what = "take" if phase is Phase.TAKING else "release"
                if not getattr(self._resource, what):
                    return Event.DONE
                if current is None:
                    return Event.FAILED
                if current.code is not None:
                    if current.code:
                        self._why = f"{what} {current.words}"
                    return Event.FAILED if current.code else Event.DONE
            case Phase.STARTING:
                if current is None:
                    return Event.FAILED
                if current.code:
                    self._why = f"start {current.words}"
                    return Event.FAILED
                if self._is_up():
                    return Event.UP
                if current.code is None and not self._ports and not self._resource.status:
                    self._why = (
                        "start has not returned, and neither ports nor status say that it runs"
                    )
            case Phase.RUNNING:
                return Event.ILL if self._is_ill() else None
            case Phase.STOPPING | Phase.KILLING:
                if phase is Phase.KILLING:
                    processes.kill_all(os.getpid(), self._identity.mark, self._not_of_it)
                    known = self._left if self._main is None else [*self._left, self._main]
                    processes.kill(each.pid for each in known if processes.lives(each))
                    self._reap()
                if self._is_gone():
                    return Event.GONE
            case _:
                pass
        if now < self._limit():
            return None
        if phase is Phase.RELEASING:
            self._why = "release did not end in time"
        return Event.LATE

    def _sweep(self) -> Event | None:
        """What one before this has left; only when that one is gone itself."""
        if self._lock is None:
            was = self._claim.why
            self._lock = self._claim.take(self._clock())
            if self._claim.why != was:
                self._why = self._claim.why or _BEGAN
                log.error("ha: resource %s: %s", self._name, self._claim.why or "the lock of its keeper is free again")  # fmt: skip
            if self._lock is None:
                return None
        is_left = any(processes.lives(each) for each in self._left)
        if self._status is None and (is_left or processes.marked(self._identity.mark)):
            self._has_begun = True
            self._why = "found running, and nobody kept it"
            return Event.FOUND
        self._empty_looks += self._status is None
        if self._empty_looks < EMPTY_LOOKS:
            return None
        if self._resource.status:
            code = self._ask_status()
            if code is None:
                return Event.GONE if self._is_last_moment else None
            if code == 0:
                self._has_begun = True
                self._why = "found running by its status"
                self._until = max(self._until, self._clock() + self._resource.stop_s)
                return Event.ILL
        return Event.GONE

    def _is_ill(self) -> bool:
        """Its processes are gone, or the look that is due says so."""
        look, now = self._look, self._clock()
        living = self._living() or self._living()
        if self._resource.pid_file and not self._main:
            self._main = processes.named_by(self._resource.pid_file, self._started_at)
        if look.has_children and not living:
            how = f": start {self._start.words}" if self._start is not None else ""
            self._why = f"its processes have ended{how}"
            return True
        look.has_children = bool(living)
        if self._every_s <= 0:
            return False
        if self._status is None and now < look.ask_at:
            return False
        if self._status is None and not self._resource.status and not self._ports:
            look.ask_at = now + self._every_s
            return False
        is_well = all(processes.is_open(each, doubt=False) for each in self._ports)
        if is_well and self._resource.status:
            look.status = None if self._status is None else look.status
            if self._ask_status() is None:
                return False
            is_well = look.status == 0
        look.status = None
        look.ask_at = now + self._every_s
        look.misses = 0 if is_well else look.misses + 1
        if look.misses < self._resource.status_failures:
            return False
        self._why = f"{look.misses} looks in a row ({self._why or 'status or port'})"
        return True

    def _note_failure(self, failure: str) -> None:
        now, resource = self._clock(), self._resource
        self._why = f"{failure}: {self._why}" if self._why else failure
        self._failures = [at for at in self._failures if at > now - resource.retry_s] + [now]
        if len(self._failures) >= resource.start_failures:
            self._failures.clear()
            self._given_up_until = now + resource.retry_s
            log.error("ha: resource %s: this member gives it up for %g s after %d failures: %s", self._name, resource.retry_s, resource.start_failures, self._why)  # fmt: skip

    def _enter(self) -> None:
        """What a phase begins with."""
        self._end_looks()
        match self._phase:
            case Phase.TAKING:
                self._why, self._code, self._has_begun = "", 0, False
                self._current = self._begin("take") if self._resource.take else None
            case Phase.STARTING:
                self._start = self._current = None
                if taken := processes.taken(self._ports, self._resource.lock_files):
                    # A foreign program's, or another member's where two are wrong about each other: not ours to end.
                    self._why = f"before its start {taken}: not by this resource"
                    return
                self._has_begun = True
                self._started_at = time.time_ns() / 1e9 - PID_FILE_S
                self._start = self._current = self._begin("start")
            case Phase.RUNNING:
                self._why = ""
                self._look.has_children = bool(self._living())
                self._look.ask_at = self._clock() + self._every_s if self._every_s > 0 else 0.0
                if self._resource.pid_file:
                    self._main = processes.named_by(self._resource.pid_file, self._started_at)
            case Phase.STOPPING:
                self._enter_stopping()
            case Phase.KILLING:
                self._end_current()
            case Phase.RELEASING:
                self._current = self._begin("release") if self._resource.release else None
            case Phase.STUCK:
                self._end_current()
            case _:
                self._current = self._start = None
                self._main = None

    def _enter_stopping(self) -> None:
        current = self._current
        if current is not None and current.code is None and current.what == "take":
            current.end_now()
        elif current is not None and current.code is None and not self._is_known_up:
            processes.kill([current.pid], signal.SIGTERM)
        self._current = None
        if not self._has_begun:
            return
        if self._resource.stop:
            self._current = self._begin("stop")
        else:
            processes.kill(self._living(), signal.SIGTERM)

    def _end_current(self) -> None:
        if self._current is not None and self._current.code is None:
            self._current.end_now()
        self._current = None

    def _end_looks(self) -> None:
        """A look of another phase says nothing in this one."""
        if self._status is not None and self._status.code is None:
            self._status.end_now()
        self._status = None
        self._look = Look()

    def _tell(self, before: Phase, event: Event) -> None:
        """One sentence for each step that an operator looks for."""
        name, why = self._name, self._why
        self._is_known_up = self._phase is Phase.RUNNING or before is Phase.RUNNING
        match self._phase:
            case Phase.RUNNING:
                log.info("ha: resource %s runs here", name)
            case Phase.STOPPING if (
                event is Event.ILL or event is Event.FAILED or event is Event.LATE
            ):
                log.error("ha: resource %s is stopped: %s", name, why)
            case Phase.STOPPING:
                log.info("ha: resource %s is stopped%s", name, ": this member's lease ends" if event is Event.FENCE else "")  # fmt: skip
            case Phase.KILLING if event is Event.LATE and before is Phase.STOPPING:
                self._why = f"it had not ended when its time was over ({self._stop_words}); killed"
                log.error("ha: resource %s: code %d: %s", name, CODE_STUCK, self._why)
            case Phase.KILLING if event is Event.FOUND:
                log.error("ha: resource %s: code %d: %s; killed", name, CODE_STUCK, why)
            case Phase.STUCK:
                log.error("ha: resource %s: code %d: it cannot be released (%s), so nobody else gets it; tried again every %g s", name, CODE_STUCK, why or "release did not end in time", STUCK_S)  # fmt: skip
            case Phase.IDLE if before is Phase.RELEASING and self._has_begun:
                log.info("ha: resource %s has ended here", name)
            case _:
                pass

    @property
    def _stop_words(self) -> str:
        if self._current is not None:
            return f"stop {self._current.words}"
        count = len(self._living())
        return f"{count} processes lived" if count else "a port, a lock or its status was not free"
