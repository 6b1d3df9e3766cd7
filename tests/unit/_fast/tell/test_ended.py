"""The letters of each cause, and that the operator's table has each of them once."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.causes import letters_of_causes

TABLE = Path(__file__).parents[4] / "docs" / "access-log.md"


def test_a_cause_is_its_letters() -> None:
    """The names say the same as the values: ``ENDED_SC`` is ``SC``."""
    causes = letters_of_causes()
    assert len(causes) == 30
    for name, letters in causes.items():
        assert letters == {"WELL": "--", "I": "I-"}.get(name, name)


def test_the_table_of_causes_has_each_once() -> None:
    """And no other; the same of the letters by themselves."""
    text = TABLE.read_text()
    table = text[text.index("<!-- causes -->") : text.index("<!-- end of causes -->")]
    found = re.findall(r"^\| `(..)` \|", table, re.MULTILINE)
    assert sorted(found) == sorted(letters_of_causes().values())
    for header, at in (("first", 0), ("second", 1)):
        rows = text[text.index(f"| {header} |") : text.index("<!-- causes -->")]
        explained = re.findall(r"^\| `(.)` \|", rows.partition("\n\n")[0], re.MULTILINE)
        assert set(explained) | {"-"} == {letters[at] for letters in found}
