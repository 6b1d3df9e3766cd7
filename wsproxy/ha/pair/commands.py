"""
What an operator, or the other node, wants of the agent; and the agent's process.

Driven by ``cli.ha_pair`` over the agent's socket, which is root's alone, and by ``link``. A command returns when what it says is true, or says
why it is not. One at a time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import logging.handlers
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from wsproxy.config.problems import printable
from wsproxy.dataplane.tasks import end_all, log_loop_error, run, spawn
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.pair.agent import Agent
from wsproxy.ha.pair.ask import Question, Reply
from wsproxy.ha.pair.conf import Pair, flaws
from wsproxy.ha.pair.drill_acts import Acts
from wsproxy.ha.pair.folder import MOST_LOG_BYTES, Folder
from wsproxy.ha.pair.keepalived import addresses
from wsproxy.ha.pair.link import MOST_LINE_BYTES, Link, LinkError
from wsproxy.ha.pair.rules import Event, RefusedTransitionError, State

log = logging.getLogger("wsproxy.ha.pair")

# The other node is awaited so long where it may be absent, and where it must be there.
GREET_S = 3.0
SYNC_S = 15.0
# Beyond VRRP's own time, for a machine that is busy.
TAKE_S = 10.0
PROXY_S = 5.0
# One that was begun for a start is asked at once.
ASKED_S = 60.0
_OF_THE_PEER = ("take", "hand", "logs")


class CommandError(WsproxyError):
    """It was not done; the text says why, and what would be."""


class Desk:
    """All commands of one agent."""

    def __init__(self, agent: Agent) -> None:
        """Answers the other node from now on."""
        self.agent = agent
        self._acts = Acts(agent, self.answer)
        self.is_over = False  # the node is stand-alone: the agent ends behind its answer
        self.is_for_start = False  # the agent was begun for a start, and none has succeeded
        self._waiting = 0  # commands that are done, or wait for that
        agent.answer = self.answer_peer

    async def answer(self, question: Question) -> Reply:
        """What became of it."""
        found: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "start": self._start, "configure": self._configure, "stop": self._stop, "failover": self._failover,
            "status": self._status, "logs": self._logs, "allow-drill": self._acts.allow,
        }  # fmt: skip
        try:
            do = found[question.command]
            log.info("command %s %s", question.command, _shown(question.given)) if question.command not in ("status", "logs") else None  # fmt: skip
            if question.command in ("status", "logs"):
                return Reply(await do(question.given))
            given = await self._do_in_turn(question, do)
        except (WsproxyError, RefusedTransitionError) as error:
            log.error("%s: %s", question.command, error)
            return Reply({"ends": self.is_over}, str(error))
        log.info("%s: %s", question.command, given.get("text", "done"))
        return Reply(given)

    async def _do_in_turn(
        self, question: Question, do: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
    ) -> dict[str, Any]:
        self._waiting += 1
        try:
            async with self.agent.busy:
                found = await do(question.given)
            self.is_for_start = False
            return found
        except (WsproxyError, RefusedTransitionError):
            if question.command == "start" and self._waiting == 1 and self._is_for_nothing:
                self.is_over = True
            raise
        finally:
            self._waiting -= 1

    @property
    def _is_for_nothing(self) -> bool:
        """A proxy alone has no part of this running. One that is waited for by the other node, or is inconsistent, stays."""
        return self.is_for_start and self.agent.node.state is State.STAND_ALONE

    def end_unasked(self) -> None:
        """Whoever has begun it has gone away before it gave its command."""
        if self._is_for_nothing and not self._waiting:
            log.warning("nobody has given a command for %g s", ASKED_S)
            self.agent.ended.set()

    async def answer_peer(self, what: str, given: dict[str, Any], is_peer: bool) -> dict[str, Any]:
        """
        A question over the link; ``is_peer``: the other node asks, and not a third machine with a key of the group.

        Raises:
            WsproxyError: what it wants is refused.
        """
        if what in _OF_THE_PEER and not is_peer:
            raise CommandError(f'found "{what}" of a machine that is no node of this pair')
        if what == "take":
            return await self._take()
        if what == "hand":
            spawn(self._hand(), "ha pair hand")
            return {}
        if what == "logs":
            return self._own_logs()
        if what == "status":
            return await self._status({})
        if what == "holds":
            return {"holds": self.agent.holds, "state": self.agent.node.state}
        return await self._acts.do(what, given)

    # --- start, configure, stop -------------------------------------------------------------------------------------------

    async def _start(self, given: dict[str, Any]) -> dict[str, Any]:
        event = Event.START_PRIMARY if given["role"] == "primary" else Event.START_SECONDARY
        pair = _pair_of(given, self.agent.pair)
        self.agent.node.after(event)  # refused in its own words, before anything is done
        await self._prepare(pair)
        if event is Event.START_PRIMARY:
            return await self._start_primary(pair, given)
        return await self._start_secondary(pair, given)

    async def _prepare(self, pair: Pair) -> None:
        agent = self.agent
        for option, what in flaws(pair):
            raise CommandError(f"--{option.replace('_', '-')}: {what}")
        here = addresses()
        for name in ("address", "sync_address"):
            found = getattr(pair, name)
            if found and found not in here:
                raise CommandError(f"--{name.replace('_', '-')}: found {found}, which this machine does not have; allowed is one of {', '.join(sorted(here))}")  # fmt: skip
        if pair.vip_address in here and not agent.keepalived.is_running:
            raise CommandError(f"--vip: found {pair.vip_address} on {here[pair.vip_address]} already; allowed is an address that keepalived alone sets")  # fmt: skip
        agent.keepalived.write(pair)
        await agent.join(pair)
        agent.folder.write_pair(pair)

    def _link(self) -> Link:
        assert self.agent.parts is not None
        return self.agent.parts.link

    async def _await_proxy(self) -> None:
        agent = self.agent
        parts = agent.parts
        assert parts is not None
        if not await agent.until(lambda: parts.watch.health.is_well and bool(agent.digest()), PROXY_S):  # fmt: skip
            raise CommandError(f"no proxy serves here: {parts.watch.why}; start it first")

    def _check_version(self, given: dict[str, Any]) -> None:
        word = self.agent.peer(GREET_S)
        own = self.agent.word()
        if word is not None and word.version != own.version and not given.get("any_version"):
            raise CommandError(
                f"found version {own.version} here and {word.version} on the other node; allowed is the same one (--any-version says that it is meant)"
            )

    async def _start_primary(self, pair: Pair, given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        await self._await_proxy()
        await agent.until(lambda: agent.peer(GREET_S) is not None, GREET_S)
        word = agent.peer(GREET_S)
        if word is not None and (word.holds or word.state == State.PRIMARY):
            raise CommandError(f"{pair.peer} is primary; allowed is start --secondary here, or stop there")  # fmt: skip
        self._check_version(given)
        agent.turn(Event.START_PRIMARY)
        if not agent.keepalived.is_running:
            await agent.settle()
        if not await agent.until(lambda: agent.holds, pair.times.down_s + TAKE_S):
            raise CommandError(
                f"the address {pair.vip} is not here after {pair.times.down_s + TAKE_S:.0f} s; keepalived.log says what VRRP does, another virtual router may have number {pair.router_id}"
            )
        lacks = "" if word is not None else "; the other node is not there yet"
        return {"text": f"primary: the address {pair.vip} is here, on {pair.interface}{lacks}"}

    async def _start_secondary(self, pair: Pair, given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        await self._await_proxy()
        await agent.until(lambda: agent.peer(GREET_S) is not None, GREET_S)
        self._check_version(given)
        agent.turn(Event.START_SECONDARY)
        await agent.settle()
        if not await agent.until(self._is_in_sync, SYNC_S):
            agent.turn(Event.SYNC_LOST)
            raise CommandError(f"{self._why_not_in_sync()}; this node is {agent.node.state} until start --secondary is given again")  # fmt: skip
        agent.turn(Event.SYNCED)
        await agent.settle()
        if not await agent.until(lambda: agent.keepalived.is_running, TAKE_S):
            raise CommandError("keepalived does not run; keepalived.log says why")
        return {"text": f"secondary: {pair.peer} is primary, both serve by configuration {agent.digest()[:12]}"}  # fmt: skip

    def _is_in_sync(self) -> bool:
        word = self.agent.peer(GREET_S)
        return (
            word is not None
            and word.state == State.PRIMARY
            and word.holds
            and word.digest == self.agent.digest() != ""
        )

    def _why_not_in_sync(self) -> str:
        word = self.agent.peer(GREET_S)
        if word is None:
            return f"the other node is not heard ({self._link().reasons or 'it says nothing'})"
        if word.state != State.PRIMARY or not word.holds:
            return f"the other node is {word.state}, not primary"
        return f"found configuration {self.agent.digest()[:12] or 'unknown'} here and {word.digest[:12] or 'unknown'} on the primary; allowed is the same plugin-cfg.xml"

    async def _configure(self, given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        if agent.pair is None:
            raise CommandError("found no pair; allowed is start first")
        agent.node.after(Event.CONFIGURE)
        pair = _pair_of(given, agent.pair)
        if agent.keepalived.is_running and pair.vip != agent.pair.vip and pair.vip_address in addresses():  # fmt: skip
            raise CommandError(f"--vip: found {pair.vip_address} on this machine already; allowed is a new address")  # fmt: skip
        await self._prepare(pair)
        agent.judge()
        agent.keepalived.reload()
        agent.turn(Event.CONFIGURE)
        return {"text": f"{agent.node.state}: configured; give the same options on the other node"}

    async def _stop(self, _given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        vip = agent.pair.vip_address if agent.pair else ""
        agent.turn(Event.STOP)
        await agent.settle()
        if vip in addresses():
            raise CommandError(f"the address {vip} is still on this machine; `ip addr` shows where, remove it by hand")  # fmt: skip
        agent.folder.file("pair.json").unlink(missing_ok=True)
        await agent.leave()
        self.is_over = True
        return {"text": f"stand-alone: {vip or 'no address'} is not here any more"}

    # --- failover ---------------------------------------------------------------------------------------------------------

    async def _failover(self, given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        if agent.node.state is State.SECONDARY:
            with contextlib.suppress(
                LinkError
            ):  # a primary that does not answer is one more reason
                await self._link().ask("hand")
            await self._take()
            return {"text": "primary: the address is here; the other node is idle"}
        if agent.node.state is not State.PRIMARY or agent.parts is None:
            raise CommandError(f"found state {agent.node.state}; allowed is failover on the primary, or on the secondary")  # fmt: skip
        word = agent.peer(GREET_S)
        if word is None or word.state != State.SECONDARY or not word.well:
            what = "not heard" if word is None else f"{word.state}, its proxy {word.health}"
            raise CommandError(f"the other node is {what}; allowed is one that is secondary and whose proxy is well")  # fmt: skip
        agent.is_handing = True
        try:
            agent.linger.stay(agent.parts.pair)
            await self._link().ask("take", within_s=agent.parts.pair.times.down_s + 2 * TAKE_S)
            if not await agent.until(lambda: agent.node.state is State.IDLE, TAKE_S):
                raise CommandError("the other node has the address, and has not said so")
        finally:
            agent.is_handing = False
            agent.linger.end_later()
        await agent.settle()
        return {"text": "idle: the other node has the address; start --secondary here when this one may be needed"}  # fmt: skip

    async def _hand(self) -> None:
        """The secondary has been told to take the address, and will."""
        agent = self.agent
        if agent.parts is None or agent.node.state is not State.PRIMARY:
            return
        agent.is_handing = True
        try:
            pair = agent.parts.pair
            agent.linger.stay(pair)
            await agent.until(lambda: agent.node.state is not State.PRIMARY, pair.times.down_s + TAKE_S)  # fmt: skip
        finally:
            agent.is_handing = False
            agent.linger.end_later()

    async def _take(self) -> dict[str, Any]:
        """Takes the address, while the other one still holds it: VRRP's higher priority moves it."""
        agent = self.agent
        if agent.parts is None or agent.node.state is not State.SECONDARY:
            raise CommandError(f"the other node is {agent.node.state}, not secondary")
        if not agent.parts.watch.health.is_well:
            raise CommandError(f"the proxy on the other node is {agent.parts.watch.health.value}")
        agent.linger.pass_on(agent.parts.pair)
        agent.is_taking = True
        agent.judge()
        try:
            if not await agent.until(lambda: agent.holds, agent.parts.pair.times.down_s + TAKE_S):
                raise CommandError("keepalived on the other node has not taken the address")
            # Until the one who had it has seen that: equal priorities are decided by addresses.
            await agent.until(lambda: not self._peer_holds(), GREET_S)
        finally:
            agent.is_taking = False
            agent.linger.end_later()
            agent.judge()
        return {}

    def _peer_holds(self) -> bool:
        word = self.agent.peer(GREET_S)
        return word is not None and word.holds

    # --- questions --------------------------------------------------------------------------------------------------------

    async def _status(self, _given: dict[str, Any]) -> dict[str, Any]:
        agent = self.agent
        record = agent.folder.read_record()
        found: dict[str, Any] = {
            "state": agent.node.state, "since": record.since, "why": record.why, "agent": os.getpid(),
            "holds": agent.holds, "pair": None, "peer": None, "proxy": None, "keepalived": None, "warnings": [],
        }  # fmt: skip
        parts = agent.parts
        if parts is None:
            return found
        watch, ages = parts.watch, agent.heard_ages()
        found["pair"] = msgspec.to_builtins(parts.pair)
        found["networks"] = {
            name: {
                "own": own, "peer": peer, "heard_s": round(ages[name], 3) if name in ages else None,
                "is_heard": name in ages and ages[name] <= parts.pair.times.lost_s,
                "doubt": parts.link.doubts.get(name, ""),
            }
            for name, own, peer in parts.pair.paths
        }  # fmt: skip
        found["proxy"] = {
            "pid": watch.pid, "health": watch.health.value, "why": watch.why, "config_digest": agent.digest(),
            "version": watch.status.version if watch.status else "",
        }  # fmt: skip
        word = agent.peer(parts.pair.times.lost_s)
        found["peer"] = None if word is None else msgspec.to_builtins(word)
        if agent.keepalived.is_running:
            said = await agent.keepalived.ask()
            found["keepalived"] = {"pid": agent.keepalived.pid, **_kept(said)}
        found["warnings"] = list(self._warnings(found))
        return found

    def _warnings(self, found: dict[str, Any]) -> list[str]:
        agent = self.agent
        warnings = list(agent.differences())
        if found["peer"] is None:
            warnings.append("the other node answers on no network")
        else:
            warnings += [f"the other node is not heard over the {name} network" for name, each in found["networks"].items() if not each["is_heard"]]  # fmt: skip
            if agent.node.state is State.PRIMARY and found["peer"]["state"] != State.SECONDARY:
                warnings.append(f"nobody would take the address over: the other node is {found['peer']['state']}")  # fmt: skip
            elif not found["peer"]["well"]:
                warnings.append(f"the proxy on the other node is {found['peer']['health']}")
        if found["proxy"]["health"] != "well":
            warnings.append(f"the proxy here is {found['proxy']['health']}: {found['proxy']['why']}")  # fmt: skip
        if agent.node.state is State.PRIMARY and not agent.holds:
            warnings.append("the address is not here")
        if agent.node.state in (State.BAD, State.INCONSISTENT):
            warnings.append(f"the state is {agent.node.state}: {found['why']}")
        return warnings

    def _own_logs(self) -> dict[str, Any]:
        tails = self.agent.folder.tails()
        return {name: base64.b64encode(data).decode() for name, data in tails.items()}

    async def _logs(self, given: dict[str, Any]) -> dict[str, Any]:
        """Both nodes' logs by address; of the other one only where it answers."""
        agent = self.agent
        name = agent.pair.address if agent.pair else "here"
        found: dict[str, Any] = {"nodes": {name: self._own_logs()}, "error": ""}
        if agent.parts is not None and given.get("both", True):
            try:
                found["nodes"][agent.parts.pair.peer] = await self._link().ask("logs")
            except LinkError as error:
                found["error"] = str(error)
        return found


def _pair_of(given: dict[str, Any], kept: Pair | None) -> Pair:
    """The settings: those given, the rest as they were."""
    said = {name: value for name, value in given.get("pair", {}).items() if value is not None}
    before = msgspec.to_builtins(kept) if kept is not None else {}
    try:
        return msgspec.convert({**before, **said}, Pair)
    except msgspec.ValidationError as error:
        raise CommandError(f"found settings that lack something: {error}; allowed is --peer, --vip and the others at the first start") from error  # fmt: skip


def _kept(said: dict[str, Any]) -> dict[str, Any]:
    """Of keepalived's JSON what people ask for."""
    names = {0: "init", 1: "backup", 2: "master", 3: "fault"}
    return {
        "state": names.get(said.get("state", -1), "unknown"),
        "effective_priority": said.get("effective_priority"),
        "last_transition": said.get("last_transition"),
        "stats": said.get("stats", {}),
    }


def _shown(given: dict[str, Any]) -> str:
    pair = {name: value for name, value in given.get("pair", {}).items() if value is not None}
    rest = {name: value for name, value in given.items() if name != "pair" and value}
    return " ".join(f"{name}={value}" for name, value in {**rest, **pair}.items())


# --- the process ----------------------------------------------------------------------------------------------------------


def run_agent(path: Path, *, is_for_start: bool = False) -> int:
    """
    Is a node's agent until it is stand-alone by command, or told to end; the exit code.

    ``is_for_start``: it also ends where its first start is refused, or nobody gives one.

    Raises:
        StartError: another one runs, or the folder cannot be used.
    """
    folder = Folder(path)
    folder.make()
    lock = folder.lock()
    _set_up_log(folder)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)  # some packets a second, which must not be late
    try:
        return run(_serve(folder, is_for_start=is_for_start))
    finally:
        os.close(lock)


def _set_up_log(folder: Folder) -> None:
    handler = logging.handlers.RotatingFileHandler(
        folder.file("ha.log"), maxBytes=MOST_LOG_BYTES, backupCount=1
    )
    handler.setFormatter(_Lines("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))  # fmt: skip
    root = logging.getLogger("wsproxy")
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False


class _Lines(logging.Formatter):
    """One line a message: what comes from the other node or from keepalived makes no second one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        """The line."""
        return printable(super().formatMessage(record))


async def _serve(folder: Folder, *, is_for_start: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_loop_error)
    agent = Agent(folder)
    desk = Desk(agent)
    is_told = asyncio.Event()

    def end() -> None:
        is_told.set()
        agent.ended.set()

    loop.add_signal_handler(signal.SIGTERM, end)
    log.info("agent begins (pid %d), %s", os.getpid(), agent.node.state)
    try:
        await agent.restore()
    except StartError as error:
        log.error("%s", error)
    folder.socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _answer(desk, reader, writer), folder.socket, limit=MOST_LINE_BYTES
    )
    folder.socket.chmod(0o600)  # its folder is 0700 anyway
    if is_for_start and agent.parts is None:  # else it goes on, or waits for its autostart
        desk.is_for_start = True
        loop.call_later(ASKED_S, desk.end_unasked)
    await agent.ended.wait()
    if is_told.is_set() and agent.node.state is not State.STAND_ALONE:
        async with agent.busy:
            agent.turn(Event.STOP, "the agent was told to end (SIGTERM)")
            await agent.settle()
    server.close()
    await agent.leave()
    await end_all()
    folder.socket.unlink(missing_ok=True)
    log.info("agent ends")
    return int(agent.has_failed)


async def _answer(desk: Desk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    done = asyncio.Event()

    async def work() -> None:
        try:
            line = await reader.readline()
            if desk.is_over:
                return  # whoever asks begins another agent
            reply = await desk.answer(msgspec.json.decode(line, type=Question))
            writer.write(msgspec.json.encode(reply) + b"\n")
            await writer.drain()
        except (OSError, ValueError, msgspec.DecodeError):
            log.debug("a question was none, or nobody waits for its answer")
        finally:
            writer.close()
            done.set()
            if desk.is_over:
                desk.agent.ended.set()

    # A command goes on where who gave it has gone away.
    spawn(work(), "ha pair command")
    await done.wait()
