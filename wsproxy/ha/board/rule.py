"""
Which of two words on the same subject counts: what several proxies say of one server, and what is kept when etcd was away. Pure.

Driven by ``board.board`` for each subject that changes here or there. A subject is one property of one server; its word in the
store is the one that counts most of all that were ever said. Rules, in their order:

1. A word that was said **knowing** the store's word is newer than it, whoever's clock says what: it goes into the store.
2. Otherwise nobody knew of the other, as when etcd was away: an **operator's word beats a proxy's observation**.
3. Of two of the same rank the **newest evidence** counts, by the clocks of the two machines.
4. At the same millisecond the word of more caution: down before up, then the poster's name. Only so that all decide the same.

Rule 1 needs no clocks, and it is the rule of all days; 3 needs them within the time between two such words. What a server's
hold or numbers are comes from operators only; marks from workers and probes, or an operator's `up`.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Kind = Literal["mark", "hold", "numbers"]
KINDS: tuple[Kind, ...] = ("mark", "hold", "numbers")


# What slots have room for. Whoever can write a key of the board, or has a bridge to us, would end the process of every member with more:
# a word that does not keep to it is another version's, which says nothing here.
Time = Annotated[int, Meta(ge=0, le=2**62)]
Small = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Held = Annotated[int, Meta(ge=0, le=2)]
# As an operator may say them.
Weight = Annotated[int, Meta(ge=0, le=100_000)]
Limit = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    What is said of a server, the value of a subject's key; which fields count depends on the subject.

    ``at_ms``: of the evidence, since 1970. ``until_ms``: when a hold ends by itself, 0: never. ``weight``, ``limit``: None as
    the file says.
    """

    by: str  # the member that posted it
    at_ms: Time
    is_operator: bool = False
    who: str = ""
    why: str = ""
    is_down: bool = False  # mark
    error: Small = 0
    hold: Held = 0  # hold
    until_ms: Time = 0
    weight: Weight | None = None  # numbers
    limit: Limit | None = None
    file_weight: Small = 0
    file_limit: Small = 0
    # Of words that a bridge copied, or that took the place of such (``ha.bridge.rule``).
    origin: str = ""  # the site that said it; "": this one
    number: Time = 0  # its number there; 0: ``at_ms``
    knows: tuple[tuple[str, Time], ...] = ()  # numbers of other sites' words that it is newer than
    via: str = ""  # the site that it was copied from
    is_over: bool = False  # a mark of a site that has not been heard for too long: nothing is known

    @property
    def speaker(self) -> str:
        """Who says it, for people."""
        return f"{self.by} of {self.origin}" if self.origin else self.by

    def says_as(self, other: Word) -> bool:
        """Whether both mean the same for requests, and for who asks why."""
        return self.meaning == other.meaning

    @property
    def meaning(self) -> tuple[object, ...]:
        """Without when, and who carried it."""
        return (
            self.is_down,
            self.hold,
            self.until_ms,
            self.weight,
            self.limit,
            *((self.who, self.why) if self.hold or self.has_numbers else ()),
        )

    @property
    def is_more_than_nothing(self) -> bool:
        """Whether it is otherwise than at the first start, when nobody has said anything."""
        return self.is_down or bool(self.hold) or self.has_numbers

    @property
    def has_numbers(self) -> bool:
        """Whether other numbers than the file's hold."""
        return self.weight is not None or self.limit is not None


class Verdict(enum.Enum):
    """What is to be done about a subject."""

    SAME = "same"  # both say the same
    POST = "post"  # ours goes into the store
    TAKE = "take"  # the store's holds here, too


def decide(ours: Word | None, known: int, theirs: Word | None, revision: int) -> Verdict:
    """
    What becomes of our word and the store's, of ``revision``; ``known``: the store's revision that we knew when ours was said.

    ``ours``: a word that was not in the store yet. One that was has been judged by whoever wrote the next one: then, and where
    nothing was ever said, None, which counts less than any word.
    """
    if ours is None:
        return Verdict.SAME if theirs is None else Verdict.TAKE
    if theirs is None:
        return Verdict.POST if ours.is_more_than_nothing else Verdict.SAME
    if ours.says_as(theirs):
        # The better evidence for it stays, or a third word would be measured by the weaker one, and the result depend on the order.
        is_weaker = known >= revision or rank(ours) <= rank(theirs)
        return Verdict.SAME if is_weaker else Verdict.POST
    if known >= revision:
        return Verdict.POST
    return Verdict.POST if rank(ours) > rank(theirs) else Verdict.TAKE


def numbers_of(word: Word, site: str) -> dict[str, int]:
    """By site, the number of the newest word of it that this one knows, itself among them; ``site``: that whose store has it."""
    found = dict(word.knows)
    origin = word.origin or site
    found[origin] = max(found.get(origin, 0), word.number or word.at_ms)
    return found


def said_after(word: Word, before: Word | None, site: str) -> Word:
    """
    ``word`` of this site, as it is kept when it takes the place of ``before``: what that knew it knows, so other sites see that it is newer.

    Nothing is added where no other site has ever said anything and the clock goes forward.
    """
    if before is None:
        return word
    known = numbers_of(before, site)
    last = known.pop(site, 0)
    number = 0 if word.at_ms > last else last + 1
    if not known and not number:
        return word
    return msgspec.structs.replace(word, number=number, knows=tuple(sorted(known.items())))


def rank(word: Word) -> tuple[bool, int, bool, str]:
    """Which of two that know nothing of each other counts: the larger."""
    return word.is_operator, word.at_ms, word.is_down, word.by
