"""
Work done by several forked processes at once, as workers do it; every process is ended before the test goes on.

A child runs one function and answers through a pipe. What it raises is raised again in the test, and a child that does not
answer in time is killed and named: a lock that nobody gives back shows as a failure, not as a test run that hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import selectors
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

WAIT_S = 60.0  # generous, because two CPUs are shared


@dataclass(frozen=True)
class Child:
    """A forked process and the pipe that it answers through."""

    pid: int
    answer: int

    def kill(self) -> None:
        """Ends the process in whatever it is doing, and reaps it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def start_child(work: Callable[[], Any]) -> Child:
    """A process that runs ``work``."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # The test runner has threads; the child only runs `work` and never returns to the runner.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        run_child(work, writer)
    os.close(writer)
    return Child(pid, reader)


def run_child(work: Callable[[], Any], writer: int) -> NoReturn:
    """Answers with the result of ``work`` or with its traceback; does not run the test runner's exit handlers."""
    try:
        answer = (True, work())
    except BaseException:
        answer = (False, traceback.format_exc())
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(pickle.dumps(answer))
    os._exit(0)


def wait_for(children: list[Child]) -> list[Any]:
    """What the children answered, in their order."""
    texts = {child.answer: b"" for child in children}
    deadline = time.monotonic() + WAIT_S
    try:
        with selectors.DefaultSelector() as selector:
            for child in children:
                selector.register(child.answer, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(max(deadline - time.monotonic(), 0))
                assert ready, f"{len(selector.get_map())} of {len(children)} processes do not end"
                for key, _ in ready:
                    read = os.read(key.fd, 65536)
                    texts[key.fd] += read
                    if not read:
                        selector.unregister(key.fd)
    finally:
        for child in children:
            os.close(child.answer)
            child.kill()
    results = []
    for child in children:
        assert texts[child.answer], f"process {child.pid} ended without an answer"
        worked, result = pickle.loads(texts[child.answer])
        assert worked, result
        results.append(result)
    return results


def run_forked(work: Callable[[int], Any], count: int) -> list[Any]:
    """The results of ``work(0)`` to ``work(count - 1)``, each in a process of its own, begun at the same moment."""
    together = multiprocessing.get_context("fork").Barrier(count)

    def begin(number: int) -> Any:
        together.wait(WAIT_S)  # short work would be done before the last process is there
        return work(number)

    return wait_for([start_child(partial(begin, number)) for number in range(count)])
