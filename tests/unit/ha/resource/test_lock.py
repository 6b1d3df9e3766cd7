"""The lock of keepers: one has it, and who has it where it is somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.resources import Shared, shared
from tests.unit.ha.resource.test_runner import FAR_S, LONG_S, Bench
from wsproxy.dataplane.tasks import end_all
from wsproxy.ha.group.clock import boot_clock
from wsproxy.ha.resource.lock import PATIENCE_S, Claim, holder_of, lock_name, lock_of
from wsproxy.ha.resource.messages import Identity
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.processes import no_proof_of_free
from wsproxy.ha.resource.runner import Runner

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user as well")


@pytest.fixture
def place(tmp_path: Path) -> Shared:
    return shared(tmp_path)


@contextlib.contextmanager
def somebody(mark: str) -> Iterator[int]:
    """Another user who has the name; the pid."""
    text = f"import os, socket, sys; os.setresuid({NOBODY}, {NOBODY}, {NOBODY}); s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + sys.argv[1]); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", text, lock_name(mark)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_one_keeper_at_a_time() -> None:
    """Also where names are longer than a socket's may be; a lock that is closed is free."""
    mark = "x" * 300
    assert holder_of(mark) == ""
    first = lock_of(mark)
    assert first is not None
    assert lock_of(mark) is None
    assert holder_of(mark).startswith(f"pid {os.getpid()} (")
    assert holder_of(mark).endswith(f"), user {os.getuid()}")
    first.close()
    again = lock_of(mark)
    assert again is not None
    again.close()


def test_a_claim_tells_after_a_while_and_no_longer_than_it_is_so() -> None:
    """One before us may need a moment to end what it keeps."""
    first = lock_of("m")
    assert first is not None
    claim = Claim("m", 10.0)
    assert claim.take(10.1) is None
    assert claim.why == ""
    assert claim.take(10.0 + PATIENCE_S) is None
    assert f"is held by pid {os.getpid()} (" in claim.why
    first.close()
    lock = claim.take(10.2 + PATIENCE_S)
    assert lock is not None
    assert claim.why == ""
    lock.close()


@needs_root
async def test_a_name_that_another_user_has_taken_is_told(place: Shared) -> None:
    """Nothing begins; why, and who, is known to whoever asks, and when that one has ended it begins."""
    mark = f"test/{place.folder}/a/batch"
    runner = Runner(place.settings("daemon"), Identity(mark, "a"), lambda: it.note())
    it = Bench(place, runner)
    with somebody(mark) as pid:
        runner.open()
        runner.right(boot_clock() + FAR_S)
        await runner.begin(1)
        await it.until(lambda: bool(runner.doubt))
        assert f"is held by pid {pid} (" in runner.doubt
        assert f", user {NOBODY}: nothing of it begins here" in runner.doubt
        assert runner.said is None
        assert not runner.is_free
        assert place.said() == []
    await it.until_phase(Phase.RUNNING)
    assert (runner.doubt, it.why) == ("", "")
    async with asyncio.timeout(LONG_S):
        await runner.stop()
    await runner.close()
    await end_all()


@needs_root
def test_whose_it_is_where_that_cannot_be_seen() -> None:
    """Nobody may look at what root has open, and says so."""
    text = f"import os; from wsproxy.ha.resource.lock import holder_of; os.setresuid({NOBODY}, {NOBODY}, {NOBODY}); print(holder_of('seen'))"
    name = lock_name("seen").replace(f"/{os.getuid()}/", f"/{NOBODY}/")
    with socket.socket(socket.AF_UNIX) as lock:
        lock.bind(f"\0{name}")
        said = subprocess.check_output([sys.executable, "-P", "-c", text], text=True)
    assert said == "a process that this user may not look at, so another user's\n"


@needs_root
def test_a_lock_file_that_cannot_be_opened_is_not_called_taken(tmp_path: Path) -> None:
    """It is no proof that nobody has it, and it says what it is."""
    assert no_proof_of_free(str(tmp_path)) == "cannot be opened (Is a directory), so nobody can say whether its lock is free"  # fmt: skip
