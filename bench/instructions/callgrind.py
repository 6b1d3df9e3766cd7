"""
What a dump of callgrind says: the instructions of each function itself, without those that it calls.

The format is documented in valgrind's manual (Callgrind Format Specification). ``callgrind_annotate`` adds up recursive calls,
so that a function can have more than the whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

_ENTRY = re.compile(r"c?(?P<kind>fn|ob)=\((?P<number>\d+)\)(?: (?P<name>.*))?")
# A clone of the compiler, or the depth of a recursion: still the same function.
_VARIANT = re.compile(r"(?:(?:\.(?:isra|part|constprop|cold|lto_priv)(?:\.\d+)?)|'\d+)+$")
# __pyx_f_7wsproxy_5_fast_4http_4head_parse_request: each word after its length
_CYTHON = re.compile(r"__pyx_[a-z_]+?_7wsproxy_5_fast_(.*)")


def read_dump(path: Path, wanted: Callable[[str], bool] = lambda _path: True) -> Counter[str]:
    """
    Instructions of each function of the object files that are wanted, those of all its clones together.

    Raises: ValueError where all of them are not as many as the dump itself says.
    """
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()
    current = {"fn": "", "ob": ""}
    is_call = False
    found = total = 0
    for line in path.read_text().splitlines():
        if match := _ENTRY.fullmatch(line):
            key = match["kind"], match["number"]
            if match["name"]:
                names[key] = match["name"]
            if not line.startswith("c"):
                current[match["kind"]] = names[key]
        elif line.startswith("calls="):
            is_call = True
        elif line.startswith("totals:"):
            total = int(line.split()[1])
        elif line[:1] in tuple("+-*0123456789"):
            if not is_call:  # what the called one took has its own lines
                found += (cost := int(line.split()[1]))
                if wanted(current["ob"]):
                    counts[readable(current["fn"])] += cost
            is_call = False
    if total != found:
        msg = f"{path}: found {found} instructions; allowed are the {total} of its totals line"
        raise ValueError(msg)
    return counts


def readable(symbol: str) -> str:
    """
    A function's name as people know it: ``http.head.parse_request`` for Cython's symbol, any other one as it is.

    Methods have their class in between: ``net.stream.Stream.push``.
    """
    symbol = _VARIANT.sub("", symbol)
    match = _CYTHON.fullmatch(symbol)
    if match is None:
        return symbol
    words: list[str] = []
    rest = match[1]
    while sized := re.match(r"\d+", rest):
        after = rest[sized.end() :]
        word, beyond = after[: int(sized[0])], after[int(sized[0]) :]
        if beyond[:1] not in {"_", ""}:  # the number of a method that Python calls, before its name
            return ".".join([*words, after])
        words.append(word)
        rest = beyond.removeprefix("_")
    return ".".join([*words, rest] if rest else words)
