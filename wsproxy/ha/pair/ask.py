"""
The agent of this machine is asked, from the command line: one line, one answer, over its socket in the folder.

Driven by ``cli.ha_pair``. Blocks; a command takes as long as what it does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess  # the agent, where none runs
import sys
import time
from typing import Any

import msgspec

from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.pair.folder import Folder
from wsproxy.ha.pair.keeper import NOT_NEEDED
from wsproxy.ha.resource.processes import descendants

# Longer than any command: two nodes, each of which waits for VRRP, which may have a ping interval of two minutes.
ANSWER_S = 600.0
# What is only asked.
STATUS_S = 15.0
# From a program's start until it answers; a busy machine takes many times the second that it needs.
START_S = 30.0
_LOOK_S = 0.05
_MOST_BYTES = 32 << 20


class Question(msgspec.Struct, frozen=True):
    """One line to the agent."""

    command: str
    given: dict[str, Any] = {}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of it; ``error`` empty: done."""

    given: dict[str, Any] = {}
    error: str = ""


class NoAgentError(WsproxyError):
    """None runs here: the node is stand-alone, or its agent was killed."""


class AgentEndedError(StartError):
    """It ended before it answered; what was asked for may be half done."""


def ask_agent(folder: Folder, command: str, given: dict[str, Any] | None = None) -> Reply:
    """
    What the agent says. # I/O.

    Raises:
        NoAgentError: there is none.
        AgentEndedError: it ended meanwhile.
        StartError: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(STATUS_S if command == "status" else ANSWER_S)
            sock.connect(os.fspath(folder.socket))
            sock.sendall(msgspec.json.encode(Question(command, given or {})) + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline(_MOST_BYTES)
        if not line:
            raise ConnectionResetError
        return msgspec.json.decode(line, type=Reply)
    except (ConnectionResetError, BrokenPipeError) as error:
        raise AgentEndedError(f"{folder.socket}: the agent ended before it answered; ha.log says why") from error  # fmt: skip
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoAgentError(f"{folder.socket}: no agent answers there") from error
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(f"{folder.socket}: the agent does not answer: {error}") from error


def begin_agent(folder: Folder, start_s: float = START_S) -> int:
    """
    One runs and answers: that which does, 0; or a new one, the pid of its keeper. # I/O.

    Where two are begun at once, or one is just ending, the folder's lock decides: all callers ask the same one.

    Raises:
        StartError: it does not come up, and is ended; the text says what it said.
    """
    deadline = time.monotonic() + start_s
    while True:
        with contextlib.suppress(NoAgentError, AgentEndedError):
            ask_agent(folder, "status")
            return 0
        if (keeper := _begin_keeper(folder, deadline)) >= 0:
            return keeper


def _begin_keeper(folder: Folder, deadline: float) -> int:
    """As ``begin_agent``; negative: another one has the folder, and does not answer."""
    folder.make()
    with folder.file("agent.err").open("w+b") as said:
        process = subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, "-P", "-m", "wsproxy", "ha", "run", "--keep", "--for-start", "--folder", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd="/",
        )  # fmt: skip
    try:
        agent = _await_answer(folder, process, deadline)
    except StartError:
        if process.poll() is None:  # its keeper would go on trying
            end_agent(process.pid)
            process.poll()
        raise
    if process.poll() is None and agent not in descendants(process.pid):
        end_agent(process.pid)  # else it would be the next one as soon as the other ends
        process.poll()
    if process.returncode is not None:
        return 0 if agent else -1
    process.returncode = 0  # it is to outlive us: nobody waits for it
    return process.pid


def _await_answer(folder: Folder, process: subprocess.Popen[bytes], deadline: float) -> int:
    """The pid of the agent that answers, which need not be the one that was begun; 0: that was not needed, and none answers."""
    while time.monotonic() < deadline:
        with contextlib.suppress(NoAgentError, AgentEndedError):
            return int(ask_agent(folder, "status").given["agent"])
        if process.poll() == NOT_NEEDED:
            return 0
        if process.poll() is not None:
            break
        time.sleep(_LOOK_S)
    said_text = folder.file("agent.err").read_text(errors="replace").strip()
    raise StartError(f"the agent does not come up: {said_text or 'ha.log may say why'}")


def end_agent(keeper: int, *, is_ending: bool = False) -> None:
    """The one that ``begin_agent`` has begun is ended, by the pid that it returned, or ends by itself; and is awaited. # I/O."""
    fd = os.pidfd_open(keeper)
    try:
        if not is_ending:
            signal.pidfd_send_signal(fd, signal.SIGTERM)
        select.select([fd], [], [], START_S)
    finally:
        os.close(fd)
