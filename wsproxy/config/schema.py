"""
The grammar of plugin-cfg.xml as an XML Schema (XSD 1.0), for editors: names, values, ranges and what each one means.

Driven by ``wsproxy schema``. Made from ``config.grammar`` and ``config.model`` alone, so it says what the reader says. An XSD cannot say
all of it: that Log stands once, and that names of Routes lead somewhere, is what ``wsproxy check`` finds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from wsproxy.config.attributes import ALIASES, INT_LIMIT, specs_of
from wsproxy.config.grammar import GRAMMAR, ROOT, Part
from wsproxy.config.layout import Node, page
from wsproxy.config.model import AttributeSpec, Element

_XS = "http://www.w3.org/2001/XMLSchema"
_BOOL = "bool"
_NAMED = "named"  # a text that is not empty


def schema_text() -> str:
    """The whole schema; the same at each call."""
    root = _xs("schema", elementFormDefault="unqualified")
    root.attributes = [("xmlns:xs", _XS), *root.attributes]
    root.before.append(
        "<!-- plugin-cfg.xml as wsproxy reads it. Written by `wsproxy schema`: docs/check.md tells how editors use it. -->"
    )
    root.children = [
        _element(ROOT, GRAMMAR, is_root=True),
        _words(_BOOL, ("true", "false")),
        _simple(_NAMED, "xs:string", ("minLength", "1")),
    ]
    return page(root)


def _xs(tag: str, **attributes: str) -> Node:
    return Node(f"xs:{tag}", list(attributes.items()))


def _element(name: str, part: Part, *, is_root: bool = False) -> Node:
    element = _xs("element", name=name)
    kind = _xs("complexType")
    if part.cls is Element:  # kept whole: anything goes
        kind.children = [
            _choice([_xs("any", processContents="skip")]),
            _xs("anyAttribute", processContents="skip"),
        ]
    else:
        if part.parts:
            kind.children.append(_choice([_element(*each) for each in part.parts.items()]))
        if part.cls is not None:
            kind.children += _attributes(part.cls)
    if part.is_old_name:
        element.children.append(_documentation("the name of version 4 for ServerCluster"))
    element.children.append(kind)
    if is_root:
        element.children[:0] = [_documentation("the whole file")]
    return element


def _choice(inner: list[Node]) -> Node:
    """In any order and number: the reader warns of what may stand once and stands twice."""
    choice = _xs("choice", minOccurs="0", maxOccurs="unbounded")
    choice.children = inner
    return choice


def _attributes(cls: Any) -> Iterator[Node]:
    defaults = {item.name: item.default for item in dataclasses.fields(cls)}
    aliases = {name: alias for alias, name in ALIASES.get(cls, {}).items()}
    for field, spec in sorted(specs_of(cls).items(), key=lambda item: item[1].name):
        names = [spec.name, *([aliases[spec.name]] if spec.name in aliases else [])]
        for name in names:
            yield _attribute(name, spec, defaults[field])


def _attribute(name: str, spec: AttributeSpec, default: object) -> Node:
    attribute = _xs("attribute", name=name)
    if spec.required:
        attribute.attributes = [*attribute.attributes, ("use", "required")]
    unit = f" ({spec.unit})" if spec.unit else ""
    absent = "" if spec.required or default in (None, "") else f"; absent: {_text(default)}"
    attribute.children.append(_documentation(f"{spec.meaning}{unit}{absent}"))
    if spec.kind == "str":
        kind = _NAMED if spec.required else "xs:string"
        attribute.attributes = [*attribute.attributes, ("type", kind)]
    elif spec.kind == "bool":
        attribute.attributes = [*attribute.attributes, ("type", _BOOL)]
    elif spec.kind == "enum":
        attribute.children.append(_words("", spec.allowed))
    else:
        low = -INT_LIMIT if spec.low is None else spec.low
        high = INT_LIMIT if spec.high is None else spec.high
        facets = (
            ("pattern", "-?[0-9]{1,10}"),
            ("minInclusive", str(low)),
            ("maxInclusive", str(high)),
        )
        attribute.children.append(_simple("", "xs:integer", *facets))
    return attribute


def _words(name: str, words: tuple[str, ...]) -> Node:
    return _simple(name, "xs:string", *(("enumeration", word) for word in words))


def _simple(name: str, base: str, *facets: tuple[str, str]) -> Node:
    kind = _xs("simpleType", name=name) if name else _xs("simpleType")
    restriction = _xs("restriction", base=base)
    restriction.children = [_xs(facet, value=value) for facet, value in facets]
    kind.children.append(restriction)
    return kind


def _documentation(text: str) -> Node:
    note = _xs("annotation")
    inner = _xs("documentation")
    inner.text = text.replace("`", "")
    note.children.append(inner)
    return note


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
