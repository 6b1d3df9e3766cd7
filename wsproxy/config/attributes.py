"""
XML attributes -> field values, as the ``AttributeSpec`` beside each field of ``config.model`` says.

Driven by ``config.xml``, once for each element. Must not know any element by name but for the old spellings listed here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wsproxy.config.model import (
    METADATA_KEY,
    AttributeSpec,
    Extra,
    Server,
    ServerCluster,
    Transport,
    TrustedProxy,
    Unknown,
    Uri,
    VirtualHost,
)
from wsproxy.config.problems import ProblemList, quoted, shown
from wsproxy.config.values import text_flaw

INT_LIMIT = 2**31 - 1  # the plug-in keeps these numbers in a C int

# other spellings that generators write (PLUGIN.md Q17): read as if the right-hand name stood there
ALIASES: dict[type, dict[str, str]] = {Server: {"wsIdleTimeout": "wsServerIdleTimeout"}}
# vendors' documents write these words their own way (PLUGIN.md 1.7): accepted with a warning
LENIENT_WORDS = {(ServerCluster, "LoadBalance")}

# texts whose blanks ``config.patterns``, ``config.values`` or ``config.check_cluster`` find
JUDGED = {
    (VirtualHost, "Name"),
    (Uri, "Name"),
    (Uri, "AffinityCookie"),
    (Uri, "AffinityURLIdentifier"),
    (Transport, "Hostname"),
    (Transport, "HostnameAlias"),
    (TrustedProxy, "Name"),
    (Server, "CloneID"),
}

_INT = re.compile(r"-?[0-9]{1,10}\Z")
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
_MISSING: Any = object()


@dataclass(slots=True)
class _Attribute:
    """One attribute of one class; ``values`` remembers texts that were read before, which most are."""

    field: str
    spec: AttributeSpec
    is_judged: bool  # elsewhere, with more knowledge of what it is
    values: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(slots=True)
class _Table:
    """The attributes that a class knows, by their XML names."""

    by_name: dict[str, _Attribute]
    required: list[_Attribute]


@dataclass(slots=True)
class AttributeReader:
    """Reads the attributes of one file; what it does not know is kept in ``unknown`` and reported."""

    problems: ProblemList
    has_placeholders: bool
    unknown: list[Unknown] = dataclasses.field(default_factory=list)
    tables: dict[type, _Table] = dataclasses.field(default_factory=dict)
    written: dict[tuple[str, ...], tuple[str, ...]] = dataclasses.field(default_factory=dict)

    def read(
        self, cls: type, element: str, items: Sequence[tuple[str, str]], line: int
    ) -> dict[str, Any]:
        """Field names and values for ``cls``; a field that is absent or wrong is left to its default."""
        table = self.tables.get(cls)
        if table is None:
            table = self.tables[cls] = _table_of(cls)
        names = tuple([name for name, _ in items])
        # nearly all elements of a class write the same names: kept once
        values: dict[str, Any] = {"written": self.written.setdefault(names, names)}
        unknown: list[tuple[str, str]] = []
        for name, text in items:
            attribute = table.by_name.get(name)
            if attribute is None:
                self._report_unknown(table, element, name, text, line)
                unknown.append((name, text))
                continue
            if attribute.spec.kind == "str":
                if self.has_placeholders and "${" in text:
                    self.report_placeholders(element, ((name, text),), line)
                if text and not attribute.is_judged and (flaw := text_flaw(text)):
                    self._report_flaw(element, (name, text), items, flaw, line)
                values[attribute.field] = text
                continue
            value = attribute.values.get(text, _MISSING)
            if value is _MISSING:
                value = self._convert(cls, attribute, element, text, line)
                if value is _MISSING:
                    continue
            values[attribute.field] = value
        for attribute in table.required:
            if not values.get(attribute.field):
                self._report_missing(attribute, element, values, table, items, line)
        if unknown:
            values["extra"] = Extra(tuple(sorted(unknown)))
        return values

    def _report_unknown(self, table: _Table, element: str, name: str, text: str, line: int) -> None:
        self.unknown.append(Unknown(element, name, text, line))
        likely = self.problems.suggest(name, table.by_name)
        self.problems.warning(
            "attribute-unknown",
            line,
            f"attribute {shown(name, text)} on {element}, which is not known and is NOT used",
            f"{likely} (nearest known name)"
            if likely
            else "an attribute that docs/plugin-cfg.md lists",
        )

    def _report_flaw(
        self,
        element: str,
        item: tuple[str, str],
        items: Iterable[tuple[str, str]],
        flaw: str,
        line: int,
    ) -> None:
        found, _, allowed = flaw.partition("; allowed is ")
        what = f"{shown(*item)} on {element}"
        if item[0] == "Value":  # of a Property: it may be a password
            name = next((text for name, text in items if name == "Name"), "")
            what = f"a Value of Property {quoted(name)}"
        self.problems.warning("value-blank", line, f"{what}{found}", allowed)

    def _convert(
        self, cls: type, attribute: _Attribute, element: str, text: str, line: int
    ) -> object:
        spec = attribute.spec
        value = parse_value(spec, text)
        if value is not None:
            attribute.values[text] = value
            return value
        found = f"{shown(spec.name, text)} on {element}"
        if (cls, spec.name) in LENIENT_WORDS and (word := _lenient_word(spec, text)):
            self.problems.warning(
                "word-spelling", line, f"{found}, read as {quoted(word)}", allowed_values(spec)
            )
            return word
        self.problems.error(
            "attribute-value", line, found, f"{allowed_values(spec)} ({spec.meaning})"
        )
        return _MISSING

    def _report_missing(
        self,
        attribute: _Attribute,
        element: str,
        values: dict[str, Any],
        table: _Table,
        items: Iterable[tuple[str, str]],
        line: int,
    ) -> None:
        spec = attribute.spec
        # required fields have no default of their own: give one of their kind, so that the checks can go on
        values[attribute.field] = 0 if spec.kind == "int" else ""
        if spec.kind != "str" and any(name == spec.name for name, _ in items):
            return  # its value was reported
        known = next((value for name, value in values.items() if name == "name" and value), "")
        of = f"{element} {quoted(known)}" if known else element
        what = (
            f'{spec.name}=""' if any(name == spec.name for name, _ in items) else f"no {spec.name}"
        )
        self.problems.error(
            "attribute-missing", line, f"{what} on {of}", f"{spec.name}: {spec.meaning}"
        )

    def report_placeholders(
        self, element: str, items: Iterable[tuple[str, str]], line: int
    ) -> None:
        """A warning for each value in which a ``${...}`` was left by whoever made the file."""
        for name, text in items:
            if self.has_placeholders and (match := _PLACEHOLDER.search(text)):
                self.problems.warning(
                    "placeholder",
                    line,
                    f"{shown(name, text)} on {element}: {match[0]} was not replaced",
                    "the value itself; nothing replaces ${...} in this file",
                )


def parse_value(spec: AttributeSpec, text: str) -> int | bool | str | None:
    """The value of a text of this kind; None where it is not one or is out of range."""
    if spec.kind == "int":
        if not _INT.match(text):
            return None
        number = int(text)
        low = -INT_LIMIT if spec.low is None else spec.low
        high = INT_LIMIT if spec.high is None else spec.high
        return number if low <= number <= high else None
    if spec.kind == "bool":
        return {"true": True, "false": False}.get(text)
    if spec.kind == "enum":
        return text if text in spec.allowed else None
    return text


def allowed_values(spec: AttributeSpec) -> str:
    """What may stand there, in words."""
    if spec.kind == "bool":
        return "true or false"
    if spec.kind == "enum":
        return " or ".join(quoted(word) for word in spec.allowed)
    if spec.kind == "str":
        return "text"
    low = -INT_LIMIT if spec.low is None else spec.low
    high = INT_LIMIT if spec.high is None else spec.high
    return f"a whole number from {low} to {high}"


def specs_of(cls: type) -> dict[str, AttributeSpec]:
    """Field name -> specification, for the fields of a model class that are attributes in the file."""
    return {
        item.name: item.metadata[METADATA_KEY]
        for item in dataclasses.fields(cls)
        if METADATA_KEY in item.metadata
    }


def _table_of(cls: type) -> _Table:
    attributes = [
        _Attribute(name, spec, (cls, spec.name) in JUDGED) for name, spec in specs_of(cls).items()
    ]
    by_name = {attribute.spec.name: attribute for attribute in attributes}
    for alias, name in ALIASES.get(cls, {}).items():
        by_name[alias] = by_name[name]
    return _Table(by_name, [attribute for attribute in attributes if attribute.spec.required])


def _lenient_word(spec: AttributeSpec, text: str) -> str | None:
    folded = re.sub(r"[\s_-]", "", text).lower()
    return next((word for word in spec.allowed if word.replace(" ", "").lower() == folded), None)
