"""
Starts the workers, keeps them running, stops them.

Driven by ``process.start``; drives ``run_worker`` in each child. Must not run an event loop, start threads or touch requests:
it forks, and a fork copies whatever lock another thread holds. Everything it waits for (signals, the end of a child, a worker
that became ready, who wants to ask the admin process) arrives at one selector, so it never polls.
"""

from __future__ import annotations

import enum
import gc
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import FrameType

from wsproxy.dataplane.post import Retire
from wsproxy.process.begin import Beginning
from wsproxy.process.child import Child
from wsproxy.process.fork import (
    EXIT_FAILED,
    FIRST_BACKOFF_S,
    HANDLED_SIGNALS,
    LAST_BACKOFF_S,
    LOG_SIGNALS,
    STOP_SIGNALS,
    describe_end,
    fork_child,
)
from wsproxy.process.handover import Said
from wsproxy.process.hang import HangWatch
from wsproxy.process.listeners import ListenerSet
from wsproxy.process.log_pipe import LogPipe
from wsproxy.process.logs import tick_messages
from wsproxy.process.on_demand import OnDemand
from wsproxy.process.parcels import Parcels
from wsproxy.process.resident import Resident
from wsproxy.process.seats import Seats
from wsproxy.process.service import ServiceReload, ServiceWatchdog, notify_systemd
from wsproxy.process.succession import Succession
from wsproxy.process.tracing import TraceWay
from wsproxy.process.workers import (
    MAX_FAILED_STARTS,
    RunWorker,
    Worker,
    WorkerLedger,
)

logger = logging.getLogger(__name__)

# Workers end by themselves after shutdown_s; this long after that something hangs.
KILL_GRACE_S = 2.0

EXIT_CLEAN = 0


class Phase(enum.Enum):
    """What the supervisor is doing; only ever goes forward."""

    RUNNING = "running"
    RETIRING = "retiring"  # another program has taken over: workers finish what they have
    STOPPING = "stopping"  # SIGTERM was sent to the workers
    KILLING = "killing"  # SIGKILL was


_SERVING = (Phase.RUNNING, Phase.RETIRING)


class Supervisor:
    """The parent of all workers. ``run`` returns when the last of them has ended."""

    def __init__(
        self,
        listeners: ListenerSet,
        ledger: WorkerLedger,
        run_worker: RunWorker,
        shutdown_s: float,
        on_log_signal: Callable[[signal.Signals], None],
        log_pipe: LogPipe,
        watch: HangWatch,
        parcels: Parcels,
        reloads: ServiceReload,
        succession: Succession,
        on_charge: Callable[[], None],
        admin: OnDemand | None = None,
        loader: Resident | None = None,
        others: Sequence[Resident] = (),
        way: TraceWay | None = None,
    ) -> None:
        """
        One worker for each row of ``listeners``; ``on_log_signal`` gets SIGUSR1 and SIGUSR2.

        ``on_charge``: called once, when all workers accept connections and no other program is the proxy.
        ``run`` closes ``listeners``, ``parcels``, ``reloads`` and the sockets of ``admin``.
        """
        self._succession = succession
        self._on_charge = on_charge
        self._ids = succession.upgrade.rows
        self._admin = admin
        self._loader = loader
        self._residents = [*([] if loader is None else [loader]), *others]
        self._way = way or TraceWay()
        self._parcels = parcels
        self._reloads = reloads
        self._log_pipe = log_pipe
        self._watch = watch
        self._on_log_signal = on_log_signal
        self._workers = [Worker(f"worker {id_}", row=row) for row, id_ in enumerate(self._ids)]
        self._children: list[Child] = [
            *self._workers,
            *([] if admin is None else [admin]),
            *self._residents,
        ]
        self._seats = Seats(listeners.groups, len(self._workers), is_known=succession.is_in_charge)
        self._watchdog = ServiceWatchdog(os.environ, os.getpid())
        watch.compare(self._watchdog.patience_s)
        self._listeners = listeners
        self._ledger = ledger
        self._shutdown_s = shutdown_s
        self._orphan_s = shutdown_s + KILL_GRACE_S
        self._phase = Phase.RUNNING
        self._kill_at: float | None = None
        self._exit_code = EXIT_CLEAN
        self._was_announced = False
        self._selector = selectors.DefaultSelector()
        self._signal_fds = os.pipe()
        self._beginning = Beginning(
            listeners,
            parcels,
            log_pipe,
            succession,
            self._selector,
            admin,
            self._children,
            self._signal_fds,
            run_worker,
            self._way,
        )

    def run(self) -> int:
        """
        Exit code of the whole: 0 after a clean stop, 1 if workers had to be killed or none could be started.

        Closes the listening sockets.
        """
        read_fd, write_fd = self._signal_fds
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._selector.register(read_fd, selectors.EVENT_READ)
        self._selector.register(self._parcels.loader, selectors.EVENT_READ, self._parcels.take)
        self._succession.watch(self._selector, self, self._listeners, self._admin)
        self._selector.register(self._reloads.fd, selectors.EVENT_READ, self._reloads.take)
        old_wakeup_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        old_handlers = {
            number: signal.signal(number, _leave_to_wakeup_fd) for number in HANDLED_SIGNALS
        }
        gc.collect()
        gc.freeze()  # what exists now is shared with the workers; a collection there must not copy its pages
        try:
            while self._phase is Phase.RUNNING or self._running(self._workers):
                self._succession.go_on()
                self._start_due_workers()
                self._start_due_log()
                self._start_due_residents()
                self._watch_admin()
                self._wait()
                self._reap()
                self._look_after()
                self._kill_when_due()
            self._end_admin()
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_wakeup_fd)
            self._listeners.close()
            self._parcels.close()
            self._way.close()
            self._close_admin_socket()
            self._selector.close()
            self._succession.upgrade.close()
            for fd in (read_fd, write_fd, self._reloads.fd):
                os.close(fd)
        logger.info("stopped")
        return self._exit_code

    def _running(self, children: Iterable[Child]) -> list[int]:
        """Pids of those that run; not reaped yet, so each is still its own."""
        return [child.pid for child in children if child.pid is not None]

    # waiting

    def _wait(self) -> None:
        """Sleeps until a signal, word from a worker or the next deadline."""
        now = time.monotonic()
        deadlines = [self._log_pipe.start_at, self._watchdog.next_feed(now)]
        if self._phase in _SERVING:
            deadlines.append(self._watch.next_look())
        if self._phase is Phase.RUNNING:
            deadlines.append(self._succession.next_look)
            deadlines += [worker.start_at for worker in self._workers]
            if self._admin is not None and self._succession.is_in_charge:
                deadlines.append(self._admin.watch_at)
            deadlines += [each.next_start for each in self._residents if self._may_start(each)]
        else:
            deadlines.append(self._kill_at)
        wanted = [deadline for deadline in deadlines if deadline is not None]
        timeout = max(0.0, min(wanted) - now) if wanted else None
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                for number in os.read(key.fd, 4096):
                    self._on_signal(signal.Signals(number))
            elif isinstance(key.data, OnDemand):
                if not self._running([key.data]):  # several of its sockets may be asked at once
                    self._start_admin(key.data)
            elif isinstance(key.data, Worker):
                self._on_word(key.data)
            else:
                key.data()

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP and self._phase is Phase.RUNNING:
            self._reloads.begin()
        if number == signal.SIGHUP and self._phase is Phase.RETIRING:
            logger.warning("SIGHUP: another program has taken over; nothing was done")
        elif number == signal.SIGHUP and self._loader is None:
            self._reloads.give_up()
            logger.warning(
                "SIGHUP: this proxy keeps the configuration of its start; nothing was done"
            )
        elif number == signal.SIGHUP:
            self._parcels.read_again()
        elif number in LOG_SIGNALS:
            self._on_log_signal(number)
        elif number in STOP_SIGNALS and self._phase in _SERVING:
            logger.info("%s: stopping; running requests get %g s", number.name, self._shutdown_s)
            self._stop()
        elif number in STOP_SIGNALS:
            logger.warning("%s again: not waiting for running requests", number.name)
            self._kill()

    def _on_word(self, worker: Worker) -> None:
        """A worker became ready, or ended without."""
        assert worker.ready_fd is not None
        if os.read(worker.ready_fd, 1):
            worker.note_ready()
        self._forget_ready_fd(worker)
        if not self._was_announced and all(each.is_ready for each in self._workers):
            self._was_announced = True
            self._succession.began_to_serve()

    def _forget_ready_fd(self, worker: Worker) -> None:
        if worker.ready_fd is not None:
            self._selector.unregister(worker.ready_fd)
            os.close(worker.ready_fd)
            worker.ready_fd = None

    def _look_after(self) -> None:
        """Who makes no turn, who gets new connections, and whether all is well."""
        tick_messages()
        now = time.monotonic()
        self._parcels.send_late(now)
        is_well = self._was_announced
        if self._phase in _SERVING:
            self._watch.look(self._children, now)
        if not self._succession.is_in_charge:
            return
        if self._phase is Phase.RUNNING:
            able = [
                worker.row
                for worker in self._workers
                if worker.is_serving and not self._watch.is_silent(worker.row)
            ]
            self._seats.give(able)
            is_well = is_well and self._is_well(able)
        self._watchdog.feed(now, is_well=is_well)

    def _is_well(self, able: list[int]) -> bool:
        """
        Whether the service manager may rest: one worker at least serves, and none hangs.

        One that hangs is replaced after ``process.hang_s``, long before a manager that was told to wait longer acts.
        """
        return bool(able) and not any(self._watch.is_hanging(each.row) for each in self._workers)

    # the end of a child

    def _reap(self) -> None:
        """Takes note of every child that ended. Known pids only: other children belong to others."""
        for child in self._children:
            if child.pid is None:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            for stack in child.stacks.take():
                logger.error("%s (pid %d): %s", child.name, pid, stack)
            exit_code = os.waitstatus_to_exitcode(status)
            self._parcels.forget(child.name)
            if isinstance(child, Worker):
                self._on_end(child, exit_code)
            elif isinstance(child, OnDemand):
                self._on_admin_end(child, pid, exit_code)
            elif isinstance(child, Resident):
                self._on_resident_end(child, pid, exit_code)
        self._succession.reap()
        if self._log_pipe.pid is not None:
            pid, status = os.waitpid(self._log_pipe.pid, os.WNOHANG)
            if pid:
                self._log_pipe.note_end(os.waitstatus_to_exitcode(status), time.monotonic())

    def _on_admin_end(self, admin: OnDemand, pid: int, exit_code: int) -> None:
        """Workers do not notice; the next who asks has it started again."""
        delay_s = admin.note_end(time.monotonic())
        if self._phase is Phase.RUNNING:
            logger.error(
                "%s process (pid %d) %s; started again when it is asked, not before %g s",
                admin.name,
                pid,
                describe_end(exit_code),
                delay_s,
            )

    def _on_resident_end(self, resident: Resident, pid: int, exit_code: int) -> None:
        """Requests do not notice."""
        delay_s = resident.note_end(time.monotonic())
        if resident is self._loader and self._phase is Phase.RUNNING:
            self._reloads.give_up()
        if self._phase is not Phase.RUNNING or not self._may_start(resident):
            return
        if exit_code == EXIT_CLEAN and not resident.is_wanted():
            logger.info("%s process (pid %d) ended: it is not needed any more", resident.name, pid)
        else:
            logger.error(
                "%s process (pid %d) %s; started again in %g s",
                resident.name,
                pid,
                describe_end(exit_code),
                delay_s,
            )

    def _on_end(self, worker: Worker, exit_code: int) -> None:
        now = time.monotonic()
        pid, how = worker.pid, describe_end(exit_code, was_told=self._phase not in _SERVING)
        if worker.ready_fd is not None:
            self._on_word(worker)  # it may have been ready for a moment
        delay_s = worker.note_end(now)
        is_due = self._phase is not Phase.RUNNING and not exit_code
        note = self._ledger.worker_left if is_due else self._ledger.worker_died
        given_back = note(self._ids[worker.row])
        if self._phase is not Phase.RUNNING:
            level = logging.ERROR if exit_code and self._phase is Phase.RETIRING else logging.DEBUG
            logger.log(level, "%s (pid %d) %s, %s requests in flight", worker.name, pid, how, given_back)  # fmt: skip
            return
        logger.error(
            "%s (pid %d) %s after %.1f s, %s requests in flight; started again in %g s",
            worker.name,
            pid,
            how,
            now - worker.started_at,
            given_back,
            delay_s,
        )
        if all(each.is_hopeless for each in self._workers):
            logger.error(
                "giving up: every worker ended %d times in a row before it accepted connections; the messages above say why",
                MAX_FAILED_STARTS,
            )
            self._exit_code = EXIT_FAILED
            self._stop()

    # stopping

    def _stop(self) -> None:
        """Asks the workers to finish. The sockets close first: what the workers close is then refused, not queued."""
        self._phase = Phase.STOPPING
        self._kill_at = time.monotonic() + self._shutdown_s + KILL_GRACE_S
        if self._succession.is_in_charge:
            notify_systemd("STOPPING=1")
        self._listeners.close()
        self._close_admin_socket()
        self._succession.stop()
        self._signal(self._children, signal.SIGTERM)
        self._signal(self._children, signal.SIGCONT)  # one that is stopped acts on no other

    def _kill_when_due(self) -> None:
        is_due = self._kill_at is not None and time.monotonic() >= self._kill_at
        if is_due and self._running(self._workers):
            logger.warning("workers still run %g s after they should have ended", KILL_GRACE_S)
            self._kill()

    def _kill(self) -> None:
        self._phase = Phase.KILLING
        self._kill_at = None
        self._exit_code = EXIT_FAILED
        pids = self._running(self._workers)
        logger.warning("killing %d workers: pid %s", len(pids), ", ".join(map(str, pids)))
        self._signal(self._children, signal.SIGKILL)

    def _end_admin(self) -> None:
        """The workers are gone. Nobody else is worth waiting for but who answers an upgrade, has the last spans, or takes leave of a group."""
        self._way.end()
        if self._phase is Phase.RETIRING or (
            self._way.is_open and self._phase is not Phase.KILLING
        ):
            self._await(self._children, self._way.last_s)
        awaited = [each for each in self._residents if each.is_awaited]
        self._await(awaited, sum(each.last_s for each in awaited if self._exit_code == EXIT_CLEAN))
        self._signal(self._children, signal.SIGKILL)
        self._await(self._children)

    def _await(self, children: Sequence[Child], for_s: float = 0.0) -> None:
        """``for_s``: what they take by themselves."""
        self._kill_at = time.monotonic() + for_s + KILL_GRACE_S
        while self._running(children) and time.monotonic() < self._kill_at:
            self._wait()
            self._reap()

    def _close_admin_socket(self) -> None:
        """Its file stays where it is another program's by now, or not ours yet."""
        if self._admin is not None:
            self._admin.unwatch(self._selector)
            self._admin.close(keeps_file=not self._succession.is_in_charge)

    def _signal(self, children: Iterable[Child], number: signal.Signals) -> None:
        for pid in self._running(children):
            os.kill(pid, number)

    # another program takes over from us, or we from another one: what ``succession`` asks for

    @property
    def is_running(self) -> bool:
        """Whether we neither stop nor retire."""
        return self._phase is Phase.RUNNING

    @property
    def outlet(self) -> int:
        """Standard error as it was given to us."""
        return self._log_pipe.outlet

    def end_loader(self, number: signal.Signals) -> bool:
        """Sends this to the loader; False: it does not run, and what it sent last has come."""
        if self._loader is not None and self._loader.pid is not None:
            self._signal([self._loader], number)
            return True
        self._parcels.take()
        return False

    def take_charge(self) -> None:
        """All workers accept connections, and no other program is the proxy."""
        self._on_charge()
        urls = " ".join(self._listeners.urls)
        logger.info("ready on %s (%d workers, pid %d)", urls, len(self._workers), os.getpid())
        self._reloads.say_ready()

    def retire(self, pid: int, said: Said) -> None:
        """The program with this pid accepts connections: ours end behind their next answer."""
        self._phase = Phase.RETIRING
        longest_s = max(said.requests_s, said.tunnels_s)
        self._kill_at = time.monotonic() + longest_s + self._orphan_s
        for worker in self._workers:
            unused = self._listeners.positions(worker.row, said.unused)
            self._parcels.say(worker.name, Retire(said.requests_s, said.tunnels_s, unused))
        self._signal(self._residents, signal.SIGTERM)
        self._signal(self._residents, signal.SIGCONT)
        self._close_admin_socket()
        self._listeners.close()
        notify_systemd(f"MAINPID={pid}")
        logger.info("upgrade: pid %d has taken over; requests that run here get %g s, tunnels %g s", pid, said.requests_s, said.tunnels_s)  # fmt: skip

    def finish(self, why: str) -> None:
        """Nobody is left for whom running requests could take their time."""
        if self._phase is Phase.RETIRING:
            logger.info("%s: running requests get %g s", why, self._shutdown_s)
            self._stop()

    # starting

    def _may_start(self, resident: Resident) -> bool:
        """Not while another program is the proxy, or takes slots of the shared state."""
        is_held = resident is self._loader and self._succession.holds_loader
        return self._succession.is_in_charge and not is_held

    def _start_due_workers(self) -> None:
        if self._phase is not Phase.RUNNING:
            return
        now = time.monotonic()
        for worker in self._workers:
            if worker.start_at is not None and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: Worker) -> None:
        if not self._ledger.worker_started(self._ids[worker.row]):
            worker.start_at = time.monotonic() + FIRST_BACKOFF_S
            return
        try:
            box = self._parcels.box_for(worker.name)
            read_fd, write_fd = os.pipe()
        except OSError as error:
            worker.start_at = self._without_room(worker, error)
            return
        self._watch.begin(worker.row)
        run = partial(
            self._beginning.be_worker, worker, box, read_fd, write_fd, self._ids[worker.row]
        )
        pid = fork_child(worker.name, run, orphan_s=self._orphan_s)
        os.close(write_fd)
        self._parcels.started(worker.name)
        now = time.monotonic()
        if pid is None:
            os.close(read_fd)
            worker.start_at = now + LAST_BACKOFF_S
            return
        worker.note_start(pid, read_fd, now)
        self._selector.register(read_fd, selectors.EVENT_READ, worker)

    def _without_room(self, child: Child, error: OSError) -> float:
        """When it is tried again: descriptors lack, which may pass. Whoever runs goes on."""
        self._parcels.forget(child.name)
        logger.error(
            "%s cannot be started: %s; tried again in %g s",
            child.name,
            error.strerror,
            LAST_BACKOFF_S,
        )
        return time.monotonic() + LAST_BACKOFF_S

    def _start_due_log(self) -> None:
        now = time.monotonic()
        if self._log_pipe.start_at is not None and self._log_pipe.start_at <= now:
            self._log_pipe.start(now)

    def _start_due_residents(self) -> None:
        if self._phase is not Phase.RUNNING:
            return
        now = time.monotonic()
        for resident in self._residents:
            start_at = resident.next_start
            if start_at is not None and start_at <= now and self._may_start(resident):
                self._start_resident(resident)

    def _start_resident(self, resident: Resident) -> None:
        self._watch.begin(resident.row)
        # Parcels come from the loader; everybody else gets them in a box.
        is_loader = resident is self._loader
        try:
            mine = (
                (self._parcels.theirs, self._parcels.answers)
                if is_loader
                else (self._parcels.box_for(resident.name),)
                if resident.hears
                else ()
            )
        except OSError as error:
            resident.start_at = self._without_room(resident, error)
            return
        run = partial(self._beginning.be_resident, resident, *mine)
        pid = fork_child(
            resident.name, run, orphan_s=self._orphan_s, heeds_stop=resident.heeds_stop
        )
        if mine and not is_loader:
            self._parcels.started(resident.name)
        now = time.monotonic()
        if pid is None:
            resident.start_at = now + LAST_BACKOFF_S
        else:
            resident.note_start(pid, now)

    def _watch_admin(self) -> None:
        """Waits for who wants to ask, where the time for that has come."""
        if self._admin and self._phase is Phase.RUNNING and self._succession.is_in_charge:
            self._admin.watch_when_due(self._selector, time.monotonic())

    def _start_admin(self, admin: OnDemand) -> None:
        """Somebody has connected; who it is, and what is wanted, is the process's part."""
        if self._phase is not Phase.RUNNING:
            return  # a signal came in the same moment
        admin.unwatch(self._selector)
        try:
            box = self._parcels.box_for(admin.name)
        except OSError as error:
            admin.watch_at = self._without_room(admin, error)
            return
        self._watch.begin(admin.row)
        run = partial(self._beginning.be_admin, admin, box)
        pid = fork_child(admin.name, run, orphan_s=self._orphan_s)
        self._parcels.started(admin.name)
        if pid is None:
            admin.watch_at = time.monotonic() + LAST_BACKOFF_S
        else:
            admin.note_start(pid, time.monotonic())


def _leave_to_wakeup_fd(_number: int, _frame: FrameType | None) -> None:
    """A handler, because without one the signal would act by default; the wakeup fd brings the signal to the selector."""
