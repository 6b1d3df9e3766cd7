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


def ask_agent(folder: Folder, command: str, given: dict[str, Any] | None = None) -> Reply:
    """
    What the agent says. # I/O.

    Raises:
        NoAgentError: there is none.
        StartError: it does not answer.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(STATUS_S if command == "status" else ANSWER_S)
            sock.connect(os.fspath(folder.socket))
            sock.sendall(msgspec.json.encode(Question(command, given or {})) + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline(_MOST_BYTES)
        return msgspec.json.decode(line, type=Reply)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NoAgentError(f"{folder.socket}: no agent answers there") from error
    except (OSError, msgspec.DecodeError) as error:
        raise StartError(f"{folder.socket}: the agent does not answer: {error}") from error


def begin_agent(folder: Folder, start_s: float = START_S) -> int:
    """
    One runs and answers: that which does, 0; or a new one, the pid of its keeper. # I/O.

    Raises:
        StartError: it does not come up, and is ended; the text says what it said.
    """
    with contextlib.suppress(NoAgentError):
        ask_agent(folder, "status")
        return 0
    folder.make()
    with folder.file("agent.err").open("w+b") as said:
        process = subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, "-P", "-m", "wsproxy", "ha", "run", "--keep", "--folder", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True, cwd="/",
        )  # fmt: skip
    try:
        _await_answer(folder, process, start_s)
    except StartError:
        if process.poll() is None:  # its keeper would go on trying
            end_agent(process.pid)
            process.poll()
        raise
    process.returncode = 0  # it is to outlive us: nobody waits for it
    return process.pid


def _await_answer(folder: Folder, process: subprocess.Popen[bytes], start_s: float) -> None:
    deadline = time.monotonic() + start_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(NoAgentError):
            ask_agent(folder, "status")
            return
        time.sleep(_LOOK_S)
    said_text = folder.file("agent.err").read_text(errors="replace").strip()
    raise StartError(f"the agent does not come up: {said_text or 'ha.log may say why'}")


def end_agent(keeper: int) -> None:
    """The one that ``begin_agent`` has begun ends, by the pid that it returned. # I/O."""
    fd = os.pidfd_open(keeper)
    try:
        signal.pidfd_send_signal(fd, signal.SIGTERM)
        select.select([fd], [], [], START_S)
    finally:
        os.close(fd)
