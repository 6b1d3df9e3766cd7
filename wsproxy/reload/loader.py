"""
The loader: the process beside the workers that reads, checks and compiles every configuration after the first one.

Started by ``process.supervisor``, which starts it again should it end: requests do not notice. It hears of changed files
(``watch``), of SIGHUP through the supervisor, and of commands through the admin process. Only what can be used leaves it, as a
parcel that every worker takes over between two requests (``dataplane.arrival``). What is refused changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

import msgspec

from wsproxy.admin.control import outvoted
from wsproxy.admin.messages import digest_of
from wsproxy.admin.reloads import (
    Entry,
    History,
    LoaderAnswer,
    LoaderQuestion,
    Result,
)
from wsproxy.config.model import Config, Log
from wsproxy.config.problems import printable
from wsproxy.config.published import TriedResult, Version
from wsproxy.config.settings import Settings
from wsproxy.dataplane.inbox import give_back_lists
from wsproxy.dataplane.parcel import log_path_of, pack, unpack, unpack_source
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.post import AGAIN_S, KEPT, READ_AGAIN, SEND_AGAIN, send_parcel
from wsproxy.dataplane.steps import at_once
from wsproxy.dataplane.tasks import keep_turning, log_loop_error, run, spawn
from wsproxy.errors import Problem, StartError
from wsproxy.logs.plugin_writer import LEVELS
from wsproxy.logs.probe_writer import tell_awaited
from wsproxy.probe.targets import begin_probes
from wsproxy.process.plugin_log import CODE as LOG_UNWRITABLE
from wsproxy.process.plugin_log import move_plugin_log
from wsproxy.process.start import LoaderNeeds
from wsproxy.reload.guard import Guard
from wsproxy.reload.history import Kept
from wsproxy.reload.pages import PageWatch
from wsproxy.reload.published import PUBLISHED, Published, who_of, with_more
from wsproxy.reload.sources import Read, Sources, changes_between, look, read_sources
from wsproxy.reload.telling import MOST_LOGGED, TAKEN_S, few_of, lack_of_descriptors, tell
from wsproxy.reload.watch import Watch

log = logging.getLogger("wsproxy.reload")

STEP_S = 0.01
# At least, and not before a session's place is forgotten (affinity.takeover_s): what is remembered names a server by its slot.
FORGOTTEN_S = 3600.0
# What another proxy tells of a server that has just left is heard so much later at most, or ends so much later.
HEARD_LATE_S = 10.0
_QUESTION_BYTES = 4096
CHANGED_FILE = "changed file"
CHANGED_PAGE = "changed page"
# Loaders that were killed at the same files: the fourth does not begin with them.
MOST_BEGUN = 3


@dataclass(slots=True)
class Source:
    """What a configuration was read from."""

    config: Config
    settings: Settings
    _digest: str = ""

    @property
    def digest(self) -> str:
        """Of what the Config says; made once, for the largest take some time."""
        self._digest = self._digest or digest_of(self.config)
        return self._digest


class Loader:
    """One a proxy; what it does it does one after the other."""

    def __init__(self, needs: LoaderNeeds, sources: Sources) -> None:
        """Takes up where a predecessor was ended."""
        self._needs = needs
        self._state = needs.plan.state
        self._state.read_index()
        self.generation = needs.plan.generation  # of the one that holds
        self.source = Source(needs.plan.config, needs.plan.settings)  # what that was read from
        # What was in use after the start, by generation: the largest take 20 MB, and three times that once they are read again.
        self._parcels = {generation: os.dup(fd) for generation, fd in needs.parcels}
        if self._parcels:
            self.generation = max(self._parcels)
            self.source = self._source_of(self.generation)
        self._log_path = (
            log_path_of(self._parcels[self.generation]) if self._parcels else needs.plan.log_path
        )
        self._kept = Kept(needs.history, sources.seen)
        self._published, self._sources = self._begin_published(sources)
        if needs.is_again:
            self._write_again()
        elif needs.replaced:
            self._tell_of_upgrade()
        if self._state.generation < self.generation:
            self._state.generation = self.generation  # it was ended between the two
        self._give_up_what_kills()
        folders = () if sources.folder is None else (sources.folder.path,)
        self._watch = Watch(self._sources.looked_at, self._kept.seen, folders)
        self._lock = asyncio.Lock()
        reload = self.source.settings.reload
        self._guard = Guard(reload.guard_s, reload.guard_limit) if reload.guard_s else None
        self._is_listening = False
        is_first = not needs.is_again and not needs.replaced
        self._pages = (
            PageWatch() if is_first else PageWatch.from_now(self.source.settings.edge_pages)
        )

    def _begin_published(self, sources: Sources) -> tuple[Published | None, Sources]:
        """What is read is what holds, whatever was in use when the command line was read."""
        if sources.folder is None:
            return None, sources
        published = Published(sources.folder)
        is_first = not self._kept.is_successor or bool(self._needs.replaced)
        start = self._needs.plan.config.path
        file = published.begins(self.source.config.path, start, is_first=is_first)
        return published, replace(sources, published=file)

    def _give_up_what_kills(self) -> None:
        """Files at which one loader after the other was ended are left alone until they change, or somebody asks."""
        begun = self._kept.begun
        if begun is None or begun.times < MOST_BEGUN:
            return
        entry = self._entry(begun.who)
        entry.problems = [
            f"{entry.file}: {begun.times} loaders were killed while they took this over; it is read again when it changes, or at `wsproxy reload`"
        ]
        self._kept.note_seen(begun.files)
        self._kept.add(entry)
        self._count(entry.result)
        tell(entry, (), is_dry=False)
        if self._published is not None and begun.who.startswith(PUBLISHED):
            self._published.give_up(entry.problems[0])

    def _source_of(self, generation: int) -> Source:
        """What an earlier one was read from. # I/O."""
        if generation not in self._parcels:
            return Source(self._needs.plan.config, self._needs.plan.settings)
        _, config, settings = unpack_source(self._parcels[generation])
        return Source(config, settings)

    @property
    def _returnable(self) -> list[int]:
        """Generations that can be returned to; that of the start is never lost."""
        every = (self._needs.plan.generation, *sorted(self._parcels))
        return [each for each in every if each != self.generation]

    async def serve(self) -> None:
        """Until SIGTERM."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.set_exception_handler(log_loop_error)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(self._needs.supervisor, self._on_supervisor)
        loop.add_reader(self._needs.admin, self._on_admin)
        keep_turning(self._turn)
        if self._kept.is_successor:
            self._send(LoaderAnswer(0))
        if self._kept.begun is not None and not self._every_s():
            spawn(self.reload(self._kept.begun.who), "what a predecessor had begun")
        spawn(self._follow_files(), "files")
        self._tend_watch()
        await stop.wait()

    def _turn(self) -> None:
        self._needs.on_turn()
        if self._guard is not None:
            why = self._guard.look(time.monotonic(), self._state.totals())
            if why:
                spawn(self._undo(why), "undo")
        if self._published is not None and self._published.due() and not self._lock.locked():
            spawn(self._take_published(), "published version")
        if self._every_s() and self._pages.are_others(self.source.settings.edge_pages):
            spawn(self._take_pages(), "pages")

    async def _take_pages(self) -> None:
        """Pages of ``[[edge]]`` are others; the rest is taken over only where it is what holds, or an earlier one that was returned to would go."""
        async with self._lock:
            began = time.monotonic()
            read = await self._read()
            if read.config is not None and (read.config, _without_pages(read.settings)) != (
                self.source.config, _without_pages(self.source.settings)
            ):  # fmt: skip
                log.info("%s: the files say something else than what holds: `wsproxy reload` takes both over", CHANGED_PAGE)  # fmt: skip
                return
            await self._take(CHANGED_PAGE, read, began)

    async def _take_published(self) -> None:
        """What the group wants, if it can be used."""
        async with self._lock:
            assert self._published is not None
            if (version := self._published.due()) is not None:
                await self._take_version(version)

    async def _take_version(self, version: Version) -> Entry | None:
        """What became of it; None: it could not be read for want of descriptors, which says nothing of it."""
        assert self._published is not None
        began, who = time.monotonic(), who_of(version)
        before, seen_before = self._sources, self._kept.seen
        self._sources = replace(before, published=self._published.file_of(version))
        seen = look(self._sources.looked_at)
        self._kept.begin(seen, who)
        read = await self._read()
        lack = lack_of_descriptors() if read.config is None else ""
        entry = None if lack else await self._take(who, read, began)
        if entry is None or entry.result == "refused":
            self._sources, seen = before, seen_before
        else:
            self._watch.follow(self._sources.looked_at, seen)
        # Last: a loader that is ended before that leaves it to the next one.
        if entry is None:
            log.error("%s: cannot be read: %s; tried again", who, lack)
        else:
            self._published.taken(version, entry, self._guard_s(entry))
        self._kept.note_seen(seen)
        return entry

    def _guard_s(self, entry: Entry) -> float:
        """For how long it may still be undone."""
        return self.source.settings.reload.guard_s if entry.result == "in use" else 0.0

    def _follow_what_holds(self, *, is_undone: bool, who: str) -> None:
        """An earlier one holds again: the file that is read is its own, so that neither a reload nor a start brings the other one back."""
        if self._published is None:
            return
        result: TriedResult = "undone" if is_undone else "left"
        file = self._published.returned(self.source.config.path, result, who, self.generation)
        if file != self._sources.published:
            self._sources = replace(self._sources, published=file)
            seen = look(self._sources.looked_at)
            self._watch.follow(self._sources.looked_at, seen)
            self._kept.note_seen(seen)

    def _every_s(self) -> float:
        """How often files are looked at, as the configuration that holds has it; 0: their changes are nobody's business."""
        if self.source.settings.reload.watch != "auto":
            return 0.0
        return float(max(self.source.config.refresh_interval_s, 0))

    def _tend_watch(self) -> None:
        """Another configuration holds: it may say otherwise whether files are watched, and how often."""
        if self._every_s() and not self._is_listening:
            self._is_listening = True
            spawn(self._watch.listen(), "changes of files")
        self._watch.wake()

    # --- who wants what ---------------------------------------------------------------------------------------------

    async def _follow_files(self) -> None:
        while True:
            await self._watch.changed(self._every_s)
            is_whole = False
            while not await self._take_changed(is_whole=is_whole):
                is_whole = await self._watch.stays()

    async def _take_changed(self, *, is_whole: bool) -> bool:
        """Whether the files are dealt with. What cannot be used is, once it is known to be no half of something."""
        async with self._lock:
            began = time.monotonic()
            seen = self._watch.seen
            if seen == self._kept.seen or not self._every_s():
                return True  # by a command meanwhile, or what that put into use has it that nobody watches
            self._kept.begin(seen, CHANGED_FILE)
            read = await self._read()
            if read.config is None:
                if is_whole and (lack := lack_of_descriptors()):
                    log.error("%s: cannot be read: %s; tried again", CHANGED_FILE, lack)
                    return False
                if not is_whole:
                    return False
            # In the same hold of the lock: what a command reads later must not be overtaken by what was read here.
            await self._take(CHANGED_FILE, read, began)
            self._kept.note_seen(seen)
            return True

    def _on_supervisor(self) -> None:
        said = self._heard(self._needs.supervisor)
        if said == READ_AGAIN:
            spawn(self._reload_by_signal(), "SIGHUP")
        elif said == SEND_AGAIN:
            asyncio.get_running_loop().call_later(AGAIN_S, self._send_again)

    async def _reload_by_signal(self) -> None:
        try:
            await self.reload("SIGHUP")
        finally:
            self._needs.on_reloaded()

    def _send_again(self) -> None:
        """The newest, for which the supervisor had no descriptor."""
        with contextlib.suppress(OSError):  # it does not read: it has some
            send_parcel(self._needs.supervisor, self.generation, self._parcels[self.generation])

    def _on_admin(self) -> None:
        if data := self._heard(self._needs.admin):
            spawn(self._answer(msgspec.json.decode(data, type=LoaderQuestion)), "question")

    def _heard(self, sock: socket.socket) -> bytes:
        try:
            data = sock.recv(_QUESTION_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            asyncio.get_running_loop().remove_reader(sock)
        return data

    async def _answer(self, question: LoaderQuestion) -> None:
        answer = LoaderAnswer(question.number)
        try:
            if question.what == "history":
                answer.history = History(self.generation, self._kept.entries, self._returnable)
            elif question.what == "reload":
                answer.entry = await self.reload(question.who, is_dry=question.is_dry)
            else:
                answer.entry = await self.roll_back(question.who, question.to)
        except LookupError as error:
            answer.error = str(error)
        self._send(answer)

    def _send(self, answer: LoaderAnswer) -> None:
        """In a file without a name: it may be longer than a message."""
        fd = os.memfd_create("wsproxy-answer")
        try:
            os.pwrite(fd, msgspec.json.encode(answer), 0)
            with contextlib.suppress(OSError):  # nobody who waits for it is there any more
                socket.send_fds(self._needs.admin, [b"answer"], [fd])
        finally:
            os.close(fd)

    # --- what is done -----------------------------------------------------------------------------------------------

    async def reload(self, who: str, *, is_dry: bool = False) -> Entry:
        """Reads the files and takes over what they say, unless it is what holds, or nothing that can be used."""
        async with self._lock:
            refused = self._published.refused() if self._published and not is_dry else None
            again = await self._take_version(refused) if refused is not None else None
            if again is not None and again.result != "refused":
                return again
            began = time.monotonic()
            seen = look(self._sources.looked_at)
            if is_dry:
                return await self._take(who, await self._read(), began, is_dry=True)
            self._kept.begin(seen, who)
            entry = await self._take(who, await self._read(), began)
            # Last: a loader that is ended before that leaves it to the next one.
            self._watch.seen = seen
            self._kept.note_seen(seen)
            return with_more(entry, [] if again is None else again.problems)

    async def roll_back(self, who: str, to: int, *, is_undone: bool = False) -> Entry:
        """
        Takes over again what was in use before, as another generation; the files stay as they are.

        Raises:
            LookupError: that one is not kept.
        """
        async with self._lock:
            earlier = self._returnable
            wanted = to or max(earlier, default=0)
            if wanted not in earlier:
                kept = ", ".join(map(str, earlier)) or "none: nothing was in use before"
                msg = f"found generation {wanted or 'none'}; allowed is one that is kept: {kept}"
                raise LookupError(msg)
            old = await asyncio.to_thread(self._source_of, wanted)
            read = Read((), old.config, old.settings, None)
            entry = await self._take(who, read, time.monotonic(), returned_to=wanted)
            self._follow_what_holds(is_undone=is_undone, who=who)
            return entry

    async def _undo(self, why: str) -> None:
        """What has made things worse is taken back."""
        log.error("generation %d of the configuration is taken back: %s", self.generation, why)
        self._count("undone")
        await self.roll_back(f"reload.guard_s: {why}", 0, is_undone=True)

    async def _read(self) -> Read:
        """Beside the loop, which goes on to show that it lives."""
        try:
            return await asyncio.to_thread(
                read_sources, self._sources, self.source.settings, self._needs.plan.config
            )
        except OSError as error:  # a folder that cannot be looked into
            found = f"{error.strerror or error}"
            problem = Problem("error", "unreadable", str(self._sources.named[0]), 0, found, "", f"cannot be read: {found}")  # fmt: skip
            return Read((problem,))

    async def _take(
        self, who: str, read: Read, began: float, *, is_dry: bool = False, returned_to: int = 0
    ) -> Entry:
        entry = self._entry(who)
        if read.config is not None:
            # As at a start it would be said that the log is not written; here it goes on where it is.
            problems = [each for each in read.problems if each.code != LOG_UNWRITABLE]
            _, problem = await asyncio.to_thread(self._find_log, read.config, is_dry=True)
            read = replace(read, problems=(*problems, *([problem] if problem else [])))
        entry.problems = few_of([str(each) for each in read.problems])
        entry.without_effect = list(read.without_effect)
        entry.returned_to = returned_to
        if read.config is not None:
            await self._judge(entry, read, is_dry=is_dry)
        if entry.result == "unchanged" and not is_dry and self._is_untold():
            entry.result = await self._wait_taken(self.generation)
        entry.seconds = round(time.monotonic() - began, 3)
        if not is_dry and entry.result != "unchanged":
            self._kept.add(entry)
        if not is_dry:
            self._count(entry.result)
        tell(entry, read.problems, is_dry=is_dry)
        give_back_lists()
        return entry

    def _entry(self, who: str) -> Entry:
        """Of an attempt that changes nothing, so far."""
        return Entry(
            number=self._kept.next_number,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            who=who,
            result="refused",
            generation=self.generation,
            digest=self.source.digest,
            file=", ".join(str(each.absolute()) for each in self._sources.named),
        )

    def _is_untold(self) -> bool:
        """Whether the history does not know the generation in use: a loader was ended when it had just sent it."""
        return self.generation > 1 and all(
            each.generation != self.generation for each in self._kept.entries
        )

    def _count(self, result: Result | Literal["undone"]) -> None:
        """For ``status`` and metrics, which tell the same numbers."""
        self._state.count_reload(result, time.time_ns() // 1_000_000)

    async def _judge(self, entry: Entry, read: Read, *, is_dry: bool) -> None:
        assert read.config is not None
        assert read.settings is not None
        old, new = self.source, Source(read.config, read.settings)
        entry.digest = await asyncio.to_thread(lambda: new.digest)
        if entry.digest == old.digest and new.settings == old.settings and not entry.returned_to:
            entry.result = "unchanged"
            return
        entry.result = "accepted"
        overruled: list[str] = []
        if not is_dry:
            try:
                plan = await asyncio.to_thread(self._publish, read, new, entry.returned_to)
            except (StartError, MemoryError, OSError) as error:
                entry.result, entry.problems = "refused", [f"{entry.file}: {error}"]
                return
            self._tend_watch()
            entry.generation = self.generation
            overruled = list(outvoted(plan))
            for line in overruled[:MOST_LOGGED]:
                log.warning("%s", printable(line))
            entry.result = await self._wait_taken(self.generation)
        # Afterwards: of the largest files it takes seconds, which nobody has to wait for.
        changes = await asyncio.to_thread(
            lambda: list(changes_between(old.config, old.settings, read))
        )
        entry.changes = few_of([*overruled, *changes])

    def _publish(self, read: Read, source: Source, returned_to: int) -> Plan:
        """From here on it holds."""
        generation = self.generation + 1
        forgotten_s = max(FORGOTTEN_S, self.source.settings.affinity.takeover_s + HEARD_LATE_S)
        self._state.free_slots(int(forgotten_s * 1000))
        plan = read.plan(self._state, generation)
        path, _ = self._find_log(source.config, is_dry=False)
        plan = replace(plan, digest=source.digest, log_path=path)
        fd = pack(plan)
        self._begin_guard(source, is_return=bool(returned_to))
        level = self._state.file_log_level
        try:
            plan.apply()
            awaited = begin_probes(plan)
            if awaited and self._needs.log_plan is not None:
                log_plan = replace(self._needs.log_plan, path=path)
                tell_awaited(log_plan, self._state, awaited)
            # First: a worker that begins the log with the parcel asks for its level then, and not again before its next sweep.
            self._state.file_log_level = int(LEVELS[(source.config.log or Log()).log_level])
            send_parcel(self._needs.supervisor, generation, fd)
        except BaseException:
            self._state.file_log_level = level
            os.close(fd)
            raise
        self._hold(plan)
        self._parcels[generation] = fd
        self.generation, self.source, self._log_path = generation, source, path
        for old in sorted(self._parcels)[:-KEPT]:
            os.close(self._parcels.pop(old))
        return plan

    def _find_log(self, config: Config, *, is_dry: bool) -> tuple[str, Problem | None]:
        """Where http_plugin.log is by this one; with a problem it stays where it is. # I/O."""
        if self._needs.log_plan is None:
            return "", None
        now = replace(self._needs.log_plan, path=self._log_path)
        return move_plugin_log(config, now, is_dry=is_dry)

    def _hold(self, plan: Plan) -> None:
        self._state.keep_slots(*plan.keys(), plan.generation)
        self._state.generation = plan.generation

    def _write_again(self) -> None:
        """What holds: a program that was to replace this one wrote what it would have gone by, and did not come up."""
        plan = self._needs.plan
        if self.generation in self._parcels:
            plan = at_once(unpack(self._parcels[self.generation], self._state))
            self._state.read_index()
        plan.apply()
        begin_probes(plan)
        self._hold(plan)

    def _tell_of_upgrade(self) -> None:
        """The first entry of a program that has replaced another one."""
        plan = self._needs.plan
        if any(each.generation >= plan.generation for each in self._kept.entries):
            return  # the loader was started again
        self._kept.note_seen(self._sources.seen)
        self._kept.add(
            Entry(
                number=self._kept.next_number,
                time=datetime.now(UTC).isoformat(timespec="milliseconds"),
                who=f"upgrade by {self._needs.replaced}",
                result="in use",
                generation=plan.generation,
                digest=self.source.digest,
                file=", ".join(str(each.absolute()) for each in self._sources.named),
            )
        )

    def _begin_guard(self, source: Source, *, is_return: bool) -> None:
        """What somebody, or the guard, returned to is not guarded: there is nothing better to return to."""
        wanted = source.settings.reload
        if not wanted.guard_s:
            self._guard = None
            return
        if self._guard is None:
            self._guard = Guard(wanted.guard_s, wanted.guard_limit)
        self._guard.adjust(wanted.guard_s, wanted.guard_limit)
        if not is_return:
            self._guard.watch(time.monotonic(), self._state.totals())

    async def _wait_taken(self, generation: int) -> Result:
        """Until every worker goes by it. They are asked: each tells in memory that all share."""
        until = time.monotonic() + TAKEN_S
        workers = self._needs.workers
        while self._state.newest_generation(len(workers), workers.start) < generation:
            if time.monotonic() > until:
                return "failed"
            await asyncio.sleep(STEP_S)
        return "in use"


def run_loader(needs: LoaderNeeds, *, sources: Sources) -> int:
    """Serves until SIGTERM; the exit code."""

    async def serve() -> None:
        await Loader(needs, sources).serve()

    run(serve())
    return 0


def _without_pages(settings: Settings | None) -> Settings | None:
    return settings and msgspec.structs.replace(settings, edge_pages=())
