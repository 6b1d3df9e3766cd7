"""What a member's process and a keeper say to each other. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from wsproxy.ha.resource.order import Phase

# A whole message; words of programs in it are cut.
MOST_BYTES = 16384


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """``number``: of this word; None: as before. ``until``: by the boot clock. ``clears``: failures are forgotten."""

    number: int
    runs: bool | None = None
    token: int | None = None
    until: float | None = None
    every_s: float | None = None
    clears: bool = False


class Said(msgspec.Struct, frozen=True):
    """``number``: of the last word that was heard. ``code``: 207, or 0. ``given_up``: no start is tried until ``again_s`` are over."""

    number: int
    phase: Phase
    code: int
    why: str
    given_up: bool
    since_ms: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose resource it is. ``mark``: in the environment of all its programs, unique on this machine."""

    mark: str
    member: str
