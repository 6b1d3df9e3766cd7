"""
A request's path -> a file below a folder, opened: nothing outside is ever reached, and nothing that is hidden.

Called by ``dataplane.files``, in a thread. A file has one path, the canonical one: whoever asks by another spelling (``//``, ``..``,
``%61``) is told it (``Moved``). So what rules say of paths holds for files: they are matched as they came.

How a file is found and opened is ``_fast.net.below``'s part.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from wsproxy._fast.net.below import has_folder_below, open_below
from wsproxy.errors import OWN_LACKS

# What a browser leaves as it is in a path (RFC 3986 3.3).
_LITERAL = "/:@!$&'()*+,;=~-._"
# RFC 8615: what the world asks every host for. The only name with a dot before it that is served.
_WELL_KNOWN = b".well-known"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``names`` of the folders and the file below the root; ``is_folder``: the path ends with a slash."""

    names: tuple[bytes, ...]
    is_folder: bool
    # The one path of the file, percent-encoded, without query: what Location says where another one was asked for.
    path: str
    is_canonical: bool


class OpenFile(NamedTuple):
    """A regular file, as it was when it was opened; whoever has it closes ``file``."""

    file: int
    size: int
    changed_ns: int


def read_path(target: bytes) -> Wanted | None:
    """
    What a request's target names; None: nothing that is ever served.

    Parameters (``;jsessionid=...``) do not count, as for Routes.
    """
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):
        return None
    bare = b"/".join(each.partition(b";")[0] for each in path.split(b"/"))
    names: list[bytes] = []
    pieces = bare[1:].split(b"/")
    for piece in pieces:
        name = unquote_to_bytes(piece)
        if b"/" in name or b"\0" in name:
            return None
        if name == b"..":
            if not names:
                return None
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    if any(name.startswith(b".") and (at or name != _WELL_KNOWN) for at, name in enumerate(names)):
        return None
    is_folder = unquote_to_bytes(pieces[-1]) in (b"", b".", b"..")
    canonical = "/" + quote_from_bytes(b"/".join(names), _LITERAL.replace(";", ""))
    if is_folder and names:
        canonical += "/"
    return Wanted(tuple(names), is_folder, canonical, _same_spelling(bare, canonical.encode()))


def _same_spelling(path: bytes, canonical: bytes) -> bool:
    """Hexadecimal digits may be small ones."""
    if path == canonical:
        return True
    return len(path) == len(canonical) and _small_hex(path) == _small_hex(canonical)


def _small_hex(path: bytes) -> bytes:
    first, *rest = path.split(b"%")
    return b"%".join((first, *(each[:2].lower() + each[2:] for each in rest)))


class Folder:
    """A folder whose files are served; opened for each request, so that it may be replaced as a whole (a link that is moved)."""

    def __init__(self, root: str) -> None:
        """Raises OSError where it is not there, or no folder."""
        self._root = os.fsencode(root)
        os.close(os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))

    def open(self, names: Sequence[bytes]) -> OpenFile | None:
        """
        The regular file with this path below the folder, open for reading; None: there is none, or it may not be read.

        Raises OSError, as ``has_folder`` does, where it was not found out for want of something of ours (``OWN_LACKS``).
        """
        file, size, changed_ns = open_below(self._root, b"/".join(names))
        if file < 0:
            _raise_own(-file)
            return None
        return OpenFile(file, size, changed_ns)

    def has_folder(self, names: Sequence[bytes]) -> bool:
        """Whether the path leads to a folder."""
        found = has_folder_below(self._root, b"/".join(names))
        if found < 0:
            _raise_own(-found)
        return found > 0


def _raise_own(error: int) -> None:
    """Else nothing is there. Who has no descriptors left knows nothing of that, and caches would keep a 404."""
    if error in OWN_LACKS:
        raise OSError(error, os.strerror(error))
