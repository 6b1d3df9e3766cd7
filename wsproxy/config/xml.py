"""
plugin-cfg.xml -> ``Config`` and every problem in it; the only module that touches lxml.

Driven by ``cli.check``, ``cli.run`` and reload through ``load_config``. Must not judge how the parts fit together: that is
``config.check``, called at the end. The file is not trusted: no DOCTYPE, no entities, no network, bounded size and depth.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

from wsproxy.config.attributes import AttributeReader
from wsproxy.config.check import check
from wsproxy.config.model import (
    Config,
    Element,
    Log,
    Property,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    TrustedProxy,
    Unknown,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.patterns import parse_virtual_host, uri_doubt, virtual_host_doubt
from wsproxy.config.problems import ProblemList, quoted
from wsproxy.config.syntax import explain_syntax_error, first_start_tag, root_words, start_tag_lines
from wsproxy.errors import Problem

MAX_FILE_BYTES = 64 * 1024 * 1024  # six times the 10 MB that 10,000 URIs and 500 clusters take
MAX_DEPTH = 32  # the grammar needs 5 (Config/ServerCluster/Server/Transport/Property); libxml2 itself stops at 256

_DOCTYPE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>(?:\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+)<!DOCTYPE", re.DOTALL
)
_Node = etree._Element
_STRAY_TEXT = etree.XPath("/descendant-or-self::*/text()[normalize-space()]", smart_strings=True)


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration that can be used, and the warnings about it."""

    config: Config
    problems: tuple[Problem, ...]


def load_config(path: str | Path) -> LoadedConfig:
    """
    The configuration in the file at ``path``, read and checked; does I/O.

    Raises:
        ConfigRefusedError: the file cannot be read or used; carries every problem.
    """
    problems = ProblemList(str(path))
    data = b""
    try:
        with Path(path).open("rb") as file:  # I/O
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        reason = getattr(error, "strerror", None) or str(error)
        problems.error(
            "file-unreadable", 0, f"that it cannot be read ({reason})", "a readable file"
        )
    problems.raise_if_errors()
    return parse_config(data, str(path))


def parse_config(data: bytes, file: str) -> LoadedConfig:
    """
    The configuration in ``data``, read and checked; ``file`` is what problems call it.

    Raises:
        ConfigRefusedError: the text cannot be used; carries every problem.
    """
    problems = ProblemList(file)
    root = _parse(data, problems)
    if root is None:
        problems.raise_if_errors()
        raise AssertionError("no tree and no error")
    reader = _Reader(_lines_of(root, data), AttributeReader(problems, b"$" in data), problems)
    config = reader.read_config(root, file)
    check(config, problems)
    problems.raise_if_errors()
    return LoadedConfig(config, problems.in_file_order())


class _NoOtherFiles(etree.Resolver):
    """Answers every wish for another file with an empty one."""

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]  # stubs
        """Nothing, whatever is asked for; called by lxml."""
        # not resolve_empty(): after it libxml2 opens the file all the same (lxml 6.1, libxml2 2.14)
        return self.resolve_string("", context, base_url=None)


def _parser() -> etree.XMLParser:
    # huge_tree stays off: with it libxml2 would let entities multiply and elements nest without end
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        collect_ids=False,
    )
    # resolve_entities=False is not enough: an external parameter entity (<!ENTITY % p SYSTEM ...>%p;) is still opened
    parser.resolvers.add(_NoOtherFiles())
    return parser


def _parse(data: bytes, problems: ProblemList) -> _Node | None:
    """The root element; None where an error was reported."""
    if len(data) > MAX_FILE_BYTES:
        limit = f"at most {MAX_FILE_BYTES // 2**20} MiB"
        problems.error("file-too-big", 0, "a file bigger than any configuration", limit)
        return None
    if not data.strip():
        problems.error(
            "file-empty", 1, "an empty file", "a whole file with the root element <Config>"
        )
        return None
    if doctype := _DOCTYPE.match(data):
        _refuse_doctype(problems, data.count(b"\n", 0, doctype.end()) + 1)
        return None
    try:
        root = etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        explain_syntax_error(
            problems,
            int(getattr(error, "code", 0) or 0),  # not in the stubs: libxml2's number
            _without_position(error.msg or ""),
            error.lineno or 1,
            data,
            is_truncated=_is_truncated(data),
        )
        return None
    if (
        root.getroottree().docinfo.internalDTD is not None
    ):  # one that the bytes did not show: UTF-16
        _refuse_doctype(problems, 1)
        return None
    if root.tag != "Config":
        first = first_start_tag(data)
        line = first[1] if first else _sourceline(root)
        problems.error("root-not-config", line, *root_words(str(root.tag)))
        return None
    return root


def _refuse_doctype(problems: ProblemList, line: int) -> None:
    problems.error(
        "xml-doctype", line, "<!DOCTYPE", "a file without it: entities and DTDs are never read"
    )


def _is_truncated(data: bytes) -> bool:
    """Whether broken data is the beginning of something right: fed in parts, nothing is wrong until its end."""
    parser = _parser()
    try:
        parser.feed(data)
    except etree.XMLSyntaxError:
        return False
    return True


def _without_position(message: str) -> str:
    return re.sub(r", line \d+, column \d+.*", "", message, flags=re.DOTALL)


def _sourceline(element: _Node) -> int:
    line: Any = element.sourceline  # the stubs have no type for it
    return line or 0


def _lines_of(root: _Node, data: bytes) -> dict[_Node, int]:
    """Element -> line of its start tag; empty where the bytes cannot tell (UTF-16 and the like)."""
    elements = list(root.iter("*"))
    lines = start_tag_lines(data)
    return dict(zip(elements, lines, strict=True)) if len(elements) == len(lines) else {}


@dataclass(frozen=True, slots=True)
class _Child:
    """How one child element is read, and which field takes it."""

    field: str
    read: Callable[[_Reader, _Node], Any]
    is_many: bool = False


@dataclass(frozen=True, slots=True)
class _Bare:
    """An element without attributes: PrimaryServers, BackupServers, TrustedProxyGroup."""

    items: tuple[Any, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns elements into the model; knows which element may stand where, and nothing about attributes."""

    lines: Mapping[_Node, int]
    attributes: AttributeReader
    problems: ProblemList

    def read_config(self, root: _Node, file: str) -> Config:
        """The whole model; what could not be read is reported and left to its default."""
        config: Config = self._build(Config, root, _IN_CONFIG)
        self._report_stray_text(root)
        return dataclasses.replace(config, path=file, unknown=tuple(self.attributes.unknown))

    def _line(self, element: _Node) -> int:
        return self.lines.get(element) or _sourceline(element)

    def _build(self, cls: Any, element: _Node, children: Mapping[str, _Child] | None = None) -> Any:
        line = self._line(element)
        items: Any = element.items()  # the stubs allow bytes, which Python 3 never sees
        values = self.attributes.read(cls, str(element.tag), items, line)
        if len(element):
            values.update(self._read_children(element, children or {}))
        return cls(**values, line=line)

    def _read_children(self, element: _Node, children: Mapping[str, _Child]) -> dict[str, Any]:
        many: dict[str, list[Any]] = {}
        values: dict[str, Any] = {}
        for node in element:
            child = children.get(node.tag)
            if child is None:
                self._report_unknown(node, element, children)
            elif child.is_many:
                many.setdefault(child.field, []).append(child.read(self, node))
            elif child.field in values:
                self.problems.warning(
                    "element-repeated",
                    self._line(node),
                    f"{node.tag} again in {element.tag}; only the first one is used",
                    f"one {node.tag} in {element.tag}",
                )
            else:
                values[child.field] = child.read(self, node)
        for name, items in many.items():
            values[name] = tuple(items)
        return values

    def _report_unknown(self, node: _Node, parent: _Node, children: Mapping[str, _Child]) -> None:
        line = self._line(node)
        tag = str(node.tag)
        text = etree.tostring(node, encoding="unicode", with_tail=False)
        self.attributes.unknown.append(Unknown(tag, None, text, line))
        likely = self.problems.suggest(tag, children)
        self.problems.warning(
            "element-unknown",
            line,
            f"element {quoted(tag)} in {parent.tag}, which is not known there and is NOT used",
            f"{likely} (nearest known name)" if likely else (", ".join(children) or "nothing"),
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

    def read_list(self, element: _Node, children: Mapping[str, _Child]) -> tuple[Any, ...]:
        """The children of an element that does nothing but hold them."""
        bare: _Bare = self._build(_Bare, element, children)
        return bare.items

    def read_server_group(self, element: _Node) -> Any:
        """A ServerCluster under the name that it had in version 4."""
        self.problems.warning(
            "name-old",
            self._line(element),
            "ServerGroup, the old name of ServerCluster; it is read as one",
            "ServerCluster",
        )
        return self._build(ServerCluster, element, _IN_CLUSTER)

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
        return VirtualHost(host.name, parts.host, parts.port, host.line)

    def read_uri(self, element: _Node) -> Uri:
        """A Uri, reported where it is not what its author can have meant."""
        uri: Uri = self._build(Uri, element)
        if uri.name and (doubt := uri_doubt(uri.name)):
            self.problems.warning(
                "uri-form", uri.line, f"Uri {quoted(uri.name)}: {doubt[0]}", doubt[1]
            )
        return uri

    def read_whole(self, element: _Node, depth: int = 0) -> Element:
        """A subtree as it stands, with placeholders reported but nothing interpreted."""
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
        attributes = tuple((str(name), str(value)) for name, value in element.items())
        self.attributes.report_placeholders(tag, attributes, line)
        return Element(
            tag, attributes, tuple(self.read_whole(child, depth + 1) for child in element), line
        )


def _plain(
    cls: Any, children: Mapping[str, _Child] | None = None
) -> Callable[[_Reader, _Node], Any]:
    """A function that reads an element as ``cls`` with no more ado."""
    inside = children or {}
    return lambda reader, element: reader._build(cls, element, inside)


def _list_of(children: Mapping[str, _Child]) -> Callable[[_Reader, _Node], Any]:
    """A function that reads an element as the tuple of its children."""
    return lambda reader, element: reader.read_list(element, children)


_PROPERTIES = {"Property": _Child("properties", _plain(Property), is_many=True)}
_IN_SERVER = {"Transport": _Child("transports", _plain(Transport, _PROPERTIES), is_many=True)}
_SERVER_REFS = {"Server": _Child("items", _plain(ServerRef), is_many=True)}
_IN_CLUSTER = {
    "Server": _Child("servers", _plain(Server, _IN_SERVER), is_many=True),
    "ClusterAddress": _Child("cluster_address", _plain(Server, _IN_SERVER)),
    "PrimaryServers": _Child("primary_servers", _list_of(_SERVER_REFS)),
    "BackupServers": _Child("backup_servers", _list_of(_SERVER_REFS)),
}
_VIRTUAL_HOSTS = {"VirtualHost": _Child("virtual_hosts", _Reader.read_virtual_host, is_many=True)}
_URIS = {"Uri": _Child("uris", _Reader.read_uri, is_many=True)}
_TRUSTED = {"TrustedProxy": _Child("items", _plain(TrustedProxy), is_many=True)}
_IN_CONFIG = {
    "Log": _Child("log", _plain(Log)),
    **_PROPERTIES,
    "VirtualHostGroup": _Child(
        "virtual_host_groups", _plain(VirtualHostGroup, _VIRTUAL_HOSTS), is_many=True
    ),
    "TrustedProxyGroup": _Child("trusted_proxies", _list_of(_TRUSTED)),
    "ServerCluster": _Child("server_clusters", _plain(ServerCluster, _IN_CLUSTER), is_many=True),
    "ServerGroup": _Child("server_clusters", _Reader.read_server_group, is_many=True),
    "UriGroup": _Child("uri_groups", _plain(UriGroup, _URIS), is_many=True),
    "Route": _Child("routes", _plain(Route), is_many=True),
    "RequestMetrics": _Child("request_metrics", _Reader.read_whole),
    "IntelligentManagement": _Child("intelligent_management", _Reader.read_whole),
}
