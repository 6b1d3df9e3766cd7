"""
Errors that more than one layer knows.

An error carries what a person needs to act: where (file and line), what was found, what is allowed.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Literal

# What failed for want of something of ours says nothing about what it was tried with, and may pass: one process without descriptors
# would take every server from all workers, or refuse every file.
OWN_LACKS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))

Severity = Literal["error", "warning", "note"]  # a note: to be known, not to be mended


@dataclass(frozen=True, slots=True)
class Problem:
    """
    One thing that an operator should look at, in a file or on this machine; ``line`` 0 means the file as a whole.

    ``sentence``: said instead of "found X; allowed is Y" where that is not how it reads best.
    """

    severity: Severity
    code: str
    file: str
    line: int
    found: str
    allowed: str
    sentence: str = ""

    def __str__(self) -> str:
        """``file:line: found X; allowed is Y``."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.sentence or f'found {self.found}; allowed is {self.allowed}'}"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many problems a file has, which may be more than are told of; ``ignored``: warnings and notes that nobody wants to hear."""

    errors: int = 0
    warnings: int = 0
    notes: int = 0
    ignored: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Of two files."""
        return Counts(
            self.errors + other.errors,
            self.warnings + other.warnings,
            self.notes + other.notes,
            self.ignored + other.ignored,
        )


class WsproxyError(Exception):
    """Base of every error that wsproxy raises on purpose; its text is meant for the operator."""


class ConfigRefusedError(WsproxyError):
    """
    plugin-cfg.xml or wsproxy.toml cannot be used; the text lists every error, one a line.

    ``problems`` also holds the warnings, where the reader found any; ``counts`` what there is of both.
    """

    def __init__(self, text: str, problems: tuple[Problem, ...], counts: Counts) -> None:
        """``problems`` may be fewer than ``counts`` says."""
        super().__init__(text)
        self.problems = problems
        self.counts = counts


class StartError(WsproxyError):
    """The process cannot start: a port is taken, a file is missing, a limit of the system is too low."""


class RequestRefusedError(WsproxyError):
    """A request that is asked about is none that live traffic would take; the text says with what it is refused."""


class LogRefusedError(WsproxyError):
    """A log cannot be read, or is not what it is said to be."""


class NothingComparedError(LogRefusedError):
    """A log can be read, and tells nothing of what it was asked; the text says why, and what to do."""
