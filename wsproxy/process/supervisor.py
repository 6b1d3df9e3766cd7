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
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn, Protocol

from wsproxy.dataplane.context import BoundListener
from wsproxy.process.listeners import ListenerSet
from wsproxy.process.on_demand import (
    FIRST_BACKOFF_S,
    HEALTHY_AFTER_S,
    LAST_BACKOFF_S,
    OnDemand,
)
from wsproxy.process.system import end_with_parent, notify_systemd, set_process_name

logger = logging.getLogger(__name__)

# Starts in a row that end before the worker accepts connections, for every worker: then the cause is not an accident.
MAX_FAILED_STARTS = 5
# Workers end by themselves after shutdown_s; this long after that something hangs.
KILL_GRACE_S = 2.0

EXIT_CLEAN = 0
EXIT_FAILED = 1

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOG_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
_HANDLED_SIGNALS = (*_STOP_SIGNALS, *_LOG_SIGNALS, signal.SIGHUP, signal.SIGCHLD)
# A terminal sends these to the whole group, log rotation to all processes of a name; only the supervisor acts on them.
_IGNORED_IN_WORKERS = (signal.SIGINT, signal.SIGHUP, *_LOG_SIGNALS)

OnReady = Callable[[], None]
RunWorker = Callable[[int, tuple[BoundListener, ...], OnReady], int]


class WorkerLedger(Protocol):
    """What the supervisor tells about workers: ``_fast.state.SharedState`` keeps their requests in flight."""

    def worker_started(self, worker_id: int) -> object:
        """Called before the worker is forked."""

    def worker_died(self, worker_id: int) -> object:
        """Called after the worker was reaped; a number returned is the requests given back."""


class Phase(enum.Enum):
    """What the supervisor is doing; only ever goes forward."""

    RUNNING = "running"
    STOPPING = "stopping"  # SIGTERM was sent to the workers
    KILLING = "killing"  # SIGKILL was


@dataclass(slots=True)
class _Worker:
    """One row of workers: the process that runs now, and how its predecessors fared."""

    worker_id: int
    pid: int | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0  # when to start the next process; None: one is running
    backoff_s: float = FIRST_BACKOFF_S
    failed_starts: int = 0
    ready_fd: int | None = None
    is_ready: bool = False


class Supervisor:
    """The parent of all workers. ``run`` returns when the last of them has ended."""

    def __init__(
        self,
        listeners: ListenerSet,
        ledger: WorkerLedger,
        run_worker: RunWorker,
        shutdown_s: float,
        on_log_signal: Callable[[signal.Signals], None],
        admin: OnDemand | None = None,
    ) -> None:
        """
        One worker for each row of ``listeners``; ``on_log_signal`` gets SIGUSR1 and SIGUSR2.

        ``run`` closes ``listeners`` and the socket of ``admin``.
        """
        self._admin = admin
        self._on_log_signal = on_log_signal
        self._workers = [_Worker(worker_id) for worker_id in range(len(listeners.by_worker))]
        self._listeners = listeners
        self._ledger = ledger
        self._run_worker = run_worker
        self._shutdown_s = shutdown_s
        self._phase = Phase.RUNNING
        self._kill_at: float | None = None
        self._exit_code = EXIT_CLEAN
        self._was_announced = False
        self._selector = selectors.DefaultSelector()
        self._signal_fds = os.pipe()

    def run(self) -> int:
        """
        Exit code of the whole: 0 after a clean stop, 1 if workers had to be killed or none could be started.

        Closes the listening sockets.
        """
        read_fd, write_fd = self._signal_fds
        os.set_blocking(read_fd, False)
        os.set_blocking(write_fd, False)
        self._selector.register(read_fd, selectors.EVENT_READ)
        old_wakeup_fd = signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        old_handlers = {
            number: signal.signal(number, _leave_to_wakeup_fd) for number in _HANDLED_SIGNALS
        }
        gc.collect()
        gc.freeze()  # what exists now is shared with the workers; a collection there must not copy its pages
        try:
            while self._phase is Phase.RUNNING or self._pids():
                self._start_due_workers()
                self._watch_admin()
                self._wait()
                self._reap()
                self._kill_when_due()
        finally:
            for number, handler in old_handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(old_wakeup_fd)
            self._listeners.close()
            if self._admin is not None:
                self._admin.socket.close()
            self._selector.close()
            os.close(read_fd)
            os.close(write_fd)
        logger.info("stopped")
        return self._exit_code

    def _running(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.pid is not None]

    def _pids(self) -> list[int]:
        """All children that run; not reaped yet, so each pid is still its own."""
        admin = None if self._admin is None else self._admin.pid
        pids = (*(worker.pid for worker in self._workers), admin)
        return [pid for pid in pids if pid is not None]

    # waiting

    def _wait(self) -> None:
        """Sleeps until a signal, word from a worker or the next deadline."""
        deadlines = [worker.start_at for worker in self._workers if worker.start_at is not None]
        if self._admin is not None and self._admin.watch_at is not None:
            deadlines.append(self._admin.watch_at)
        if self._phase is not Phase.RUNNING:
            deadlines = [self._kill_at] if self._kill_at is not None else []
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                for number in os.read(key.fd, 4096):
                    self._on_signal(signal.Signals(number))
            elif isinstance(key.data, OnDemand):
                self._start_admin(key.data)
            else:
                self._on_word(key.data)

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP:
            logger.warning("SIGHUP: reload does not exist yet; nothing was done")
        elif number in _LOG_SIGNALS:
            self._on_log_signal(number)
        elif number in _STOP_SIGNALS and self._phase is Phase.RUNNING:
            logger.info("%s: stopping; running requests get %g s", number.name, self._shutdown_s)
            self._stop()
        elif number in _STOP_SIGNALS:
            logger.warning("%s again: not waiting for running requests", number.name)
            self._kill()

    def _on_word(self, worker: _Worker) -> None:
        """A worker became ready, or ended without."""
        assert worker.ready_fd is not None
        if os.read(worker.ready_fd, 1):
            worker.is_ready = True
            worker.failed_starts = 0
        self._forget_ready_fd(worker)
        if not self._was_announced and all(each.is_ready for each in self._workers):
            self._was_announced = True
            logger.info(
                "ready on %s (%d workers, pid %d)",
                " ".join(self._listeners.urls),
                len(self._workers),
                os.getpid(),
            )
            notify_systemd("READY=1")

    def _forget_ready_fd(self, worker: _Worker) -> None:
        if worker.ready_fd is not None:
            self._selector.unregister(worker.ready_fd)
            os.close(worker.ready_fd)
            worker.ready_fd = None

    # the end of a worker

    def _reap(self) -> None:
        """Takes note of every worker that ended. Known pids only: other children belong to others."""
        for worker in self._running():
            assert worker.pid is not None
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._on_end(worker, os.waitstatus_to_exitcode(status))
        if self._admin is not None and self._admin.pid is not None:
            pid, status = os.waitpid(self._admin.pid, os.WNOHANG)
            if pid:
                self._on_admin_end(self._admin, pid, os.waitstatus_to_exitcode(status))

    def _on_admin_end(self, admin: OnDemand, pid: int, exit_code: int) -> None:
        """Workers do not notice; the next who asks has it started again."""
        delay_s = admin.note_end(time.monotonic())
        if self._phase is Phase.RUNNING:
            logger.error(
                "%s process (pid %d) %s; started again when it is asked, not before %g s",
                admin.name,
                pid,
                _describe_end(exit_code),
                delay_s,
            )

    def _on_end(self, worker: _Worker, exit_code: int) -> None:
        now = time.monotonic()
        pid, worker.pid = worker.pid, None
        if worker.ready_fd is not None:
            self._on_word(worker)  # it may have been ready for a moment
        given_back = self._ledger.worker_died(worker.worker_id)
        how = _describe_end(exit_code)
        if self._phase is not Phase.RUNNING:
            logger.debug("worker %d (pid %d) %s", worker.worker_id, pid, how)
            return
        lived_s = now - worker.started_at
        delay_s = 0.0
        if lived_s < HEALTHY_AFTER_S:
            delay_s = worker.backoff_s
            worker.backoff_s = min(worker.backoff_s * 2, LAST_BACKOFF_S)
        else:
            worker.backoff_s = FIRST_BACKOFF_S
        if not worker.is_ready:
            worker.failed_starts += 1
        worker.start_at = now + delay_s
        logger.error(
            "worker %d (pid %d) %s after %.1f s, %s requests in flight; started again in %g s",
            worker.worker_id,
            pid,
            how,
            lived_s,
            given_back,
            delay_s,
        )
        if all(each.failed_starts >= MAX_FAILED_STARTS for each in self._workers):
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
        notify_systemd("STOPPING=1")
        self._listeners.close()
        if self._admin is not None:
            self._unwatch(self._admin)
            self._admin.socket.close()
        self._signal_all(signal.SIGTERM)

    def _kill_when_due(self) -> None:
        if self._kill_at is not None and self._pids() and time.monotonic() >= self._kill_at:
            logger.warning("workers still run %g s after they should have ended", KILL_GRACE_S)
            self._kill()

    def _kill(self) -> None:
        self._phase = Phase.KILLING
        self._kill_at = None
        self._exit_code = EXIT_FAILED
        pids = self._pids()
        logger.warning("killing %d workers: pid %s", len(pids), ", ".join(map(str, pids)))
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in self._pids():
            os.kill(pid, number)

    # starting

    def _start_due_workers(self) -> None:
        if self._phase is not Phase.RUNNING:
            return
        now = time.monotonic()
        for worker in self._workers:
            if worker.start_at is not None and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        read_fd, write_fd = os.pipe()
        self._ledger.worker_started(worker.worker_id)
        pid = self._fork(
            f"worker {worker.worker_id}", partial(self._be_worker, worker, read_fd, write_fd)
        )
        os.close(write_fd)
        if pid is None:
            os.close(read_fd)
            worker.start_at = time.monotonic() + LAST_BACKOFF_S
            return
        worker.pid = pid
        worker.started_at = time.monotonic()
        worker.start_at = None
        worker.is_ready = False
        worker.ready_fd = read_fd
        self._selector.register(read_fd, selectors.EVENT_READ, worker)

    def _watch_admin(self) -> None:
        """Waits for who wants to ask, where the time for that has come."""
        admin = self._admin
        if admin is None or admin.watch_at is None or self._phase is not Phase.RUNNING:
            return
        if admin.watch_at <= time.monotonic():
            admin.watch_at = None
            self._selector.register(admin.socket.sock, selectors.EVENT_READ, admin)

    def _unwatch(self, admin: OnDemand) -> None:
        if admin.socket.sock in self._selector.get_map():
            self._selector.unregister(admin.socket.sock)

    def _start_admin(self, admin: OnDemand) -> None:
        """Somebody has connected; who it is, and what is wanted, is the process's part."""
        if self._phase is not Phase.RUNNING:
            return  # a signal came in the same moment
        self._unwatch(admin)
        pid = self._fork(admin.name, partial(self._be_admin, admin))
        if pid is None:
            admin.watch_at = time.monotonic() + LAST_BACKOFF_S
        else:
            admin.note_start(pid, time.monotonic())

    def _fork(self, what: str, run: Callable[[], int]) -> int | None:
        """
        The pid of a child that does ``run``; None: there is no room for one now, which was logged.

        Signals wait meanwhile: one that came between fork and reset would run the parent's handler in the child.
        """
        parent_pid = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED_SIGNALS)
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, no memory: may pass
            signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
            logger.error(
                "%s cannot be forked: %s; tried again in %g s", what, error.strerror, LAST_BACKOFF_S
            )
            return None
        if pid == 0:
            self._be_child(what, run, old_mask, parent_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        return pid

    # below: in the child

    def _be_worker(self, worker: _Worker, read_fd: int, ready_fd: int) -> int:
        os.close(read_fd)
        self._listeners.keep_only(worker.worker_id)
        if self._admin is not None:
            self._admin.socket.sock.close()
        set_process_name(f"wsproxy-{worker.worker_id}")
        listeners = self._listeners.by_worker[worker.worker_id]
        return self._run_worker(worker.worker_id, listeners, _ready_writer(ready_fd))

    def _be_admin(self, admin: OnDemand) -> int:
        self._listeners.close()
        set_process_name(f"wsproxy-{admin.name}")
        return admin.run()

    def _be_child(
        self,
        what: str,
        run: Callable[[], int],
        signal_mask: set[int | signal.Signals],
        parent_pid: int,
    ) -> NoReturn:
        """Never returns: the parent's stack, with its ``finally`` blocks, is not the child's to unwind."""
        exit_code = EXIT_FAILED
        try:
            signal.set_wakeup_fd(-1)
            for number in _HANDLED_SIGNALS:
                signal.signal(
                    number, signal.SIG_IGN if number in _IGNORED_IN_WORKERS else signal.SIG_DFL
                )
            signal.pthread_sigmask(signal.SIG_SETMASK, signal_mask)
            self._selector.close()
            ready_fds = (worker.ready_fd for worker in self._workers)
            for fd in (*self._signal_fds, *ready_fds):
                if fd is not None:
                    os.close(fd)
            if end_with_parent(signal.SIGTERM, parent_pid):
                exit_code = run()
        except SystemExit as leaving:
            exit_code = leaving.code if isinstance(leaving.code, int) else EXIT_FAILED
        except BaseException:
            logger.exception("%s failed", what)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_code)


def _describe_end(exit_code: int) -> str:
    """How a process ended, from ``os.waitstatus_to_exitcode``."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was killed by signal {-exit_code}"


def _ready_writer(ready_fd: int) -> OnReady:
    """Tells the supervisor, once, that this worker accepts connections."""
    is_open = True

    def on_ready() -> None:
        nonlocal is_open
        if is_open:
            is_open = False
            os.write(ready_fd, b"r")
            os.close(ready_fd)

    return on_ready


def _leave_to_wakeup_fd(_number: int, _frame: FrameType | None) -> None:
    """A handler, because without one the signal would act by default; the wakeup fd brings the signal to the selector."""
