"""
Collects what is wrong with one file, so that everything is told at once.

Driven by ``config.xml``, ``config.attributes`` and ``config.check``; the words below also by readers of settings. Must not print, and must not decide what is wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, field

from wsproxy.errors import ConfigRefusedError, Problem, Severity

MAX_QUOTED_CHARS = 80  # a message stays one readable line; a name in real files has at most 70
# difflib ratio: Server is not like ServerGroup (0.71), SSLConsolidatedConfig is like SSLConsolidate (0.80)
MIN_LIKENESS = 0.75
MAX_COMPARISONS = 20_000  # of names, to find the nearest; about 10 us each, and a file can hold half a million wrong ones
MAX_NAMED = 3  # names in one message; the rest is counted
SECRET_WORDS = ("password", "passwd", "secret")  # in an attribute's name: its value is not shown


@dataclass(slots=True)
class ProblemList:
    """The problems of one file, in the order in which they were found."""

    file: str
    items: list[Problem] = field(default_factory=list)
    comparisons: int = 0

    def error(self, code: str, line: int, found: str, allowed: str) -> None:
        """Adds what makes the file unusable."""
        self._add("error", code, line, found, allowed)

    def warning(self, code: str, line: int, found: str, allowed: str) -> None:
        """Adds what an operator should know, though the file can be used."""
        self._add("warning", code, line, found, allowed)

    def has_errors(self) -> bool:
        """Whether the file is to be refused."""
        return any(problem.severity == "error" for problem in self.items)

    def in_file_order(self) -> tuple[Problem, ...]:
        """All problems by line; those of one line as they were found."""
        return tuple(sorted(self.items, key=lambda problem: problem.line))

    def raise_if_errors(self) -> None:
        """
        Returns where there are only warnings.

        Raises:
            ConfigRefusedError: its text lists all errors, its ``problems`` the warnings too.
        """
        if self.has_errors():
            problems = self.in_file_order()
            errors = (str(problem) for problem in problems if problem.severity == "error")
            raise ConfigRefusedError("\n".join(errors), problems)

    def suggest(self, name: str, known: Collection[str]) -> str | None:
        """The known name that was probably meant; no longer looked for after MAX_COMPARISONS."""
        self.comparisons += len(known)
        return nearest(name, known) if self.comparisons <= MAX_COMPARISONS else None

    def _add(self, severity: Severity, code: str, line: int, found: str, allowed: str) -> None:
        self.items.append(Problem(severity, code, self.file, line, found, allowed))


def quoted(text: str) -> str:
    """The text in double quotes, cut to a readable length, with nothing that could drive a terminal."""
    if len(text) > MAX_QUOTED_CHARS:
        text = text[: MAX_QUOTED_CHARS - 3] + "..."
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """The text with escapes for everything that could drive a terminal, break a line or not be encoded."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(name: str, value: str) -> str:
    """``Name="value"``, the value hidden where the name says that it is a secret."""
    if any(word in name.lower() for word in SECRET_WORDS):
        return f'{name}="***"'
    return f"{name}={quoted(value)}"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that was probably meant: the same but for case, else the likest; None where none is like it."""
    for candidate in known:
        if candidate.lower() == name.lower():
            return candidate
    # compared without case: difflib sees "RETRYINTERVAL" and "RetryInterval" as two thirds different
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, 1, MIN_LIKENESS)
    return by_lower[matches[0]] if matches else None


def listed(names: Collection[str]) -> str:
    """The first few names in quotes, and how many more there are."""
    few = [quoted(name) for name in list(names)[:MAX_NAMED]]
    more = len(names) - len(few)
    return ", ".join(few) + (f" and {more} more" if more else "")
