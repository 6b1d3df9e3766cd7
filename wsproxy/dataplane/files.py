"""
Static files: ``files`` of an ``[[edge]]``, and ``[fallback] mode = "directory"`` where no Route matches.

Called by ``dataplane.slowpath``. GET and HEAD, conditions, one range, files that are compressed already, an index for a folder, no
listing. Which file a path names is ``file_paths``' part, what a condition or a Range gets of it ``conditions``', how it is sent
``file_sender``'s.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from email.utils import formatdate

from wsproxy._fast.http.codings import choose_coding
from wsproxy.config.file_types import type_of
from wsproxy.config.settings_content import FilesSettings
from wsproxy.dataplane.conditions import Fields, Verdict, Version, judge
from wsproxy.dataplane.file_paths import Folder, OpenFile, Wanted, read_path

# What goes with the head: small files need one turn in the thread, and one send.
FIRST_BYTES = 65536
# A file that was changed just now may be changed again without its times and its size telling (RFC 9110 8.8.1): until then its tag
# is weak. Times of files go on in steps of some milliseconds; Apache waits as well.
SETTLED_S = 2.0
_CODINGS = {"zst": "zstd", "br": "br", "gz": "gzip"}
# Request fields that say which answer is wanted.
ASKED_FIELDS = frozenset(
    (
        b"accept-encoding", b"if-match", b"if-modified-since", b"if-none-match", b"if-range", b"if-unmodified-since", b"range",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """
    What a request gets. ``lines``: field lines, each with CR LF, without Date and Connection.

    ``page``: the status says it all, and its page is sent (``answers.send``). Else ``length`` bytes of ``file`` from ``at`` on, of
    which ``first`` are read already; whoever has this closes ``file``; -1: there is none.
    """

    status: int
    lines: str = ""
    page: bool = True
    file: int = -1
    at: int = 0
    length: int = 0
    first: bytes = b""
    why: str = field(default="", compare=False)  # for the log


class FileSite:
    """The files of one folder, by one ``files``."""

    def __init__(self, settings: FilesSettings) -> None:
        """Raises OSError: the folder is not there."""
        self._folder = Folder(settings.root)
        self._settings = settings
        self._index = tuple(map(os.fsencode, settings.index))
        stripped = read_path(os.fsencode(settings.strip or "/"))
        self._strip = () if stripped is None else stripped.names
        self._codings = tuple(_CODINGS[each] for each in settings.precompressed)
        self._endings = {_CODINGS[each]: b"." + each.encode() for each in settings.precompressed}

    def answer(self, target: bytes, fields: Fields, *, is_head: bool, now_s: float) -> FileAnswer:
        """To a GET or HEAD; names in ``fields`` in lower case. # I/O: opens and reads, in a thread."""
        wanted = read_path(target)
        names = None if wanted is None else self._below(wanted)
        if wanted is None or names is None:
            return FileAnswer(404, why="no such file")
        if not wanted.is_folder:
            file = self._folder.open(names)
            if file is None and not (self._folder.has_folder(names) and self._has_index(names)):
                return FileAnswer(404, why="no such file")
            if file is None:  # relative links in its index would lead elsewhere without the slash
                return _moved(f"{wanted.path}/", target)
        else:
            file, names = self._open_index(names)
            if file is None:
                return FileAnswer(404, why="no such file")
        if not wanted.is_canonical:
            os.close(file.file)
            return _moved(wanted.path, target)
        return self._answer_with(file, names, fields, is_head=is_head, now_s=now_s)

    def _below(self, wanted: Wanted) -> tuple[bytes, ...] | None:
        """The names below the root; None: the path does not begin with what is to be taken off."""
        length = len(self._strip)
        return wanted.names[length:] if wanted.names[:length] == self._strip else None

    def _open_index(self, names: tuple[bytes, ...]) -> tuple[OpenFile | None, tuple[bytes, ...]]:
        for index in self._index:
            file = self._folder.open((*names, index))
            if file is not None:
                return file, (*names, index)
        return None, names

    def _has_index(self, names: tuple[bytes, ...]) -> bool:
        file, _ = self._open_index(names)
        if file is None:
            return False
        os.close(file.file)
        return True

    def _answer_with(
        self,
        file: OpenFile,
        names: tuple[bytes, ...],
        fields: Fields,
        *,
        is_head: bool,
        now_s: float,
    ) -> FileAnswer:
        """``file`` is closed, or the answer's."""
        try:
            file, coding = self._compressed(file, names, fields.get(b"accept-encoding"))
            version = _version_of(file, coding, now_s)
            verdict = judge(version, fields, is_head=is_head)
            lines = self._lines(names[-1], version, verdict, coding, now_s)
            if verdict.status in (412, 416):
                os.close(file.file)
                return FileAnswer(verdict.status, lines)
            length = 0 if is_head or verdict.status == 304 else verdict.length
            first = os.pread(file.file, min(length, FIRST_BYTES), verdict.first) if length else b""
            return FileAnswer(
                verdict.status, lines, page=False, file=file.file, at=verdict.first, length=length, first=first
            )  # fmt: skip
        except BaseException:
            os.close(file.file)
            raise

    def _compressed(
        self, file: OpenFile, names: tuple[bytes, ...], accepted: bytes | None
    ) -> tuple[OpenFile, str]:
        """The file to send, and its coding: one that lies beside it compressed and is not older, or itself."""
        left = self._codings
        while left and accepted is not None and (coding := choose_coding(accepted, left)):
            other = self._folder.open((*names[:-1], names[-1] + self._endings[coding]))
            if other is not None:
                if other.changed_ns >= file.changed_ns:
                    os.close(file.file)
                    return other, coding
                os.close(other.file)  # the file was changed since
            left = tuple(each for each in left if each != coding)
        return file, ""

    def _lines(
        self, name: bytes, version: Version, verdict: Verdict, coding: str, now_s: float
    ) -> str:
        settings = self._settings
        if verdict.status == 416:
            return f"Content-Range: bytes */{version.size}\r\n"
        if verdict.status == 412:
            return ""
        lines = ""
        if verdict.status != 304:
            kind = type_of(os.fsdecode(name), settings.charset)
            lines += f"Content-Type: {kind}\r\nContent-Length: {verdict.length}\r\n"
            lines += f"Content-Encoding: {coding}\r\n" if coding else ""
        if verdict.status == 206:
            last = verdict.first + verdict.length - 1
            lines += f"Content-Range: bytes {verdict.first}-{last}/{version.size}\r\n"
        changed = formatdate(min(version.changed_s, now_s), usegmt=True)  # RFC 9110 8.8.2.1
        lines += (
            f"Last-Modified: {changed}\r\nETag: {version.tag.decode()}\r\nAccept-Ranges: bytes\r\n"
        )
        if settings.cache_control:
            lines += f"Cache-Control: {settings.cache_control}\r\n"
        return f"{lines}Vary: Accept-Encoding\r\n" if self._codings else lines


def _moved(path: str, target: bytes) -> FileAnswer:
    """To the file's own path. ``path`` is encoded and begins with one slash: it cannot lead to another host."""
    query = target.partition(b"?")
    where = path + (query[1] + query[2]).decode("ascii")
    return FileAnswer(301, f"Location: {where}\r\n", why=f"the path is {path}")


def _version_of(file: OpenFile, coding: str, now_s: float) -> Version:
    """
    Size and time say which it is, and not the inode: the same file has the same tag on every proxy.

    Strong, but for a file that was changed within ``SETTLED_S``.
    """
    tag = f'"{file.size:x}-{file.changed_ns:x}{coding and "-"}{coding}"'
    if now_s - file.changed_ns / 1e9 < SETTLED_S:
        tag = f"W/{tag}"
    return Version(tag.encode(), file.changed_ns // 1_000_000_000, file.size)
