"""The supervisor as a real process with real forks: restart, stop, crash loop, death."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

import pytest

from tests.support.process import WAIT_S, WatchedProcess, ask, wait_for_end, watched_process
from tests.support.proxy import processes_of

# A connection lands on either worker by the hash of its ports: with this many, all on one is as good as impossible.
MANY = 200


def supervised(
    mode: str,
    *,
    workers: int = 2,
    shutdown_s: float = 60.0,
    hang_s: float = 0.0,
    env: dict[str, str] | None = None,
) -> AbstractAsyncContextManager[WatchedProcess]:
    numbers = map(str, (workers, shutdown_s, hang_s))
    return watched_process("-m", "tests.support.supervised", mode, *numbers, env=env)


async def ready_port(supervisor: WatchedProcess) -> int:
    return int(
        (
            await supervisor.line(
                r"wsproxy: ready on http://127\.0\.0\.1:(\d+) \(\d workers, pid \d+\)"
            )
        )[1]
    )


async def ask_until(port: int, question: str, answers: set[str], wanted: int) -> None:
    """Adds answers until there are ``wanted`` different ones: one who is started anew gets connections when it is ready."""
    try:
        async with asyncio.timeout(WAIT_S):
            while len(answers) < wanted:
                answers.add(await ask(port, question))
    except TimeoutError:
        pytest.fail(f"found answers {answers}; wanted {wanted}")


async def test_all_workers_get_connections_on_the_same_free_port() -> None:
    """Port 0 becomes one port, and each of the workers, which are not the supervisor, answers there."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        pids: set[str] = set()
        await ask_until(port, "pid", pids, 2)
        assert str(supervisor.pid) not in pids
        supervisor.send(signal.SIGTERM)
        assert await supervisor.end() == 0


async def test_killed_worker_is_restarted_and_no_connection_is_refused() -> None:
    """After kill -9 of a worker every new connection is answered, in the end by the successor too."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        pids: set[str] = set()
        await ask_until(port, "pid", pids, 2)
        victim = int(await ask(port, "pid"))
        os.kill(victim, signal.SIGKILL)
        answers = {await ask(port, "pid") for _ in range(MANY)}
        assert str(victim) not in answers
        died = await supervisor.line(r"state: died (\d)")
        reported = await supervisor.line(
            rf"ERROR .*worker (\d) \(pid {victim}\) was killed by SIGKILL after"
        )
        started = await supervisor.line(r"state: started (\d)")
        assert died[1] == reported[1] == started[1]
        await ask_until(port, "pid", answers, 2)
        assert len(answers - pids) == 1


async def test_worker_holds_no_pipe_and_no_socket_of_another() -> None:
    """
    Neither the first worker nor one that was forked later, beside running ones, has what is not its own.

    One pipe is: its end tells a program that replaces this one that the last worker has ended.
    """
    async with supervised("serve", workers=3) as supervisor:
        port = await ready_port(supervisor)
        assert {await ask(port, "fds") for _ in range(MANY)} == {"pipes=1 listening=1"}
        pids: set[str] = set()
        await ask_until(port, "pid", pids, 3)
        os.kill(int(pids.pop()), signal.SIGKILL)
        await ask_until(port, "pid", pids, 3)
        assert {await ask(port, "fds") for _ in range(MANY)} == {"pipes=1 listening=1"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_running_request_finishes_after_stop_signal(number: signal.Signals) -> None:
    """New connections are refused, the running request gets its answer, then everything ends with exit code 0."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hold\n")
        assert await reader.readline() == b"holding\n"
        supervisor.send(number)
        await supervisor.line(f"{number.name}: stopping; running requests get 60 s")
        for _ in range(2):
            await supervisor.line("worker closed its listeners")
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "pid")
        writer.write(b"release\n")
        assert await reader.readline() == b"done\n"
        writer.close()
        await writer.wait_closed()
        assert await supervisor.end() == 0
        assert not [line for line in supervisor.lines if "ERROR" in line or "kill" in line]


async def test_second_stop_signal_does_not_wait() -> None:
    """Workers that would run on are killed, which the exit code tells."""
    async with supervised("deaf", shutdown_s=3600) as supervisor:
        await ready_port(supervisor)
        supervisor.send(signal.SIGTERM)
        await supervisor.line("SIGTERM: stopping")
        supervisor.send(signal.SIGTERM)
        await supervisor.line("SIGTERM again: not waiting")
        await supervisor.line(r"killing 2 workers: pid \d+, \d+")
        assert await supervisor.end() == 1


async def test_worker_that_does_not_stop_is_killed_after_the_grace_time() -> None:
    """A worker that ignores SIGTERM cannot hold up the stop."""
    async with supervised("deaf", shutdown_s=0) as supervisor:
        await ready_port(supervisor)
        supervisor.send(signal.SIGTERM)
        await supervisor.line("workers still run 2 s after they should have ended")
        await supervisor.line("killing 2 workers")
        assert await supervisor.end() == 1


async def test_crash_loop_gives_up() -> None:
    """Workers that never get ready are not started for ever."""
    async with supervised("crash") as supervisor:
        await supervisor.line(
            "giving up: every worker ended 5 times in a row before it accepted connections"
        )
        assert await supervisor.end() == 1
        ends = [line for line in supervisor.lines if "ended with exit code 3 after" in line]
        assert len(ends) >= 10
        assert "started again in 0.1 s" in ends[0]
        assert "started again in 1.6 s" in ends[-1]


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_workers_end_with_a_killed_supervisor(is_stopped: bool) -> None:
    """No orphan keeps the port, not even one that SIGSTOP holds."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        pids: set[str] = set()
        await ask_until(port, "pid", pids, 2)
        with ExitStack() as stack:
            pidfds = [os.pidfd_open(int(pid)) for pid in pids]
            for pidfd in pidfds:
                stack.callback(os.close, pidfd)
            if is_stopped:
                os.kill(int(next(iter(pids))), signal.SIGSTOP)
            supervisor.send(signal.SIGKILL)
            ended = [await asyncio.to_thread(wait_for_end, pidfd) for pidfd in pidfds]
        assert ended == [True, True]
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "pid")


async def test_worker_that_hangs_ends_with_a_killed_supervisor() -> None:
    """Not later than a supervisor would have killed it; no handler of Python would have run."""
    async with supervised("stuck", workers=1, shutdown_s=0) as supervisor:
        port = await ready_port(supervisor)
        (worker,) = processes_of(supervisor.pid, r"wsproxy-\d+")
        with ExitStack() as stack:
            pidfd = os.pidfd_open(worker)
            stack.callback(os.close, pidfd)
            supervisor.send(signal.SIGKILL)
            assert await asyncio.to_thread(wait_for_end, pidfd)
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "pid")


@pytest.mark.parametrize(
    ("mode", "doing"),
    [("spin", "runs without end"), ("block", "waits in a system call"), ("stubborn", "waits in")],
)
async def test_worker_that_hangs_is_killed_and_started_anew(mode: str, doing: str) -> None:
    """It says where it hung; SIGKILL ends one that does not act on SIGABRT."""
    async with supervised(mode, workers=1, hang_s=1.0) as supervisor:
        await supervisor.line("state: started 0")
        hung = await supervisor.line(
            rf"ERROR .*worker 0 \(pid (\d+)\) makes no turn for 1\.\d s \(process\.hang_s\): it {doing}.*is killed"
        )
        if mode == "stubborn":
            await supervisor.line(rf"worker 0 \(pid {hung[1]}\) did not end with SIGABRT; SIGKILL")
        else:
            await supervisor.line(rf"worker 0 \(pid {hung[1]}\): Fatal Python error: Aborted")
            await supervisor.line(rf"worker 0 \(pid {hung[1]}\): .*hread .* in _{mode}\\n")
        await supervisor.line("state: died 0")
        await supervisor.line("state: started 0")
        signal_name = "SIGKILL" if mode == "stubborn" else "SIGABRT"
        assert [line for line in supervisor.lines if f"was killed by {signal_name} after" in line]


async def test_stopped_worker_finishes_at_the_stop() -> None:
    """SIGTERM alone would wait for somebody who sets it going."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        os.kill(int(await ask(port, "pid")), signal.SIGSTOP)
        supervisor.send(signal.SIGTERM)
        assert await supervisor.end() == 0


async def test_hangup_changes_nothing() -> None:
    """Where no loader is, SIGHUP says so; the proxy goes on."""
    async with supervised("serve") as supervisor:
        port = await ready_port(supervisor)
        supervisor.send(signal.SIGHUP)
        await supervisor.line("SIGHUP: this proxy keeps the configuration of its start")
        assert int(await ask(port, "pid")) != supervisor.pid


async def test_service_manager_is_told_ready_and_stopping(tmp_path: Path) -> None:
    """The protocol of systemd: READY=1 when connections are accepted, STOPPING=1 at the stop."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(WAIT_S)
        async with supervised("serve", env={"NOTIFY_SOCKET": str(path)}) as supervisor:
            assert await asyncio.to_thread(manager.recv, 64) == b"READY=1"
            await ready_port(supervisor)
            supervisor.send(signal.SIGTERM)
            assert await asyncio.to_thread(manager.recv, 64) == b"STOPPING=1"
            assert await supervisor.end() == 0
