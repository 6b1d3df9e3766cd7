"""One difference between two plugin-cfg.xml, as ``config.diff`` and ``config.diff_routes`` make it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from wsproxy.config.merge_notes import Place

Kind = Literal["added", "gone", "changed"]
ADDED: Kind = "added"
GONE: Kind = "gone"
CHANGED: Kind = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference; ``name`` says of which element, ``attribute`` is empty where it is about all of it."""

    kind: Kind
    element: str
    name: str
    attribute: str
    old: str
    new: str
    places: tuple[Place, ...]
    consequence: str


def change(
    kind: Kind,
    element: str,
    name: str,
    consequence: str,
    places: Iterable[Place],
    *,
    attribute: str = "",
    old: str = "",
    new: str = "",
) -> Change:
    """A Change; places that are the same once."""
    return Change(
        kind, element, name, attribute, old, new, tuple(dict.fromkeys(places)), consequence
    )
