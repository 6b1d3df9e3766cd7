"""
Errors that more than one layer knows.

An error carries what a person needs to act: where (file and line), what was found, what is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in a file that an operator should look at; ``line`` 0 means the file as a whole."""

    severity: Severity
    code: str
    file: str
    line: int
    found: str
    allowed: str

    def __str__(self) -> str:
        """``file:line: found X; allowed is Y``."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: found {self.found}; allowed is {self.allowed}"


class WsproxyError(Exception):
    """Base of every error that wsproxy raises on purpose; its text is meant for the operator."""


class ConfigRefusedError(WsproxyError):
    """
    plugin-cfg.xml or wsproxy.toml cannot be used; the text lists every error, one a line.

    ``problems`` also holds the warnings, where the reader found any.
    """

    def __init__(self, text: str, problems: tuple[Problem, ...] = ()) -> None:
        """``problems`` may be empty where the text says all there is."""
        super().__init__(text)
        self.problems = problems


class StartError(WsproxyError):
    """The process cannot start: a port is taken, a file is missing, a limit of the system is too low."""


class RequestRefusedError(WsproxyError):
    """A request that is asked about is none that live traffic would take; the text says with what it is refused."""


class LogRefusedError(WsproxyError):
    """A log cannot be read, or is not what it is said to be."""
