"""
Header fields that go with each export, as a collector in a cloud wants them: read from a file, so that no token stands in wsproxy.toml.

Looked at before the start (``process.tracing``) and by ``trace.export`` before each export: a token can be replaced while the proxy runs.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field

from wsproxy.config.problems import printable
from wsproxy.errors import StartError

# RFC 9110 5.6.2, and what may stand in a value.
_LINE = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)"
)
MOST_BYTES = 65536
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(slots=True)
class HeadersFile:
    """``path`` empty: there are none."""

    path: str
    _stamp: tuple[int, int, int] = (0, 0, 0)
    _fields: dict[str, str] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """
        Reads it. # I/O.

        Raises:
            StartError: it cannot be used, or others may read it; the text never has what stands in it.
        """
        if not self.path:
            return
        try:
            with open(self.path, "rb", opener=_open_at_once) as file:
                found = os.fstat(file.fileno())
                stamp = (found.st_ino, found.st_size, found.st_mtime_ns)
                if stamp == self._stamp:
                    return
                data = file.read(MOST_BYTES) if stat.S_ISREG(found.st_mode) else b""
        except OSError as error:
            raise StartError(
                f'trace.headers_file: found "{printable(self.path)}", which cannot be read ({error.strerror}); allowed is a file that can'
            ) from error
        if not stat.S_ISREG(found.st_mode) or found.st_mode & _OTHERS:
            raise StartError(
                f'trace.headers_file: found "{printable(self.path)}" with mode {stat.S_IMODE(found.st_mode):04o}; '
                "allowed is a file with 0600 or stricter: nobody else may read it"
            )
        fields = {}
        for number, line in enumerate(data.decode("latin-1").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line.strip())
            if match is None:
                raise StartError(
                    f"{printable(self.path)}:{number}: found a line that is no header field; allowed is NAME: VALUE, one a line"
                )
            fields[match[1]] = match[2]
        self._stamp, self._fields = stamp, fields

    def read(self) -> dict[str, str]:
        """Those that hold; where the file cannot be used now, those of before. # I/O."""
        try:
            self.check()
        except StartError:
            return self._fields
        return self._fields


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
