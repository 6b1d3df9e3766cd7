"""
plugin-cfg.xml -> ``Config`` and every problem in it.

Driven by ``cli.check``, ``cli.run`` and reload through ``load_config``. Must not judge how the parts fit together: that is
``config.check``, called at the end. The file is not trusted: ``config.xml_tree`` bounds what it can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from wsproxy.config.attributes import AttributeReader
from wsproxy.config.check import check
from wsproxy.config.grammar import GRAMMAR, NO_PARTS, Part, in_order
from wsproxy.config.model import Config, Element, Extra, Unknown, Uri, VirtualHost
from wsproxy.config.patterns import parse_virtual_host, uri_doubt, virtual_host_doubt
from wsproxy.config.problems import ProblemList, quoted
from wsproxy.config.xml_tree import TreeNode, lines_of, parse_tree, read_bytes, sourceline
from wsproxy.errors import Counts, Problem

MAX_DEPTH = 32  # the grammar needs 5 (Config/ServerCluster/Server/Transport/Property); libxml2 itself stops at 256
_Node = TreeNode
_STRAY_TEXT = etree.XPath("/descendant-or-self::*/text()[normalize-space()]", smart_strings=True)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be used, the warnings about it, and notes; ``counts``: of all there are."""

    config: Config
    problems: tuple[Problem, ...]
    counts: Counts
    notes: tuple[Problem, ...] = ()


def load_config(
    path: str | Path, ignored: Collection[str] = (), *, is_part: bool = False
) -> LoadedConfig:
    """
    The configuration in the file at ``path``, read and checked; does I/O. ``ignored``: codes that nobody wants to hear of.

    ``is_part``: of several that are merged, so that one alone need not lead anywhere.

    Raises:
        ConfigRefusedError: the file cannot be read or used; carries every problem.
    """
    data = read_bytes(path, ProblemList(str(path)))
    return parse_config(data, str(path), ignored, is_part=is_part)


def parse_config(
    data: bytes, file: str, ignored: Collection[str] = (), *, is_part: bool = False
) -> LoadedConfig:
    """
    The configuration in ``data``, read and checked; ``file`` is what problems call it, ``is_part`` as above.

    Raises:
        ConfigRefusedError: the text cannot be used; carries every problem.
    """
    problems = ProblemList(file, ignored)
    root = parse_tree(data, problems)
    reader = _Reader(lines_of(root, data), AttributeReader(problems, b"$" in data), problems)
    config = reader.read_config(root, file)
    check(config, problems, is_part=is_part)
    problems.raise_if_errors()
    return LoadedConfig(config, problems.in_file_order(), problems.count(), problems.notes())


@dataclass(frozen=True, slots=True)
class _List:
    """An element that does nothing but hold others: PrimaryServers, BackupServers, TrustedProxyGroup."""

    items: tuple[Any, ...] = ()
    line: int = 0
    extra: Extra | None = None
    written: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns elements into the model; knows which element may stand where, and nothing about attributes."""

    lines: Mapping[_Node, int]
    attributes: AttributeReader
    problems: ProblemList

    def read_config(self, root: _Node, file: str) -> Config:
        """The whole model; what could not be read is reported and left to its default."""
        config: Config = self._build(Config, root, GRAMMAR.parts)
        self._report_stray_text(root)
        return dataclasses.replace(config, path=file, unknown=tuple(self.attributes.unknown))

    def _line(self, element: _Node) -> int:
        return self.lines.get(element) or sourceline(element)

    def _build(self, cls: Any, element: _Node, parts: Mapping[str, Part] = NO_PARTS) -> Any:
        line = self._line(element)
        items: Any = element.items()  # the stubs allow bytes, which Python 3 never sees
        values = self.attributes.read(cls, str(element.tag), items, line)
        if len(element):
            self._read_children(element, parts, values)
        return cls(**values, line=line)

    def _read_children(
        self, element: _Node, parts: Mapping[str, Part], values: dict[str, Any]
    ) -> None:
        many: dict[str, list[Any]] = {}
        elements: list[Element] = []
        lists: list[tuple[str, Extra]] = []
        for node in element:
            part = parts.get(node.tag)
            if part is None:
                self._report_unknown(node, element, parts)
                elements.append(self._keep(node))
            elif part.is_many:
                many.setdefault(part.field, []).append(self._read(part, node))
            elif part.field in values:
                self._report_repeated(node, element)
                elements.append(self._keep(node))
            else:
                value = self._read(part, node)
                if isinstance(value, _List):
                    if value.extra is not None:
                        lists.append((str(node.tag), value.extra))
                    value = value.items
                values[part.field] = value
        for name, items in many.items():
            values[name] = tuple(items)
        if elements or lists:
            extra: Extra = values.get("extra") or Extra()
            # in one order, as that of elements of different kinds means nothing
            kept = in_order(elements, parts, lambda element: element.name)
            values["extra"] = Extra(
                extra.attributes, tuple(kept), tuple(sorted(lists, key=lambda pair: pair[0]))
            )

    def _read(self, part: Part, node: _Node) -> Any:
        special = _SPECIAL.get(part.cls)
        if special is not None:
            return special(self, node)
        if part.is_old_name:
            self._report_old_name(node)
        return self._build(part.cls or _List, node, part.parts)

    def _report_repeated(self, node: _Node, parent: _Node) -> None:
        self.problems.warning(
            "element-repeated",
            self._line(node),
            f"{node.tag} again in {parent.tag}; only the first one is used",
            f"one {node.tag} in {parent.tag}",
        )

    def _report_old_name(self, node: _Node) -> None:
        self.problems.warning(
            "name-old",
            self._line(node),
            "ServerGroup, the old name of ServerCluster; it is read as one",
            "ServerCluster",
        )

    def _report_unknown(self, node: _Node, parent: _Node, parts: Mapping[str, Part]) -> None:
        line = self._line(node)
        tag = str(node.tag)
        text = etree.tostring(node, encoding="unicode", with_tail=False)
        self.attributes.unknown.append(Unknown(tag, None, text, line))
        likely = self.problems.suggest(tag, parts)
        self.problems.warning(
            "element-unknown",
            line,
            f"element {quoted(tag)} in {parent.tag}, which is not known there and is NOT used",
            f"{likely} (nearest known name)" if likely else (", ".join(parts) or "nothing"),
        )

    def _report_stray_text(self, root: _Node) -> None:
        texts: Any = _STRAY_TEXT(root)
        for text in texts:
            self.problems.warning(
                "text-ignored",
                self._line(text.getparent()),
                f"text between elements: {quoted(' '.join(text.split()))}, which is not used",
                "elements and <!-- comments -->",
            )

    def read_virtual_host(self, element: _Node) -> VirtualHost:
        """A VirtualHost with its name split into host and port."""
        host: VirtualHost = self._build(VirtualHost, element)
        found = f"VirtualHost {quoted(host.name)}"
        if not host.name:  # reported as missing
            return host
        try:
            parts = parse_virtual_host(host.name)
        except ValueError as error:
            self.problems.error("virtual-host-name", host.line, found, str(error))
            return VirtualHost(host.name, "", None, host.line)
        if doubt := virtual_host_doubt(parts):
            self.problems.warning(
                "virtual-host-wildcard", host.line, f"{found}: {doubt[0]}", doubt[1]
            )
        return VirtualHost(host.name, parts.host, parts.port, host.line, host.extra, host.written)

    def read_uri(self, element: _Node) -> Uri:
        """A Uri, reported where it is not what its author can have meant."""
        uri: Uri = self._build(Uri, element)
        if uri.name and (doubt := uri_doubt(uri.name)):
            self.problems.warning(
                "uri-form", uri.line, f"Uri {quoted(uri.name)}: {doubt[0]}", doubt[1]
            )
        return uri

    def read_whole(self, element: _Node) -> Element:
        """A subtree as it stands, with placeholders reported but nothing interpreted."""
        return self._keep(element, is_known=True)

    def _keep(self, element: _Node, depth: int = 0, *, is_known: bool = False) -> Element:
        line = self._line(element)
        tag = str(element.tag)
        if depth == MAX_DEPTH:
            self.problems.error(
                "xml-limit",
                line,
                f"element {quoted(tag)} inside {MAX_DEPTH} others",
                "a file without such nesting",
            )
            return Element(tag, line=line)
        attributes = _attributes_of(element)
        if is_known:
            self.attributes.report_placeholders(tag, attributes, line)
        children = (self._keep(child, depth + 1, is_known=is_known) for child in element)
        return Element(tag, attributes, tuple(children), line, _text_of(element))


def _attributes_of(element: _Node) -> tuple[tuple[str, str], ...]:
    # sorted: their order means nothing, and so must not make two elements differ
    return tuple(sorted((str(name), str(value)) for name, value in element.items()))


def _text_of(element: _Node) -> str:
    """As ``Element.text`` wants it."""
    if not len(element):
        text = element.text or ""
        return text if text.strip() else ""
    pieces = (element.text, *(child.tail for child in element))
    return "\n".join(stripped for piece in pieces if (stripped := (piece or "").strip()))


# What is looked at beyond its attributes.
_SPECIAL: dict[Any, Callable[[_Reader, _Node], Any]] = {
    VirtualHost: _Reader.read_virtual_host,
    Uri: _Reader.read_uri,
    Element: _Reader.read_whole,
}
