"""
``Config`` -> plugin-cfg.xml, with everything that the model holds: reading the text gives an equal ``Config``.

Driven by ``wsproxy merge``. Pure. What a file stated is written, and what differs from a default; a default that nobody
stated is not, as IBM's plug-in may have another one (``SSLConsolidate``, ``PostBufferSize``). What is not known is written where it stood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from wsproxy.config.attributes import ALIASES, specs_of
from wsproxy.config.grammar import GRAMMAR, ROOT, Part, in_order
from wsproxy.config.layout import Node, check_characters, comment, page
from wsproxy.config.model import Config, Element, Extra

_NOTHING = Extra()


def write_config(config: Config, *, header: str = "") -> str:
    """
    The text of a file that says what ``config`` says, to be encoded as UTF-8; ``header`` becomes a comment above it.

    Text between elements is not in the model, and so not here.

    Raises:
        ValueError: a value has a character that XML cannot hold; one that was read never has.
    """
    root = _node(ROOT, config, GRAMMAR.parts)
    if header:
        root.before.append(comment(header))
    text = page(root)
    check_characters(text)
    return text


@dataclass(frozen=True, slots=True)
class _Attribute:
    """How one field of a class is written."""

    field: str
    name: str
    default: Any
    alias: str  # another name that a reader takes for it; empty: none


@cache
def _attributes(cls: type) -> tuple[_Attribute, ...]:
    """The attributes of a class of the model."""
    defaults = {
        # a required attribute is always written
        item.name: object() if spec.required else item.default
        for item in dataclasses.fields(cls)
        if (spec := specs_of(cls).get(item.name))
    }
    aliases = {name: alias for alias, name in ALIASES.get(cls, {}).items()}
    return tuple(
        _Attribute(field, spec.name, defaults[field], aliases.get(spec.name, ""))
        for field, spec in specs_of(cls).items()
    )


@cache
def _defaults(cls: type) -> dict[str, Any]:
    return {item.name: item.default for item in dataclasses.fields(cls)}


def _node(tag: str, item: Any, parts: Mapping[str, Part]) -> Node:
    cls: Any = type(item)
    extra: Extra = item.extra or _NOTHING
    lists = dict(extra.lists)
    children: list[Node] = []
    for name, part in parts.items():
        value = getattr(item, part.field)
        if part.is_old_name or value is None:
            continue
        if part.is_many:
            children += [_node(name, each, part.parts) for each in value]
        elif part.cls is None:
            # an empty list says something where the default is none at all: BackupServers of a cluster
            if value != _defaults(cls)[part.field] or name in lists:
                children.append(_list(name, value, part, lists.get(name, _NOTHING)))
        else:
            children.append(
                _element(value) if part.cls is Element else _node(name, value, part.parts)
            )
    children += [_element(each) for each in extra.elements]
    return Node(tag, _written(item, extra), in_order(children, parts, lambda node: node.name))


def _list(name: str, items: tuple[Any, ...], part: Part, extra: Extra) -> Node:
    """An element that does nothing but hold ``items``."""
    ((tag, inner),) = part.parts.items()
    children = [_node(tag, item, inner.parts) for item in items]
    children += [_element(each) for each in extra.elements]
    return Node(name, extra.attributes, children)


def _written(item: Any, extra: Extra) -> list[tuple[str, str]]:
    """Names and texts of all attributes, sorted as IBM's generators sort them: capitals before small letters."""
    cls: Any = type(item)
    stated = item.written
    found = list(extra.attributes)
    for attribute in _attributes(cls):
        value = getattr(item, attribute.field)
        name = attribute.name
        if attribute.alias and attribute.alias in stated and name not in stated:
            name = attribute.alias
        if value is not None and (name in stated or value != attribute.default):
            found.append((name, _text(value)))
    found.sort()
    return found


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _element(element: Element) -> Node:
    """A subtree as it stands: what it means is not known, and so neither whether its order matters."""
    children = [_element(child) for child in element.children]
    return Node(element.name, element.attributes, children, element.text)
