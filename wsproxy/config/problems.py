"""
Collects what is wrong with one file, so that everything is told at once.

Driven by ``config.xml``, ``config.attributes``, ``config.check`` and ``config.settings_file``. Must not print, and must not
decide what is wrong.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal

from wsproxy.errors import ConfigRefusedError, Counts, Problem, Severity

MAX_QUOTED_CHARS = 80  # a message stays one readable line; a name in real files has at most 70
# difflib ratio: Server is not like ServerGroup (0.71), SSLConsolidatedConfig is like SSLConsolidate (0.80)
MIN_LIKENESS = 0.75
MAX_COMPARISONS = 20_000  # of names, to find the nearest; about 10 us each, and a file can hold half a million wrong ones
MAX_NAMED = 3  # names in one message; the rest is counted
# Told of one file; the rest is counted. Nobody reads more, and a generator's one mistake can stand on 200,000 elements.
MAX_PROBLEMS = 1000
SECRET_WORDS = ("password", "passwd", "secret")  # in an attribute's name: its value is not shown


@dataclass(slots=True)
class ProblemList:
    """The problems of one file, in the order in which they were found."""

    file: str
    ignored: Collection[str] = ()  # codes of which warnings and notes are only counted
    items: list[Problem] = field(default_factory=list)  # at most MAX_PROBLEMS of each severity
    counts: Counter[Severity | Literal["ignored"]] = field(default_factory=Counter)
    comparisons: int = 0

    def error(self, code: str, line: int, found: str, allowed: str) -> None:
        """Adds what makes the file unusable."""
        self._add("error", code, line, found, allowed)

    def warning(self, code: str, line: int, found: str, allowed: str) -> None:
        """Adds what an operator should know, though the file can be used."""
        self._add("warning", code, line, found, allowed)

    def note(self, code: str, line: int, found: str, allowed: str) -> None:
        """Adds what may well be meant, and is good to know before the night in which it matters."""
        self._add("note", code, line, found, allowed)

    def say(self, severity: Severity, code: str, line: int, sentence: str) -> None:
        """Adds what is said in a sentence of its own: ``NAME: found X; allowed is Y``, or with other words in between."""
        found, allowed = split_sentence(sentence)
        self._add(severity, code, line, found, allowed, sentence)

    def has_errors(self) -> bool:
        """Whether the file is to be refused."""
        return self.counts["error"] > 0

    def in_file_order(self) -> tuple[Problem, ...]:
        """Errors and warnings by line, those of one line as they were found; where there are too many, errors first."""
        kept = [problem for problem in self.items if problem.severity != "note"]
        if len(kept) > MAX_PROBLEMS:
            errors = [problem for problem in kept if problem.severity == "error"]
            warnings = [problem for problem in kept if problem.severity == "warning"]
            kept = errors + warnings[: MAX_PROBLEMS - len(errors)]
        return tuple(sorted(kept, key=lambda problem: problem.line))

    def count(self) -> Counts:
        """How many there are, told of or not."""
        counts = self.counts
        return Counts(counts["error"], counts["warning"], counts["note"], counts["ignored"])

    def notes(self) -> tuple[Problem, ...]:
        """The notes by line."""
        kept = [problem for problem in self.items if problem.severity == "note"]
        return tuple(sorted(kept, key=lambda problem: problem.line))

    def raise_if_errors(self) -> None:
        """
        Returns where there are only warnings.

        Raises:
            ConfigRefusedError: its text lists the errors, its ``problems`` the warnings too.
        """
        if self.has_errors():
            problems = self.in_file_order()
            errors = [str(problem) for problem in problems if problem.severity == "error"]
            if more := self.counts["error"] - len(errors):
                errors.append(f"{self.file}: and {more} more errors")
            # no notes: first the file must be one that can be used
            counts = replace(self.count(), notes=0)
            raise ConfigRefusedError("\n".join(errors), problems, counts)

    def suggest(self, name: str, known: Collection[str]) -> str | None:
        """The known name that was probably meant; no longer looked for after MAX_COMPARISONS."""
        self.comparisons += len(known)
        return nearest(name, known) if self.comparisons <= MAX_COMPARISONS else None

    def _add(
        self, severity: Severity, code: str, line: int, found: str, allowed: str, sentence: str = ""
    ) -> None:
        if severity != "error" and code in self.ignored:
            self.counts["ignored"] += 1
            return
        self.counts[severity] += 1
        if self.counts[severity] <= MAX_PROBLEMS:
            self.items.append(Problem(severity, code, self.file, line, found, allowed, sentence))


def split_sentence(sentence: str) -> tuple[str, str]:
    """What was found and what is allowed, out of ``NAME: found X; allowed is Y`` and its like; empty where it says none."""
    found, _, allowed = sentence.partition("found ")[2].partition("; ")
    return found or sentence, _ALLOWED.sub("", allowed)


_ALLOWED = re.compile(r"^(?:allowed (?:is|are|with)|did you mean)\s+")


def quoted(text: str) -> str:
    """The text in double quotes, cut to a readable length, with nothing that could drive a terminal."""
    if len(text) > MAX_QUOTED_CHARS:
        text = text[: MAX_QUOTED_CHARS - 3] + "..."
    return f'"{printable(text)}"'


def printable(text: str) -> str:
    """The text with escapes for everything that could drive a terminal, break a line or not be encoded."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


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
