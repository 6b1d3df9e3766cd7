"""
Failures that a drill wants of this node: done here, undone here, and only while an operator of this machine allows it.

Driven by ``commands``. Whoever has a key of the group may ask; without ``wsproxy ha drill --allow`` here nothing is done. What is cut is cut
by a table of nftables of our own, which nothing else is in, and which is gone after the seconds that were asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import subprocess  # what starts the proxy again
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.pair.agent import Agent
from wsproxy.ha.pair.ask import Question, Reply
from wsproxy.ha.pair.keepalived import addresses
from wsproxy.ha.pair.programs import run_program

log = logging.getLogger("wsproxy.ha.pair")

TABLE = "wsproxy_drill"
MOST_S = 30.0
MOST_MINUTES = 120
RESTART_S = 60.0
# That a drill needs. Not all: with `allow-drill` a machine that has a key would say the operator's yes itself.
_COMMANDS = ("start", "failover")
# Before a node is cut off on which somebody waits for an answer.
ANSWER_S = 0.05


class ActError(WsproxyError):
    """It is not done; the text says why."""


class Acts:
    """Of one agent."""

    def __init__(self, agent: Agent, command: Callable[[Question], Awaitable[Reply]]) -> None:
        """Nothing is allowed."""
        self._agent = agent
        self._command = command
        self._until = 0.0
        self._restart = ""

    async def allow(self, given: dict[str, Any]) -> dict[str, Any]:
        """The operator's yes, for some minutes; ``restart`` is a command line of this machine that starts a proxy that was killed."""
        minutes = min(float(given.get("minutes", 10)), MOST_MINUTES)
        self._until = asyncio.get_running_loop().time() + 60 * minutes
        self._restart = str(given.get("restart", ""))
        return {"text": f"drills may break this node for {minutes:g} minutes; its proxy is started again by {self._restart or 'whoever does that here'}"}  # fmt: skip

    async def do(self, what: str, given: dict[str, Any]) -> dict[str, Any]:
        """
        It has been done; what ends by itself does so later.

        Raises:
            ActError: it is not allowed, or cannot be done here.
        """
        if asyncio.get_running_loop().time() >= self._until:
            raise ActError("found no operator's yes on this node; allowed is a drill after `wsproxy ha drill --allow 10` here")  # fmt: skip
        if what == "command" and given.get("command") not in _COMMANDS:
            raise ActError(
                f'found command "{given.get("command")}"; allowed in a drill is {" or ".join(_COMMANDS)}'
            )
        if self._agent.parts is None:
            raise ActError("this node is part of no pair")
        try:
            seconds = max(0.0, min(float(given.get("seconds", 0)), MOST_S))
        except (TypeError, ValueError):
            raise ActError(f'found seconds "{given.get("seconds")}"; allowed is a number') from None
        log.warning("drill: %s %s", what, seconds or "")
        if what == "command":
            reply = await self._command(Question(str(given["command"]), {"role": given.get("role", ""), "pair": {}, "any_version": True}))  # fmt: skip
            if reply.error:
                raise ActError(reply.error)
            return reply.given
        found = {"kill-proxy": self._kill, "stop-proxy": self._stop, "cut-sync": self._cut_sync, "cut-vrrp": self._cut_vrrp, "cut-all": self._cut_all, "allowed": self._nothing}.get(what)  # fmt: skip
        if found is None:
            raise ActError(f'found "{what}", which no drill knows')
        found(seconds)
        return {}

    def _nothing(self, _seconds: float) -> None:
        """Who asks wants to know whether it is allowed."""

    def _processes(self) -> list[int]:
        assert self._agent.parts is not None
        pid = self._agent.parts.watch.pid
        if pid is None:
            raise ActError("no proxy runs here")
        with contextlib.suppress(OSError):
            return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        return [pid]

    def _kill(self, _seconds: float) -> None:
        """The supervisor; the kernel tells its workers."""
        os.kill(self._processes()[0], signal.SIGKILL)
        if self._restart:
            spawn(self._start_again(), "ha drill restart")

    async def _start_again(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *shlex.split(self._restart),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RESTART_S):
                await process.wait()

    def _stop(self, seconds: float) -> None:
        pids = self._processes()
        for pid in pids:
            _signal(pid, signal.SIGSTOP)

        def go_on() -> None:
            for pid in pids:
                _signal(pid, signal.SIGCONT)

        asyncio.get_running_loop().call_later(seconds, go_on)

    # --- networks -----------------------------------------------------------------------------------------------------------

    def _cut_sync(self, seconds: float) -> None:
        pair = self._agent.parts.pair if self._agent.parts else None
        if pair is None or not pair.sync_address:
            raise ActError("found no sync network; allowed is a drill of it where --sync-peer is given")  # fmt: skip
        _cut(_interfaces([addresses()[pair.sync_address]]), seconds)

    def _cut_vrrp(self, seconds: float) -> None:
        chains = (f"chain {hook} {{ type filter hook {hook} priority -300; meta l4proto 112 drop; }}" for hook in ("input", "output"))  # fmt: skip
        _cut(f"table inet {TABLE} {{ {'; '.join(chains)}; }}\n", seconds)

    def _cut_all(self, seconds: float) -> None:
        """Nothing comes in and nothing goes out on both networks: for the other node this one has died."""
        assert self._agent.parts is not None
        here = addresses()
        names = sorted({here[own] for _, own, _ in self._agent.parts.pair.paths})
        _cut(_interfaces(names), seconds, after_s=ANSWER_S)


def _interfaces(names: list[str]) -> str:
    """
    All of their packets are dropped.

    At the device itself: keepalived sends gratuitous ARP by a packet socket, which no other hook sees, and a node that is dead sends none.
    """
    chains = (
        f'chain {hook}{number} {{ type filter hook {hook} device "{name}" priority -300; policy drop; }}'
        for number, name in enumerate(names)
        for hook in ("ingress", "egress")
    )
    return f"table netdev {TABLE} {{ {'; '.join(chains)}; }}\n"


def _cut(text: str, seconds: float, *, after_s: float = 0.0) -> None:
    """``after_s``: so that who asked gets its answer."""
    loop = asyncio.get_running_loop()
    if after_s:
        _nft(text, "-c")
        loop.call_later(after_s, _nft, text)
    else:
        _nft(text)
    loop.call_later(after_s + seconds, heal)


def heal() -> None:
    """What a drill cut is whole again. # I/O."""
    with contextlib.suppress(ActError):
        for family in ("inet", "netdev"):
            _nft(f"table {family} {TABLE} {{}}\ndelete table {family} {TABLE}\n")


def _nft(text: str, *options: str) -> None:
    try:
        code, said = run_program("nft", *options, "-f", "-", given=text)
    except StartError as error:
        raise ActError(str(error)) from error
    if code:
        raise ActError(f"nft: {said}")


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
