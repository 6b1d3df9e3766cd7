"""What a process leaves behind when it is killed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tests.support.forks import start_child, wait_for
from wsproxy.process.child import Stacks


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_stacks_of_all_threads_outlive_the_process(number: signal.Signals) -> None:
    """Once; the next process writes from the beginning again."""
    stacks = Stacks()
    cause = {signal.SIGABRT: "Aborted", signal.SIGSEGV: "Segmentation fault"}[number]

    def where_it_hangs() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    def work() -> None:
        stacks.arm()
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        where_it_hangs()

    for _ in range(2):
        child = start_child(work)
        os.close(child.answer)
        assert os.WTERMSIG(os.waitpid(child.pid, 0)[1]) == number
        what, *threads = stacks.take()
        assert what == f"Fatal Python error: {cause}"
        assert len(threads) == 2
        assert sum("in where_it_hangs" in thread for thread in threads) == 1
        assert sum("in wait" in thread for thread in threads) == 1
        assert stacks.take() == []
    stacks.close()
    assert stacks.take() == []


def test_orderly_end_leaves_nothing() -> None:
    stacks = Stacks()
    child = start_child(stacks.arm)
    wait_for([child])
    assert stacks.take() == []
    stacks.close()
