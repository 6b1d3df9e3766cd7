"""
Which published version is to be taken over, and what became of it: the loader's half of ``ha.config_folder``.

Driven by ``reload.loader``: once a second it asks ``due``, and tells what it has done. The other half, ``ha.master.follower``, is another
process, which puts versions there; neither waits for the other. # I/O. Must not read a configuration.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from wsproxy.admin.reloads import Entry
from wsproxy.config.problems import printable
from wsproxy.config.published import (
    KEPT_FILES,
    PublishedFolder,
    Standing,
    Tried,
    TriedResult,
    Version,
)
from wsproxy.config.stamps import Stamp, stamp_of
from wsproxy.errors import StartError
from wsproxy.reload.sources import Sources

log = logging.getLogger("wsproxy.reload")

# What the history's entries of published versions begin with.
PUBLISHED = "published version "
_RESULTS: dict[str, TriedResult] = {"in use": "in use", "unchanged": "in use", "failed": "failed"}
# Where the group reads them: each member's are in etcd, and in one table.
MOST_PROBLEMS = 5
MOST_PROBLEM = 300  # characters


def who_of(version: Version) -> str:
    """As the log and the history name it."""
    why = f' ("{version.comment}")' if version.comment else ""
    return f"{PUBLISHED}{version.number} by {version.who}{why}"


def begin_with(sources: Sources) -> tuple[Sources, list[tuple[int, str]]]:
    """
    What a start is to read, and lines for the log, each with its level, that say so: the version that was good here last, else FILE of the command line. # I/O.

    Raises:
        StartError: there is one, and it cannot be had.
    """
    if sources.folder is None:
        return sources, []
    version = sources.folder.good()
    if version is None:
        return sources, []
    file = sources.folder.file_of(version)
    text = f"{file}: the published {version.in_words()} is served, from this copy; a newer one is taken over as soon as etcd has told of it"
    lines = [(logging.INFO, text)]
    if not sources.folder.is_as_published(version):
        text = f"{file}: somebody has changed it since it was published: as it is now it holds here, and here alone"
        lines.append((logging.WARNING, text))
    return replace(sources, published=file), lines


class Published:
    """One a loader."""

    def __init__(self, folder: PublishedFolder) -> None:
        """Reads what is there; what cannot be read (a start refuses it) is begun anew."""
        self._folder = folder
        self._standing = Standing()
        try:
            self._standing = folder.read_standing()
        except StartError as error:
            log.error("%s", printable(str(error)))
        self._stamp: Stamp | None = None
        self._is_written = True  # what became of the last one is in the folder
        self._start_name = ""  # of the file that the program began with
        self._wanted: Version | None = None

    def due(self) -> Version | None:
        """The version that is wanted and that nobody has tried here yet; asked once a second, so what a full disk did not take is written again."""
        if not self._is_written:
            self._keep()
        wanted = self._look()
        tried = self._standing.tried
        if wanted is None or wanted.id == self._standing.current:
            return None
        return None if tried is not None and tried.id == wanted.id else wanted

    def _look(self) -> Version | None:
        stamp = stamp_of([self._folder.wanted_file])
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._wanted = self._folder.read_wanted()
            except StartError as error:
                log.error("%s", printable(str(error)))
        return self._wanted

    def refused(self) -> Version | None:
        """The version that is wanted and was refused here: what it met may be mended."""
        wanted, tried = self._look(), self._standing.tried
        if wanted is None or tried is None or tried.id != wanted.id or tried.result != "refused":
            return None
        return wanted

    def file_of(self, version: Version) -> Path:
        """Its file."""
        return self._folder.file_of(version)

    def begins(self, path: str, start: str, *, is_first: bool) -> Path | None:
        """
        The loader begins, and what is in use was read from ``path``; its file where that is a published one. ``start``: what the program began with.

        ``is_first``: of a program: another one, or other settings, may take what was refused before.
        """
        standing = self._standing
        self._start_name = Path(start).name if self._folder.holds(start) else ""
        current = self._version_at(path)
        is_other = (current.id if current else "") != standing.current
        tried = standing.tried
        if tried is not None and (is_other or (is_first and tried.result == "refused")):
            # In use by the one before, which is not so any more; or refused by it.
            tried = None if tried.result in ("in use", "failed", "refused") else tried
        self._write(current, tried)
        return None if current is None else self._folder.file_of(current)

    def taken(self, version: Version, entry: Entry, guard_s: float) -> None:
        """What became of it."""
        result = _RESULTS.get(entry.result, "refused")
        problems = tuple(
            map(_shortened, entry.problems[:MOST_PROBLEMS] if result == "refused" else ())
        )
        current = self._standing.version() if result == "refused" else version
        tried = Tried(version.number, version.id, result, problems, entry.generation, _now_ms(), guard_s)  # fmt: skip
        self._write(current, tried)

    def give_up(self, why: str) -> None:
        """The version that is due is not tried any more, ``why``."""
        if (version := self.due()) is not None:
            tried = Tried(version.number, version.id, "refused", (why,), 0, _now_ms())
            self._write(self._standing.version(), tried)

    def returned(self, path: str, result: TriedResult, why: str, generation: int) -> Path | None:
        """What was read from ``path`` before is in use again, ``why``; its file where that is a published one."""
        before = self._standing.version()
        current = self._version_at(path)
        tried = self._standing.tried
        if before is not None and (current is None or current.id != before.id):
            tried = Tried(before.number, before.id, result, (why,), generation, _now_ms())
        self._write(current, tried)
        return None if current is None else self._folder.file_of(current)

    def _version_at(self, path: str) -> Version | None:
        if not self._folder.holds(path):
            return None
        known = [*self._standing.versions, *([self._wanted] if self._look() else [])]
        name = Path(path).name
        return next((each for each in known if each and each.file_name == name), None)

    def _write(self, current: Version | None, tried: Tried | None) -> None:
        """Kept are those that were in use last, as `wsproxy rollback` returns to them, and that of the program's start, as it always does."""
        used = [each for each in self._standing.versions if current is None or each.id != current.id]  # fmt: skip
        used += [] if current is None else [current]
        kept = [each for each in used[:-KEPT_FILES] if each.file_name == self._start_name]
        standing = Standing(current.id if current else "", tried, (*kept, *used[-KEPT_FILES:]))
        if standing == self._standing:
            return
        self._standing = standing
        self._keep()

    def _keep(self) -> None:
        was_written, self._is_written = self._is_written, False
        try:
            self._folder.write_standing(self._standing)
        except OSError as error:
            if not was_written:
                return  # it was said
            log.error(
                "%s: cannot be written: %s; a start, and the group, do not know what is in use now; tried again each second",
                self._folder.standing_file, error.strerror,
            )  # fmt: skip
        else:
            self._is_written = True


def with_more(entry: Entry, lines: list[str]) -> Entry:
    """The same, with what is to be known besides."""
    return msgspec.structs.replace(entry, problems=[*lines, *entry.problems]) if lines else entry


def _shortened(line: str) -> str:
    return line if len(line) <= MOST_PROBLEM else f"{line[:MOST_PROBLEM]}..."


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
