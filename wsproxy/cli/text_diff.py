"""
A unified diff of two texts of any size: what is the same is found by lines that both have once, so that time stays linear.

Driven by ``cli.fmt``. ``difflib`` alone takes the square of the lines where many of them changed: minutes for a file of 10 MB.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

_CONTEXT = 3  # lines around a change, as everywhere
# Lines times lines that difflib may compare between two anchors; above that the one part is out and the other in.
_MOST_COMPARED = 250_000

Opcode = tuple[str, int, int, int, int]


def unified(old: str, new: str, old_name: str, new_name: str) -> Iterator[str]:
    """The lines of the diff, without their ends; none where the texts are the same."""
    a, b = _lines(old), _lines(new)
    groups = list(_grouped(_opcodes(a, b)))
    if groups:
        yield f"--- {old_name}"
        yield f"+++ {new_name}"
    for group in groups:
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first[1], last[2])} +{_range(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (part for line in a[i1:i2] for part in f" {line}".split("\n"))
            else:
                yield from (part for line in a[i1:i2] for part in f"-{line}".split("\n"))
                yield from (part for line in b[j1:j2] for part in f"+{line}".split("\n"))


def _lines(text: str) -> list[str]:
    """The lines; a last one that does not end says so, as ``diff`` and ``patch`` have it."""
    lines = text.split("\n")
    last = lines.pop()
    return [*lines, f"{last}\n\\ No newline at end of file"] if last else lines


def _range(start: int, stop: int) -> str:
    length = stop - start
    return f"{start + 1}" if length == 1 else f"{start + (length > 0)},{length}"


def _opcodes(a: list[str], b: list[str]) -> list[Opcode]:
    """As difflib's, of neighbours with the same tag one."""
    found: list[Opcode] = []
    at_a = at_b = 0
    for i, j in [*_anchors(a, b), (len(a), len(b))]:
        for code in _between(a, b, at_a, i, at_b, j):
            _add(found, code)
        if i < len(a):
            _add(found, ("equal", i, i + 1, j, j + 1))
        at_a, at_b = i + 1, j + 1
    return found


def _add(codes: list[Opcode], code: Opcode) -> None:
    if codes and codes[-1][0] == code[0] == "equal":
        _, i1, _, j1, _ = codes.pop()
        code = ("equal", i1, code[2], j1, code[4])
    codes.append(code)


def _between(a: list[str], b: list[str], i1: int, i2: int, j1: int, j2: int) -> Iterator[Opcode]:
    if i1 == i2 and j1 == j2:
        return
    if i1 == i2 or j1 == j2 or (i2 - i1) * (j2 - j1) > _MOST_COMPARED:
        yield "replace", i1, i2, j1, j2
        return
    matcher = difflib.SequenceMatcher(None, a[i1:i2], b[j1:j2], autojunk=False)
    for tag, i3, i4, j3, j4 in matcher.get_opcodes():
        yield ("equal" if tag == "equal" else "replace"), i1 + i3, i1 + i4, j1 + j3, j1 + j4


def _anchors(a: list[str], b: list[str]) -> list[tuple[int, int]]:
    """Lines that stand once in each text, those of them that stand in the same order: the longest row of them (patience diff)."""
    once_a, once_b = (
        {line for line, count in Counter(text).items() if count == 1} for text in (a, b)
    )
    both = once_a & once_b
    where = {line: j for j, line in enumerate(b) if line in both}
    pairs = [(i, where[line]) for i, line in enumerate(a) if line in both]
    tails: list[int] = []  # the least last j of a row of each length
    ends: list[int] = []  # the pair that it ends with
    before: list[int] = []  # of each pair, the pair before it in its row
    for number, (_, j) in enumerate(pairs):
        length = bisect_left(tails, j)
        before.append(ends[length - 1] if length else -1)
        if length == len(tails):
            tails.append(j)
            ends.append(number)
        else:
            tails[length] = j
            ends[length] = number
    row: list[tuple[int, int]] = []
    number = ends[-1] if ends else -1
    while number >= 0:
        row.append(pairs[number])
        number = before[number]
    return row[::-1]


def _grouped(codes: list[Opcode]) -> Iterator[list[Opcode]]:
    """Changes with a few lines around them, those that are close together in one."""
    group: list[Opcode] = []
    for number, (tag, i1, i2, j1, j2) in enumerate(codes):
        if tag != "equal":
            group.append((tag, i1, i2, j1, j2))
            continue
        is_first, is_last = number == 0, number == len(codes) - 1
        if not is_first and (is_last or i2 - i1 > 2 * _CONTEXT):
            group.append((tag, i1, min(i2, i1 + _CONTEXT), j1, min(j2, j1 + _CONTEXT)))
            yield group
            group = []
        if is_last:
            return
        if is_first or i2 - i1 > 2 * _CONTEXT:
            group = [(tag, max(i1, i2 - _CONTEXT), i2, max(j1, j2 - _CONTEXT), j2)]
        else:
            group.append((tag, i1, i2, j1, j2))
    if group:
        yield group
