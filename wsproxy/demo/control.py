"""
What the demo's page knows of its cluster, and what its buttons ask for: two files beside the servers' store.

``demo.show`` writes the state and carries the orders out; ``demo.app`` reads the one and gives the other. Must not reach beyond the
demo's own directory, which nobody else can enter.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal

import msgspec

STATE_NAME = "state.json"
ORDERS_NAME = "orders"
# Wakes ``demo.show``, which waits for signals and reads its orders then.
ORDER_SIGNAL = signal.SIGUSR1
# One read of a pipe; an order has some ten bytes, and a person presses a button at a time.
_MOST_BYTES = 4096

Verb = Literal["kill", "return"]
VERBS: tuple[Verb, ...] = ("kill", "return")


class ServerState(msgspec.Struct, rename="camel"):
    """One app server; ``returns_at`` by CLOCK_MONOTONIC, which all processes share; 0: it is alive."""

    name: str
    clone_id: str
    url: str
    pid: int
    is_running: bool
    returns_at: float = 0.0


class DemoState(msgspec.Struct, rename="camel"):
    """The whole demo; ``admin``: the proxy's admin socket, empty: none; ``commands``: to try in a terminal, by title; ``dashboard``: its URL with its token."""

    pid: int
    admin: str
    servers: list[ServerState]
    commands: dict[str, str]
    dashboard: str = ""


def read_state(directory: Path) -> DemoState | None:
    """The state as it is now; None: these servers run without a demo around them. # I/O."""
    try:
        return msgspec.json.decode((directory / STATE_NAME).read_bytes(), type=DemoState)
    except FileNotFoundError:
        return None


def write_state(directory: Path, state: DemoState) -> None:
    """At once, so that nobody reads half of it. # I/O."""
    new = directory / f".{STATE_NAME}"
    new.write_bytes(msgspec.json.encode(state))
    new.replace(directory / STATE_NAME)


def give_order(directory: Path, state: DemoState, verb: Verb, server: str) -> None:
    """
    Asks the demo to kill this server, or to start it again. # I/O, does not wait.

    Raises:
        OSError: the demo is gone.
    """
    pipe = os.open(directory / ORDERS_NAME, os.O_WRONLY | os.O_NONBLOCK)
    try:
        os.write(pipe, f"{verb} {server}\n".encode())
    finally:
        os.close(pipe)
    os.kill(state.pid, ORDER_SIGNAL)


class Orders:
    """The demo's end of the pipe."""

    def __init__(self, directory: Path) -> None:
        """Makes the pipe; who may enter the directory may write to it. # I/O."""
        path = directory / ORDERS_NAME
        os.mkfifo(path, 0o600)
        # for writing too: then it is never at its end
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def read(self) -> list[tuple[Verb, str]]:
        """The orders since the last time, each with the server's name."""
        try:
            text = os.read(self._pipe, _MOST_BYTES).decode("utf-8", "replace")
        except BlockingIOError:
            return []
        orders: list[tuple[Verb, str]] = []
        for line in text.splitlines():
            given, _, name = line.partition(" ")
            orders += [(verb, name) for verb in VERBS if verb == given]
        return orders

    def close(self) -> None:
        """Closes the pipe."""
        os.close(self._pipe)
