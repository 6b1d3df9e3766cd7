"""
Header fields that go with each export, as a collector in a cloud wants them: read from a file, so that no token stands in wsproxy.toml.

Looked at before the start (``process.tracing``) and by ``trace.export`` before each export: a token can be replaced while the proxy runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from wsproxy.config.problems import printable
from wsproxy.config.secret_file import SecretFile
from wsproxy.errors import StartError

# RFC 9110 5.6.2, and what may stand in a value.
_LINE = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?)"
)
MOST_BYTES = 65536


@dataclass(slots=True)
class HeadersFile:
    """``path`` empty: there are none."""

    path: str
    _data: bytes = field(default=b"", repr=False)
    _fields: dict[str, str] = field(default_factory=dict, repr=False)
    _file: SecretFile = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is read yet."""
        self._file = SecretFile("trace.headers_file", self.path, MOST_BYTES)

    def check(self) -> None:
        """
        Reads it. # I/O.

        Raises:
            StartError: it cannot be used, or others may read it; the text never has what stands in it.
        """
        if not self.path:
            return
        data = self._file.read()
        if data == self._data:
            return
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
        self._data, self._fields = data, fields

    def read(self) -> dict[str, str]:
        """Those that hold; where the file cannot be used now, those of before. # I/O."""
        try:
            self.check()
        except StartError:
            return self._fields
        return self._fields
