"""
The folder ``ha.config_folder``: what the group has published, as this proxy has it on disk, and starts from without etcd.

Two processes of a proxy write in it, each files of its own. The member of the group (``ha.master.follower``) puts each version there and says
which one is wanted (``wanted.json``); the loader (``reload.published``) takes it over and says what became of it, and which one is good
(``standing.json``). ``cli.run`` starts from that one. # I/O. A file is whole and on disk before anything names it; must not trust names that come from etcd.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from wsproxy.config.problems import printable
from wsproxy.errors import StartError

# Versions whose files stay, of those that were in use: `wsproxy rollback` on this proxy returns to one of five, and then a start must find it. The largest have 10 MB.
KEPT_FILES = 8
# Of the two files that name versions: comments of twenty and fifty problems fit in.
MOST_BYTES = 1 << 20

# Of each text about a version: a name of a file has no more, and a comment is read in a table.
MOST_WORDS = 255

# Of the numbers in what etcd tells: any process there may write them, and larger ones could be neither kept as JSON nor told as a time.
MOST_VERSIONS = 999_999_999  # one a second for 31 years; their keys have ten digits
MOST_MS = 253_402_300_799_999  # the year 9999
Number = Annotated[int, Meta(ge=0, le=MOST_VERSIONS)]
Moment = Annotated[int, Meta(ge=0, le=MOST_MS)]

WANTED = "wanted.json"
STANDING = "standing.json"
PLACE = "etcd.json"
_FILE = re.compile(r"published-(\d+)-[0-9a-f]{8}\.xml")
_HALF = re.compile(rf"\.{_FILE.pattern}\.new")  # of a process that was killed while it wrote

TriedResult = Literal["in use", "failed", "refused", "undone", "left"]
_StructT = TypeVar("_StructT", bound=Struct)


class Version(Struct, frozen=True):
    """
    One that was published. ``id``: of this publishing, since numbers begin anew where etcd has lost all; ``size``: bytes of the file; ``file``: its name there.

    ``returned_to``: by a rollback, the number whose contents these are.
    """

    number: Annotated[int, Meta(ge=1, le=MOST_VERSIONS)]
    id: Annotated[str, Meta(pattern="^[0-9a-f]{32}$", max_length=32)]  # $ alone takes a line's end
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    size: Annotated[int, Meta(ge=0, le=64 << 20)]
    who: Annotated[str, Meta(max_length=MOST_WORDS)]
    at_ms: Moment
    comment: Annotated[str, Meta(max_length=MOST_WORDS)] = ""
    file: Annotated[str, Meta(max_length=MOST_WORDS)] = ""
    returned_to: Number = 0

    @property
    def file_name(self) -> str:
        """In the folder."""
        return f"published-{self.number}-{self.id[:8]}.xml"

    def in_words(self, now_ms: int | None = None) -> str:
        """Which one it is, who published it, and how old it is; safe to print."""
        now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        parts = [f"by {self.who}", f"{age((now - self.at_ms) / 1000)} ago"]
        if self.returned_to:
            parts.append(f"a return to version {self.returned_to}")
        if self.comment:
            parts.append(f'"{self.comment}"')
        return printable(f"version {self.number} ({', '.join(parts)})")


class Tried(Struct, frozen=True):
    """
    What became of the version that was tried last: "undone" by the guard, "left" by an operator's rollback on this proxy.

    ``guard_s``: for how long from ``at_ms`` on it may still be undone.
    """

    number: int
    id: str
    result: TriedResult
    problems: tuple[str, ...] = ()
    generation: int = 0
    at_ms: int = 0
    guard_s: float = 0.0


class Standing(Struct, frozen=True):
    """``current``: id of the version in use, empty: that of the command line. ``versions``: those whose files stay, the one that was in use last at the end."""

    current: str = ""
    tried: Tried | None = None
    versions: tuple[Version, ...] = ()

    def version(self) -> Version | None:
        """The one in use; None: that of the command line."""
        return next((each for each in self.versions if each.id == self.current), None)


class Place(Struct, frozen=True):
    """Where the etcd of our own is, for commands of whoever may read the folder; paths of PEM files."""

    url: str
    ca: str
    certificate: str
    key: str


class PublishedFolder:
    """One a proxy."""

    def __init__(self, path: str | Path) -> None:
        """Reads nothing."""
        self.path = Path(path)

    @property
    def wanted_file(self) -> Path:
        """Whose change says that another one is wanted."""
        return self.path / WANTED

    @property
    def standing_file(self) -> Path:
        """Whose change says that something became of one."""
        return self.path / STANDING

    def file_of(self, version: Version) -> Path:
        """Its file."""
        return self.path / version.file_name

    def holds(self, path: str) -> bool:
        """Whether that is the file of a version."""
        return Path(path).parent == self.path and bool(_FILE.fullmatch(Path(path).name))

    def read_wanted(self) -> Version | None:
        """
        The one that the group wants.

        Raises:
            StartError: the file cannot be used.
        """
        return self._read(WANTED, Version)

    def read_standing(self) -> Standing:
        """
        What became of versions here.

        Raises:
            StartError: the file cannot be used.
        """
        return self._read(STANDING, Standing) or Standing()

    def read_place(self) -> Place | None:
        """
        Where the etcd of our own is; None: nobody has started one.

        Raises:
            StartError: the file cannot be used.
        """
        return self._read(PLACE, Place)

    def _read(self, name: str, kind: type[_StructT]) -> _StructT | None:
        file = self.path / name
        try:
            with file.open("rb") as opened:
                return msgspec.json.decode(opened.read(MOST_BYTES), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StartError(
                f"{file}: found what cannot be read ({reason}); allowed is what wsproxy writes there, or no such file: then it begins with the FILE of the command line"
            ) from error

    def put(self, version: Version, content: bytes) -> None:
        """
        ``content`` is on disk, and then ``version`` is wanted; files that nobody can return to are removed. By one process alone.

        Raises:
            OSError: it cannot be written; what was wanted before is.
            StartError: nobody can say which files those are.
        """
        kept = {version.file_name, *(each.file_name for each in self._named())}
        write_whole(self.file_of(version), content)
        write_whole(self.wanted_file, _json(version))
        for name in os.listdir(self.path):
            if (_FILE.fullmatch(name) and name not in kept) or _HALF.fullmatch(name):
                (self.path / name).unlink(missing_ok=True)

    def _named(self) -> Iterator[Version]:
        """Those whose files stay: the loader may be about to read the one that is wanted now."""
        with contextlib.suppress(StartError):
            if (wanted := self.read_wanted()) is not None:
                yield wanted
        yield from self.read_standing().versions

    def write_standing(self, standing: Standing) -> None:
        """
        Says what became of one.

        Raises:
            OSError: it cannot be written.
        """
        write_whole(self.standing_file, _json(standing))

    def write_place(self, place: Place) -> None:
        """
        Of the etcd of our own.

        Raises:
            OSError: it cannot be written.
        """
        write_whole(self.path / PLACE, _json(place))

    def good(self) -> Version | None:
        """
        The version that a start begins with; None: none has been in use here, so FILE of the command line.

        Raises:
            StartError: there is one, and its file is gone.
        """
        standing = self.read_standing()
        version = standing.version()
        file = None if version is None else self.file_of(version)
        # A link would have a root who reads it before he becomes process.user read what that user may not.
        if version is not None and file is not None and (file.is_symlink() or not file.is_file()):
            raise StartError(
                f"{self.standing_file}: found {version.in_words()}, whose file {version.file_name} is not there; allowed is that file in "
                f"{self.path}, or no {STANDING}: then the proxy begins with the FILE of its command line"
            )
        return version

    def is_as_published(self, version: Version) -> bool:
        """Whether nobody has changed its file since."""
        with contextlib.suppress(OSError), self.file_of(version).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == version.sha256
        return False


def folder_flaw(path: str) -> str:
    """Why this process cannot keep versions in that folder, as ``found X; allowed is Y``; empty: it can. # I/O."""
    allowed = "allowed is a folder that is there, that process.user may write to, and nobody whom you do not trust"
    try:
        status = os.stat(path)
        if not os.path.isdir(path):
            return f'found "{printable(path)}", which is no folder; {allowed}'
    except OSError as error:
        return f'found "{printable(path)}" ({error.strerror}); {allowed}'
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return f'found "{printable(path)}", which this user may not write to; {allowed}'
    if status.st_uid not in (0, os.geteuid()):
        return f'found "{printable(path)}" of user {status.st_uid}, who may replace what is in it; allowed is one of this user or of root'
    # Nor with the sticky bit, as /tmp has it: whoever is first may put a standing.json there, and what it names is served.
    if status.st_mode & 0o002:
        return f'found "{printable(path)}", which everybody may write to; {allowed}'
    return ""


def age(seconds: float) -> str:
    """In its largest unit; a clock that is behind makes it 0 s."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _json(value: Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"


def write_whole(path: Path, data: bytes) -> None:
    """
    ``data`` is the file's content, on disk, and its owner's alone. # I/O.

    Raises:
        OSError: the file is as it was.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:  # fmt: skip
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the name, too
    finally:
        os.close(folder)
