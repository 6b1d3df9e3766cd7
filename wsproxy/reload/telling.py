"""
What the log and the history say of an attempt to take over a configuration.

Driven by ``reload.loader``. Must not decide anything.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

from wsproxy.admin.reloads import MOST_TOLD, Entry
from wsproxy.config.problems import printable
from wsproxy.errors import OWN_LACKS, Problem

log = logging.getLogger("wsproxy.reload")

# All workers have a configuration within a moment; one that is stopped, or that the machine has no time for, has not.
TAKEN_S = 30.0
# Problems of a refused configuration that the log names.
MOST_LOGGED = 10


def lack_of_descriptors() -> str:
    """Why no descriptor is to be had now; empty: one is. What could not be read for want of one says nothing of the files."""
    try:
        os.close(os.dup(0))
    except OSError as error:
        return error.strerror if error.errno in OWN_LACKS and error.strerror else ""
    return ""


def few_of(lines: list[str]) -> list[str]:
    """As many as a person reads."""
    few = lines[:MOST_TOLD]
    more = len(lines) - len(few)
    return [*few, *([f"and {more} more"] if more else [])]


def tell(entry: Entry, problems: Iterable[Problem], *, is_dry: bool) -> None:
    """In the log: who, what, and what it means."""
    if is_dry:
        return
    who = printable(entry.who)
    if entry.result == "refused":
        log.error("%s: the configuration is refused, generation %d stays:", who, entry.generation)
        for line in entry.problems[:MOST_LOGGED]:
            log.error("%s", line)
        return
    if entry.result == "unchanged":
        log.info("%s: nothing has changed; generation %d stays", who, entry.generation)
    elif entry.result == "failed":
        log.error(
            "%s: not every worker goes by generation %d after %g s; those that do not go by an earlier one",
            who, entry.generation, TAKEN_S,
        )  # fmt: skip
    else:
        log.info(
            "%s: generation %d of the configuration is in use after %.2f s (%s)",
            who, entry.generation, entry.seconds, "; ".join(entry.changes[:3]) or "no change of meaning",
        )  # fmt: skip
    for problem in problems:
        log.log(logging.ERROR if problem.severity == "error" else logging.WARNING, "%s", problem)
    if entry.without_effect:
        log.warning("only `wsproxy upgrade` takes over: %s", ", ".join(entry.without_effect))
