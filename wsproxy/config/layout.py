"""
How the text of a plugin-cfg.xml looks: one element a line, indented and escaped as IBM's generators do it.

Driven by ``config.write`` (from the model) and ``config.fmt`` (from a file, with its comments). Must not know what anything means.
The same content gives the same text, whatever it was read from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
INDENT = "   "  # as WebSphere and Liberty indent

XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ESCAPED_IN_VALUES = {**_ESCAPED, '"': "&quot;", "\t": "&#9;", "\n": "&#10;"}
_TO_ESCAPE = re.compile("[&<>\r]")
_TO_ESCAPE_IN_VALUES = re.compile('[&<>"\r\t\n]')
# XML 1.0, 2.2: no escape brings these into a document
_NO_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(slots=True)
class Node:
    """
    One element, and the notes around it: comments, instructions and stray text, each as it is written.

    Names may be ``{namespace}name``. ``text`` is written as it stands, with the children between it where there are some.
    """

    name: str
    attributes: Sequence[tuple[str, str]] = ()
    children: list[Node] = field(default_factory=list)
    text: str = ""
    raw: str = ""  # markup that is written as it stands, and nothing else inside
    before: list[str] = field(default_factory=list)  # on lines of their own, above it
    beside: list[str] = field(
        default_factory=list
    )  # on the line on which it ends, or the whole of it stands
    opening: list[str] = field(default_factory=list)  # on the line of its start tag
    at_end: list[str] = field(default_factory=list)  # below its last child


def page(root: Node, *, after: Iterable[str] = ()) -> str:
    """The whole text, with a line's end at its end; ``after``: notes below the root element."""
    lines = [DECLARATION]
    _write(root, "", lines)
    lines += after
    return "\n".join(lines) + "\n"


def comment(text: str) -> str:
    """A comment with this text in it, which may have lines."""
    text = _NO_CHARACTER.sub("?", text)
    text = re.sub("-(?=-)", "- ", text)
    return f"<!-- {text} -->" if "\n" not in text else f"<!--\n{text}\n-->"


def escaped(text: str) -> str:
    """The text as it may stand between tags."""
    return (
        _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], text) if _TO_ESCAPE.search(text) else text
    )


def _value(text: str) -> str:
    """The text as it may stand in an attribute's quotes."""
    if not _TO_ESCAPE_IN_VALUES.search(text):
        return text
    return _TO_ESCAPE_IN_VALUES.sub(lambda found: _ESCAPED_IN_VALUES[found[0]], text)


def _write(node: Node, indent: str, lines: list[str]) -> None:
    lines += [indent + note for note in node.before]
    name, attributes = node.name, node.attributes
    if name[0] == "{" or any(key[0] == "{" for key, _ in attributes):
        name, attributes = _with_prefixes(name, attributes)
    start = "".join([indent, "<", name, *[f' {key}="{_value(text)}"' for key, text in attributes]])
    if not (node.children or node.at_end or node.opening):
        inside = node.raw or escaped(node.text)
        tag = f"{start}>{inside}</{name}>" if inside else f"{start}/>"
        lines.append(" ".join([tag, *node.beside]))
        return
    lines.append(" ".join([f"{start}>", *node.opening]))
    deeper = indent + INDENT
    if node.text:
        lines.append(deeper + escaped(node.text))
    for child in node.children:
        _write(child, deeper, lines)
    lines += [deeper + note for note in node.at_end]
    lines.append(" ".join([f"{indent}</{name}>", *node.beside]))


def _with_prefixes(
    name: str, attributes: Sequence[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """Names with prefixes instead of namespaces, and the declarations that these need, all on one element."""
    prefixes = {XML_NAMESPACE: "xml"}

    def short(long: str) -> str:
        if long[0] != "{":
            return long
        namespace, _, local = long[1:].partition("}")
        return f"{prefixes.setdefault(namespace, f'ns{len(prefixes)}')}:{local}"

    name = short(name)
    named = [(short(key), text) for key, text in attributes]
    declared = [(f"xmlns:{prefix}", uri) for uri, prefix in prefixes.items() if prefix != "xml"]
    return name, declared + named


def check_characters(text: str) -> None:
    """
    Returns where the text can stand in XML.

    Raises:
        ValueError: a character that XML has no way to write.
    """
    if found := _NO_CHARACTER.search(text):
        raise ValueError(
            f"found U+{ord(found[0]):04X}, which XML cannot hold; allowed is text without"
        )
