"""
Which word of another site takes the place of ours, and what is written then; which words a bridge carries at all. Pure.

Driven by ``bridge``, at both sites, each for itself: nobody writes into another site's store, so both must come to the same word from the
same two. A word is told from all others by the site that said it and a number that only grows there (``origin``, ``number``), and
has with it the numbers of other sites' words that it is newer than (``knows``): a version vector. Rules, in their order:

1. The same word is not copied, nor one that means the same, nor our own back to where nobody has said anything.
2. Who **knew** of the other's word when it said its own is newer, whatever the clocks say: as within one group.
3. Where neither knew of the other (the link was cut; or each of the other, by way of a third site), an **operator's word beats an observation**, then the **newest evidence** counts.

What is written in the place of another word knows all that both knew, so it is newer than both for everybody: each step makes a store know more, and
with finitely many words said there are finitely many steps, in a ring of sites, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from urllib.parse import unquote

import msgspec

from wsproxy.config.settings_bridge import BOARDS
from wsproxy.ha.board.rule import Word, numbers_of, rank


def chosen(choices: Sequence[str], subject: str) -> bool:
    """Whether one of ``holds``, ``marks:shop_*`` ... means this: the part of a subject's key behind ``Names.board``."""
    kind, _, rest = subject.partition("/")
    cluster = unquote(rest.partition("/")[0])
    for choice in choices:
        board, _, pattern = choice.partition(":")
        if BOARDS.get(board) == kind and fnmatchcase(cluster, pattern or "*"):
            return True
    return False


def taken(ours: Word | None, theirs: Word, here: str, there: str) -> Word | None:
    """What is to be written here now that ``there`` has this word; None: ours stays."""
    if ours is None:
        if theirs.origin == here or not theirs.is_more_than_nothing:
            return None
        return _copy({}, theirs, there)
    one, other = _place(ours, here), _place(theirs, there)
    if one == other:
        return _taken_again(ours, theirs, here, there)
    if ours.says_as(theirs):
        return None
    known, known_there = numbers_of(ours, here), numbers_of(theirs, there)
    is_known = known.get(other[0], 0) >= other[1]
    is_ours_known = known_there.get(one[0], 0) >= one[1]
    if is_known != is_ours_known:
        return _copy(known, theirs, there) if is_ours_known else None
    return _copy(known, theirs, there) if (rank(theirs), other) > (rank(ours), one) else None


def _taken_again(ours: Word, theirs: Word, here: str, there: str) -> Word | None:
    """
    The same word: only whether it has ended, as a mark does whose site was not heard for long, may differ.

    It ends where it came from, too, and holds again by its own site's word alone: or it would go round in a ring of sites for ever.
    """
    if theirs.is_over and not ours.is_over and ours.via == there:
        return _copy(numbers_of(ours, here), theirs, there)
    if ours.is_over and not theirs.is_over and theirs.origin in ("", there):
        return _copy(numbers_of(ours, here), theirs, there)
    return None


def is_endable(subject: str, ours: Word, there: str) -> bool:
    """Whether it is a mark that came by this bridge: one that ends when nothing is heard from there for long."""
    return subject.startswith("mark/") and ours.is_down and ours.via == there


def ended(ours: Word) -> Word:
    """Such a mark, as it is when nothing is known any more: the same word, by which the server is up until that site is heard again."""
    return msgspec.structs.replace(ours, is_down=False, is_over=True, why="", error=0)


def _place(word: Word, site: str) -> tuple[str, int]:
    return word.origin or site, word.number or word.at_ms


def _copy(known: dict[str, int], theirs: Word, there: str) -> Word:
    origin, number = _place(theirs, there)
    found = dict(known)
    for site, each in numbers_of(theirs, there).items():
        found[site] = max(found.get(site, 0), each)
    if found[origin] == number:
        del found[origin]
    return msgspec.structs.replace(
        theirs, origin=origin, number=number, knows=tuple(sorted(found.items())), via=there
    )
