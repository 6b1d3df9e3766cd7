"""
A file with a secret, read anew when it changes: the token of ``admin.listen``, the header fields of ``trace.headers_file``.

Asked by ``admin.tcp`` and ``trace.headers``, which know what stands in it. One rule for all such files: a regular file that nobody
else may read or write, whenever it is read. Must not say what stands in it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from wsproxy.config.problems import printable
from wsproxy.errors import StartError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Device, inode, size, and times of what is in it and of anything about it: a file with the size and time of another one has its own.
_Stamp = tuple[int, int, int, int, int]


@dataclass(slots=True)
class SecretFile:
    """``setting``: what names it in wsproxy.toml; ``most``: bytes that it may have."""

    setting: str
    path: str
    most: int
    _stamp: _Stamp | None = None
    _data: bytes = field(default=b"", repr=False)

    def read(self) -> bytes:
        """
        What stands in it now. # I/O: opens it, and reads it where it is another one than before.

        Raises:
            StartError: it cannot be read, is no file, is too large, or others may use it: also where it was good before.
        """
        try:
            # What is no file could keep us waiting for ever.
            with open(self.path, "rb", opener=open_at_once) as file:
                found = os.fstat(file.fileno())
                self._check(found)
                stamp = (
                    found.st_dev,
                    found.st_ino,
                    found.st_size,
                    found.st_mtime_ns,
                    found.st_ctime_ns,
                )
                if stamp != self._stamp:
                    data = file.read(self.most + 1)
                    if len(data) > self.most:
                        self._refuse(" with more than {} bytes", f"{self.most} at most", self.most)
                    self._stamp, self._data = stamp, data
        except OSError as error:
            self._refuse(", which cannot be read ({})", "a file that can", error.strerror)
        return self._data

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            self._refuse(", which is no file", "a file")
        if found.st_mode & _OTHERS and not _is_credential(self.path):
            mode = f"{stat.S_IMODE(found.st_mode):04o}"
            self._refuse(" with mode {}", "0600 or stricter: nobody else may read it", mode)

    def _refuse(self, what: str, allowed: str, *values: object) -> None:
        # Nothing of before holds: who took the file away, or opened it to others, must see that.
        self._stamp, self._data = None, b""
        raise StartError(
            f'{self.setting}: found "{printable(self.path)}"{what.format(*values)}; allowed is {allowed}'
        )


def open_at_once(path: str, flags: int) -> int:
    """An opener for ``open``: what is no file, as a named pipe, keeps nobody waiting; whoever reads looks whether it is one."""
    return os.open(path, flags | os.O_NONBLOCK)


def _is_credential(path: str) -> bool:
    """Of systemd's LoadCredential: its folder is the service's alone, and the files there have modes of systemd's choice."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and Path(path).parent == Path(folder)
