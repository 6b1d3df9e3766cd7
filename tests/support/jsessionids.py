"""The rows of the shared corpus of JSESSIONID values; the corpus stays where it is and is not copied."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parents[2].parent / "shared" / "corpus" / "jsessionids.tsv"


@dataclass(frozen=True)
class SessionValue:
    """One value as it was found, and how many clone ids a person counted in it."""

    text: str
    separator: str  # "" where the value has no clone ids
    clones: int
    session_id_len: int  # 0 where the value is not WebSphere's


def session_values() -> list[SessionValue]:
    """Empty where the corpus is absent."""
    if not CORPUS.exists():
        return []
    with CORPUS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        SessionValue(
            row["value"],
            row["separator"],
            int(row["clones"] or 0),
            int(row["session_id_len"] or 0),
        )
        for row in rows
    ]
