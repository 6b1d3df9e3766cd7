"""
What ``wsproxy diff`` comes to, as JSON and as one HTML file.

Driven by ``cli.diff``; the names are those of docs/diff.md. Pure. Everything that comes from a file or a log is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from wsproxy.config.diff import Difference
from wsproxy.config.diff_changes import Kind
from wsproxy.config.merge_notes import places_text
from wsproxy.config.problems import printable
from wsproxy.logs.words import count_of
from wsproxy.replay.charts import escape, numbers, page, section, table, verdict
from wsproxy.simulate.elsewhere import MEANING, ElsewhereJson, KindJson

# Changes of one sort that people see; --json has all.
MOST_SHOWN = 20
MARKS: dict[Kind, str] = {"added": "+", "gone": "-", "changed": "~"}
_CLASSES: dict[Kind, str] = {"added": "same", "gone": "differs", "changed": "undecided"}
# How changes are put together: what each part is called, and which elements are in it.
_PARTS = (
    ("Requests", ("VirtualHost", "Uri", "Route")),
    (
        "Servers and clusters",
        ("ServerCluster", "Server", "ClusterAddress", "BackupServers", "Transport"),
    ),
    ("Settings", ()),
)


class PlaceJson(msgspec.Struct):
    """Where something stands; line 0: the file as a whole."""

    file: str
    line: int


class ChangeJson(msgspec.Struct):
    """One difference; ``attribute`` empty: it is about the whole element."""

    kind: Kind
    element: str
    name: str
    attribute: str
    old: str
    new: str
    consequence: str
    places: list[PlaceJson]

    @property
    def what(self) -> str:
        """What it is about: ``Server c/s3 CloneID: k3 -> k9``."""
        text = " ".join(filter(None, (self.element, self.name, self.attribute)))
        if self.old or self.new:
            text += f": {self.old or '(none)'} -> {self.new or '(none)'}"
        return text

    @property
    def where(self) -> str:
        """``old.xml:3, new.xml:4``."""
        return places_text(
            f"{place.file}:{place.line}" if place.line else place.file for place in self.places
        )


class DiffJson(msgspec.Struct, kw_only=True, tag_field="type", tag="diff"):
    """The whole of ``--json``."""

    old: str
    new: str
    same: bool
    added: int
    gone: int
    changed: int
    changes: list[ChangeJson]
    log: ElsewhereJson | None = None
    not_compared: list[str] = []
    sentence: str


def diff_json(
    names: tuple[str, str], difference: Difference, log: ElsewhereJson | None
) -> DiffJson:
    """All of it; ``names``: of the old and of the new file."""
    changes = difference.changes
    counts = Counter(each.kind for each in changes)
    told = [f"{counts[kind]} {kind}" for kind in MARKS if counts[kind]]
    if changes:
        sentence = f"{count_of(len(changes), 'difference')}: {', '.join(told)}."
    else:
        sentence = "No difference found." if difference.not_compared else "Same meaning."
    if difference.not_compared:
        sentence += " Not all was compared."
    return DiffJson(
        old=printable(names[0]),
        new=printable(names[1]),
        same=not changes and not difference.not_compared,
        added=counts["added"],
        gone=counts["gone"],
        changed=counts["changed"],
        changes=[
            ChangeJson(
                each.kind,
                each.element,
                printable(each.name),
                each.attribute,
                printable(each.old),
                printable(each.new),
                printable(each.consequence),
                [PlaceJson(printable(place.file), place.line) for place in each.places],
            )
            for each in changes
        ],
        log=log,
        not_compared=list(difference.not_compared),
        sentence=sentence,
    )


def parts_of(changes: Sequence[ChangeJson]) -> Iterator[tuple[str, list[ChangeJson], int]]:
    """Each part with the changes that people see, and how many more there are; of one sort only the first few."""
    known = {element for _, elements in _PARTS for element in elements}
    for title, elements in _PARTS:
        shown: list[ChangeJson] = []
        seen: Counter[tuple[str, ...]] = Counter()
        more = 0
        for each in changes:
            if each.element not in elements and (elements or each.element in known):
                continue
            sort = (each.kind, each.element, each.attribute)
            seen[sort] += 1
            if seen[sort] > MOST_SHOWN:
                more += 1
            else:
                shown.append(each)
        if shown:
            yield title, shown, more


def kind_text(kind: KindJson) -> str:
    """``12 requests go to another cluster: shop -> shop2``."""
    goes = MEANING[kind.what]
    if kind.requests == 1:
        verb, _, rest = goes.partition(" ")
        goes = f"{verb}{'es' if verb == 'go' else 's'} {rest}"
    way = f"{printable(kind.old) or '(no route)'} -> {printable(kind.new) or '(no route)'}"
    of = f" of {count_of(kind.sessions, 'session')}" if kind.sessions else ""
    return f"{count_of(kind.requests, 'request')}{of} {goes}: {way}"


def write_diff(result: DiffJson) -> str:
    """The whole page."""
    lead = f"<p class='dim'><code>{escape(result.old)}</code> &rarr; <code>{escape(result.new)}</code></p>"
    log = result.log
    sentence = result.sentence + (f" {log.sentence[0].upper()}{log.sentence[1:]}" if log else "")
    is_bad = result.gone or (log and log.elsewhere)
    body = [verdict(sentence, "" if result.same else "bad" if is_bad else "open")]
    if log is not None:
        body.append(section("Requests of the log that go elsewhere", _log(log)))
    if result.not_compared:
        items = "".join(f"<p>{escape(what)}</p>" for what in result.not_compared)
        body.append(section("Not compared", items))
    for title, changes, more in parts_of(result.changes):
        rest = f"<p class='dim'>and {more} more; --json has all</p>" if more else ""
        body.append(section(title, _changes(changes), rest))
    return page("wsproxy diff", lead, body)


def _changes(changes: Sequence[ChangeJson]) -> str:
    rows = [
        f"<tr><td class='{_CLASSES[each.kind]}'>{each.kind}</td><td class='w'>{escape(each.consequence)}<br>"
        f"<span class='dim'><code>{escape(each.what)}</code><br>{escape(each.where)}</span></td></tr>"
        for each in changes
    ]
    return table(("", "what it means"), rows, names=2)


def _log(log: ElsewhereJson) -> str:
    head = f"<p class='dim'>{escape(', '.join(log.logs))}</p>"
    if not log.kinds:
        return f"{head}<p>None of {count_of(log.requests, 'request')}.</p>"
    rows = [
        f"<tr><td class='w'>{escape(MEANING[kind.what])}<br><code>{escape(kind.old) or '(no route)'} &rarr; "
        f"{escape(kind.new) or '(no route)'}</code><br><span class='dim'>{_examples(kind)}</span></td>"
        f"{numbers(kind.requests, kind.sessions)}</tr>"
        for kind in log.kinds[:MOST_SHOWN]
    ]
    more = len(log.kinds) - len(rows) + log.more_kinds
    rest = f"<p class='dim'>and {more} more kinds; --json has them</p>" if more else ""
    return head + table(("they", "requests", "sessions"), rows) + rest


def _examples(kind: KindJson) -> str:
    return "<br>".join(
        f"{escape(f'{each.file}:{each.line}')} <code>{escape(each.request)}</code>"
        for each in kind.examples
    )
