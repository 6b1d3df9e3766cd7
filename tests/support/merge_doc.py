"""
The tables of docs/merge.md, made from the rules: between ``<!-- choices -->`` or ``<!-- settlings -->`` and ``<!-- end -->``.

``python -m tests.support.merge_doc`` writes them anew; a test compares. The text around them is written by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from wsproxy.config.attributes import specs_of
from wsproxy.config.merge_rules import CHOICES, SETTLINGS, WORDS, Settling
from wsproxy.config.model import AttributeSpec

DOC = Path(__file__).resolve().parents[2] / "docs" / "merge.md"
_TABLE = re.compile(r"(<!-- (choices|settlings) -->\n).*?(<!-- end -->)", re.DOTALL)


def with_tables(text: str) -> str:
    """The document with both tables as the rules say."""
    tables = {"choices": _choices(), "settlings": _settlings()}
    return _TABLE.sub(lambda match: match[1] + tables[match[2]] + match[3], text)


def _choices() -> str:
    lines = ["| `--rules` | choices, the default first |", "|---|---|"]
    lines += [
        f"| `{name}` | {', '.join(f'`{choice}`' for choice in choices)} |"
        for name, choices in CHOICES.items()
    ]
    return "\n".join(lines) + "\n"


def _settlings() -> str:
    lines = ["| element | attribute | of two values, taken is |", "|---|---|---|"]
    for cls, settlings in SETTLINGS.items():
        specs = specs_of(cls)
        for field, settling in sorted(
            settlings.items(), key=lambda item: specs[item[0]].name.lower()
        ):
            if settling.how != "identity":
                spec = specs[field]
                lines.append(f"| {cls.__name__} | `{spec.name}` | {_taken(settling, spec)} |")
    return "\n".join(lines) + "\n"


def _taken(settling: Settling, spec: AttributeSpec) -> str:
    if settling.how == "refuse":
        return "refused"
    if settling.how in ("first", "last"):
        words = ", ".join(f"`{word}`" for word in spec.allowed)
        return f"the {settling.how} of {words}"
    text = WORDS[settling.how]
    if settling.unlimited:
        numbers = " and ".join(f"`{number}`" for number in settling.unlimited)
        text += (
            f"; {numbers} {'is' if len(settling.unlimited) == 1 else 'are'} no limit, the largest"
        )
    return text


if __name__ == "__main__":
    DOC.write_text(with_tables(DOC.read_text()))
