"""
Carries out operators' words and answers what they ask of servers and running requests.

Driven by ``admin.server``, one for each admin process. Words are carried out one after the other, each with the configuration that
holds: of a reload that has just happened this process may not have heard yet.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time

from wsproxy._fast.state.board import Page, Running, Stage
from wsproxy._fast.state.changes import ChangeKind
from wsproxy.admin.control import Control, checked_reason
from wsproxy.admin.control_messages import (
    FILE,
    AllAnswer,
    AllWord,
    KillAnswer,
    KillQuestion,
    LogLevelAnswer,
    LogLevelQuestion,
    MaintenanceAnswer,
    MaintenanceWord,
    Numbers,
    RequestsAnswer,
    RunningRequest,
    ServersAnswer,
    WhyAnswer,
    Word,
    WordAnswer,
)
from wsproxy.admin.live import LiveProxy, change_of, level_name
from wsproxy.admin.state_file import holds_words, write_state
from wsproxy.config.problems import printable
from wsproxy.dataplane.explained import request_id
from wsproxy.dataplane.tasks import spawn
from wsproxy.errors import StartError
from wsproxy.logs.plugin_writer import LEVELS

log = logging.getLogger("wsproxy.admin")

# A worker looks for questions at its sweeps, 4 times a second; one that is stopped, or that waits for a disk, does not.
WORKERS_S = 2.0
STEP_S = 0.01
# A state file that could not be written is tried so often: a disk that is full is not made emptier by more of it.
SAVED_AGAIN_S = 5.0
# The parcel with a new configuration is on its way for a moment.
PLAN_S = 2.0

_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{8})")
_PHASES = {
    Stage.QUEUED: "queued",
    Stage.CONNECTING: "connecting",
    Stage.SENT: "sent",
    Stage.ANSWERED: "answered",
    Stage.TUNNEL: "tunnel",
    Stage.OWN_ANSWER: "own answer",
}


class ControlDesk:
    """Who is asked is ``proxy``."""

    def __init__(self, proxy: LiveProxy) -> None:
        """What is written is written to the file that the settings name."""
        self._proxy = proxy
        self._lock = asyncio.Lock()
        self._is_unsaved = False
        self.again_s = SAVED_AGAIN_S
        self._board = asyncio.Lock()

    async def begin(self, _app: object) -> None:
        """A predecessor may have been ended between a word and its file; also between one that was taken back and its file."""
        path = self._proxy.state_file
        if self._proxy.has_words or (path and await asyncio.to_thread(holds_words, path)):
            await self.save()

    async def servers(self, target: str) -> ServersAnswer:
        """
        All servers, or those that are meant.

        Raises:
            StartError: none is, or it is not clear which.
        """
        await self._newest()
        return self._proxy.servers(target)

    async def why(self, target: str) -> list[WhyAnswer]:
        """
        The servers that are meant, each with its changes.

        Raises:
            StartError: none is, or it is not clear which.
        """
        control = await self._newest()
        return [
            WhyAnswer(row, [change_of(each) for each in control.changes_of(row)])
            for row in control.rows(target)
        ]

    async def hold(self, verb: str, word: Word, who: str) -> WordAnswer:
        """
        Carries out ``drain``, ``resume``, ``down`` or ``up``.

        Raises:
            StartError: it is not clear which server, for how long, or why.
        """
        async with self._lock:
            control = await self._newest()
            answer = WordAnswer(who, control.hold(verb, word, who))
            return await self._kept(verb, answer, control)

    async def drain_all(self, wanted: bool, word: AllWord, who: str) -> AllAnswer:
        """
        Drains the whole proxy, or ends that.

        Raises:
            StartError: the reason is too long.
        """
        reason = checked_reason(word.reason)
        async with self._lock:
            state = self._proxy.state
            answer = AllAnswer(who, state.is_drained != wanted, wanted)
            if answer.changed:
                state.is_drained = wanted
                text = f"{who}: {reason}" if reason else who
                kind = ChangeKind.PROXY_DRAIN_ON if wanted else ChangeKind.PROXY_DRAIN_OFF
                self._proxy.control.tell(kind, text)
                verb = "drain" if wanted else "resume"
                log.warning("%s --all: %s", verb, printable(text))
                if warning := await self.save():
                    answer.warnings.append(warning)
            return answer

    async def maintain(self, word: MaintenanceWord, who: str) -> MaintenanceAnswer:
        """
        Has the page shown instead of servers, or no more.

        Raises:
            StartError: there is no such cluster, or it is not clear for how long, or why.
        """
        async with self._lock:
            control = await self._newest()
            answer = MaintenanceAnswer(who, control.maintain(word, who), control.maintenance())
            if answer.changed:
                whole = word.cluster or "the whole proxy"
                text = f"{whole}, by {who}" + (f": {word.reason}" if word.reason else "")
                log.warning("maintenance %s: %s", "on" if word.on else "off", printable(text))
                if warning := await self.save():
                    answer.warnings.append(warning)
            return answer

    async def set_numbers(self, numbers: Numbers, who: str) -> WordAnswer:
        """
        Another weight, another MaxConnections.

        Raises:
            StartError: nothing is to be set, or what can't be.
        """
        async with self._lock:
            control = await self._newest()
            answer = WordAnswer(who, control.set_numbers(numbers, who))
            return await self._kept("set", answer, control)

    async def set_log_level(self, question: LogLevelQuestion | None, who: str) -> LogLevelAnswer:
        """
        What http_plugin.log tells now; with a question, from now on.

        Raises:
            StartError: there is no such level, or no such log.
        """
        state, plan = self._proxy.state, self._proxy.log_plan
        if plan is None:
            if question is not None:
                raise StartError(
                    "no http_plugin.log is written: plugin-cfg.xml has no Log Name that can be, and [log] plugin in wsproxy.toml no other"
                )
            return LogLevelAnswer("", "", "", changed=False)
        configured = state.file_log_level or plan.level
        before = state.log_level_now(plan.level)
        changed = False
        if question is not None:
            if question.level == FILE:
                wanted = configured
            elif question.level in LEVELS:
                wanted = LEVELS[question.level]
            else:
                allowed = ", ".join(LEVELS)
                raise StartError(
                    f'level: found {question.level}; allowed is {allowed}, or "{FILE}"'
                )
            changed = wanted != before
            state.log_level = 0 if wanted == configured else wanted
            if changed:
                text = f"{who}, LogLevel {level_name(before)} -> {level_name(wanted)}"
                self._proxy.control.tell(ChangeKind.LOG_LEVEL_SET, text)
                log.info("loglevel: %s", printable(text))
        level = level_name(state.log_level_now(plan.level))
        return LogLevelAnswer(plan.path, level, level_name(configured), changed)

    async def requests(self) -> RequestsAnswer:
        """What all workers do now."""
        pages, silent = await self._ask_workers()
        rows = [(worker, each) for worker, page in pages.items() for each in page.running]
        rows.sort(key=lambda row: -row[1].age_ms)
        return RequestsAnswer(
            sum(page.total for page in pages.values()),
            [_row(worker, each) for worker, each in rows],
            silent,
        )

    async def kill(self, question: KillQuestion, who: str) -> KillAnswer:
        """
        Ends a request.

        Raises:
            StartError: no request that runs has this id.
        """
        found = _ID.fullmatch(question.id)
        if found is None:
            raise StartError(
                f"id: found {question.id[:80]}; allowed is one as `wsproxy requests` shows it: 0000107f-0000002a"
            )
        pid, number = (int(part, 16) for part in found.groups())
        before, _ = await self._ask_workers()
        row = next(
            (
                each
                for page in before.values()
                for each in page.running
                if (each.pid, each.number) == (pid, number)
            ),
            None,
        )
        pages, silent = await self._ask_workers(pid, number)
        if not any(page.killed for page in pages.values()):
            late = f"; worker {', '.join(map(str, silent))} does not answer" if silent else ""
            raise StartError(f"found no request {question.id} that runs{late}")
        cluster, server, asked = (
            ("", "", "") if row is None else (row.cluster, row.server, row.asked)
        )
        text = f"{who}, request {question.id}" + (f": {asked}" if asked else "")
        self._proxy.control.tell(ChangeKind.REQUEST_KILLED, text, cluster, server)
        log.warning("kill: %s", printable(text))
        return KillAnswer(question.id, who)

    async def save(self) -> str:
        """Writes the file, where there is one to be written; what went wrong."""
        path = self._proxy.state_file
        if not path:
            return ""
        try:
            await asyncio.to_thread(write_state, path, self._proxy.control)
        except OSError as error:
            text = f"admin.state_file {path}: cannot be written: {error.strerror or error}"
            log.error("%s", printable(text))
            if not self._is_unsaved:
                self._is_unsaved = True
                spawn(self._save_later(), "state file")
            return f"{text}: a restart will forget this, unless there is room before"
        if self._is_unsaved:
            self._is_unsaved = False
            log.warning("%s", printable(f"admin.state_file {path}: is written again"))
        return ""

    async def _save_later(self) -> None:
        """Again and again, until it is written."""
        while self._is_unsaved:
            await asyncio.sleep(self.again_s)
            async with self._lock:
                if self._is_unsaved:
                    await self.save()

    async def _kept(self, verb: str, answer: WordAnswer, control: Control) -> WordAnswer:
        """In the file, and in the log."""
        for result in answer.results:
            if result.changed:
                row = result.server
                log.info("%s: %s", verb, printable(f"{row.cluster}/{row.server}, by {answer.who}"))
        if any(result.changed for result in answer.results) and (warning := await self.save()):
            answer.warnings.append(warning)
        return answer

    async def _newest(self) -> Control:
        """Of the configuration that holds."""
        until = time.monotonic() + PLAN_S
        while self._proxy.is_behind and time.monotonic() < until:  # noqa: ASYNC110  # the parcel comes by itself
            await asyncio.sleep(STEP_S)
        return self._proxy.control

    async def _ask_workers(
        self, kill_pid: int = 0, kill_number: int = 0
    ) -> tuple[dict[int, Page], list[int]]:
        """What each worker that runs says, by its number; and those that say nothing."""
        board = self._proxy.state.board
        if board is None:
            return {}, []
        async with self._board:
            number = board.ask(kill_pid, kill_number)
            waiting = {each.id for each in self._proxy.workers()}
            pages: dict[int, Page] = {}
            until = time.monotonic() + WORKERS_S
            while waiting and time.monotonic() < until:
                for worker in sorted(waiting):
                    page = board.read_page(worker, number)
                    if page is not None:
                        pages[worker] = page
                        waiting.remove(worker)
                if waiting:
                    await asyncio.sleep(STEP_S)
            return pages, sorted(waiting)


def _row(worker: int, running: Running) -> RunningRequest:
    return RunningRequest(
        request_id(running.number, running.pid),
        worker,
        running.age_ms / 1000 if running.age_ms >= 0 else -1.0,
        running.cluster,
        running.server,
        _PHASES[running.stage],
        running.asked,
        running.peer,
    )
