"""
Writes a file whole or not at all: whoever reads it meanwhile sees the old one or the new one.

Driven by commands with ``-o`` or ``--in-place``. Must not know what is in the file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from pathlib import Path

_NEW_FILE_MODE = 0o666  # less what the umask takes


def write_whole(path: Path, data: bytes) -> None:
    """
    ``data`` in the file at ``path``, which keeps its mode, owner and labels where it was there before. # I/O.

    A link stays a link: what it leads to is written. What is no file (a pipe, a terminal) is written to.

    Raises:
        OSError: the file is as it was.
    """
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    if old is not None and not stat.S_ISREG(old.st_mode):
        with path.open(
            "wb"
        ) as pipe:  # not resolved: what /dev/stdout leads to has no name of its own
            pipe.write(data)
        return
    target = path.resolve()
    # in the same folder: a rename across file systems is a copy
    draft = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(draft, flags, _NEW_FILE_MODE if old is None else stat.S_IRUSR | stat.S_IWUSR)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if old is not None:
                _keep(target, draft, old)
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    # the rename itself is on disk only with its folder; where that cannot be opened, it comes there later
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep(target: Path, draft: Path, old: os.stat_result) -> None:
    """Owner, mode and labels of ``target`` for ``draft``; the times are those of now, as others look for changes by them."""
    made = draft.stat()
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.chown(
            draft, old.st_uid, old.st_gid
        )  # refused: rather no new file than one of another owner
    shutil.copystat(target, draft)
    os.utime(draft)
