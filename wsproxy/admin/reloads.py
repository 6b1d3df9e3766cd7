"""
What the loader of configurations is asked and says, as JSON: over the admin socket, and between admin process and loader.

Read and written by ``reload.loader``, ``admin.server`` and ``admin.client``; docs/admin.md names every field. Must not hold a
secret: values of passwords are never told.
"""

from __future__ import annotations

from typing import Literal

import msgspec

RELOAD_PATH = "/v1/reload"
ROLLBACK_PATH = "/v1/rollback"
HISTORY_PATH = "/v1/history"

# Of an entry: what a person reads. The others are counted.
MOST_TOLD = 50

What = Literal["reload", "rollback", "history"]
Result = Literal["in use", "unchanged", "accepted", "refused", "failed"]


class LoaderQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """``to``: the generation that ``rollback`` returns to; 0: the one before. ``is_dry``: nothing is taken over."""

    number: int
    what: What
    who: str
    is_dry: bool = False
    to: int = 0


class Entry(msgspec.Struct):
    """
    What became of one attempt to take over a configuration.

    ``result``: "in use"; "unchanged": the files say what is in use; "accepted": it would be taken over (dry run); "refused":
    ``problems`` say why, and the one before stays; "failed": not every worker took it over. ``generation``: of the
    configuration in use afterwards. ``changes``: what is otherwise than before, in words. ``without_effect``: settings that
    changed and that only an upgrade takes over.
    """

    number: int
    time: str
    who: str
    result: Result
    generation: int
    digest: str
    file: str
    seconds: float = 0.0
    problems: list[str] = []
    changes: list[str] = []
    without_effect: list[str] = []
    returned_to: int = 0


class History(msgspec.Struct):
    """The last attempts, oldest first; ``kept``: generations that ``rollback`` can return to."""

    generation: int
    entries: list[Entry]
    kept: list[int]


class LoaderAnswer(msgspec.Struct):
    """One of these; ``error``: what was wrong with the question. ``number`` 0: a loader has begun, and its predecessor answers no more."""

    number: int
    entry: Entry | None = None
    history: History | None = None
    error: str = ""
