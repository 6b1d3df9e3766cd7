"""
``[[edge]]`` tables in words: which one, for whom, and what is otherwise than before.

Driven by ``reload.sources`` for what a reload tells, and by ``explain``. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher

import msgspec

from wsproxy.config.settings import Settings
from wsproxy.config.settings_edge import EdgeSettings, duties_of

_SELECTION = ("listener", "ports", "scheme", "hosts", "paths", "clusters")


def name_of(index: int, edge: EdgeSettings) -> str:
    """The table in a few words: its number in the file, and whose requests are meant."""
    found = []
    for name in _SELECTION:
        value = getattr(edge, name)
        if value and value != "any":
            texts = [value] if isinstance(value, str) else [str(each) for each in value]
            more = f" and {len(texts) - 2} more" if len(texts) > 2 else ""
            found.append(f"{name} {', '.join(texts[:2])}{more}")
    return f"[[edge]] {index + 1} ({'; '.join(found) or 'all requests'})"


def edge_changes(old: Settings, new: Settings) -> Iterator[str]:
    """What of the tables and of their pages is otherwise, a sentence each."""
    matcher = SequenceMatcher(
        None,
        [_text(each) for each in old.edge],
        [_text(each) for each in new.edge],
        autojunk=False,
    )
    for what, i1, i2, j1, j2 in matcher.get_opcodes():
        if what == "equal":
            continue
        both = min(i2 - i1, j2 - j1)
        for at in range(both):
            before, after = old.edge[i1 + at], new.edge[j1 + at]
            changed = [
                name
                for name in before.__struct_fields__
                if getattr(before, name) != getattr(after, name)
            ]
            yield f"{name_of(j1 + at, after)} is changed: {', '.join(changed)}"
        for at in range(i1 + both, i2):
            yield f"{name_of(at, old.edge[at])} is gone: {_duties(old.edge[at])}"
        for at in range(j1 + both, j2):
            yield f"{name_of(at, new.edge[at])} is new: {_duties(new.edge[at])}"
    before_pages = {page.path: page for page in old.edge_pages}
    for page in new.edge_pages:
        if page.path in before_pages and page != before_pages[page.path]:
            yield f"page {page.path} is changed"


def _text(edge: EdgeSettings) -> bytes:
    return msgspec.json.encode(edge)


def _duties(edge: EdgeSettings) -> str:
    return ", ".join(duties_of(edge))
