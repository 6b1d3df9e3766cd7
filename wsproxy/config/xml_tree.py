"""
Bytes of a plugin-cfg.xml -> lxml's tree, or why not; with ``config.xml`` the only module that touches lxml.

Driven by ``config.xml`` (the model) and ``config.fmt`` (the text). The file is not trusted: no DOCTYPE, no entities, no network,
bounded size and depth.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lxml import etree

from wsproxy.config.problems import ProblemList, quoted
from wsproxy.config.syntax import explain_syntax_error, first_start_tag, root_words, start_tag_lines

MAX_FILE_BYTES = 64 * 1024 * 1024  # six times the 10 MB that 10,000 URIs and 500 clusters take
MAX_ATTRIBUTES = 1000  # of one element; the grammar has 30, and lxml takes their square in time

_DOCTYPE = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>(?:\s++|<\?(?>.*?\?>)|<!--(?>.*?-->))*+)<!DOCTYPE", re.DOTALL
)
TreeNode = etree._Element


def read_bytes(path: str | Path, problems: ProblemList) -> bytes:
    """
    What is in the file at ``path``, and no more than is wanted of it; does I/O.

    Raises:
        ConfigRefusedError: it cannot be read.
    """
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
    return data


def parse_tree(data: bytes, problems: ProblemList, *, keep_notes: bool = False) -> TreeNode:
    """
    The root element, which is a Config; ``keep_notes``: with comments and instructions.

    Raises:
        ConfigRefusedError: there is none.
    """
    root = _parse(data, problems, keep_notes=keep_notes)
    if root is None:
        problems.raise_if_errors()
        raise AssertionError("no tree and no error")
    return root


class _NoOtherFiles(etree.Resolver):
    """Answers every wish for another file with an empty one."""

    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]  # stubs
        """Nothing, whatever is asked for; called by lxml."""
        # not resolve_empty(): after it libxml2 opens the file all the same (lxml 6.1, libxml2 2.14)
        return self.resolve_string("", context, base_url=None)


def _parser(*, keep_notes: bool = False) -> etree.XMLParser:
    # huge_tree stays off: with it libxml2 would let entities multiply and elements nest without end
    parser = etree.XMLParser(
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        remove_comments=not keep_notes,
        remove_pis=not keep_notes,
        collect_ids=False,
    )
    # resolve_entities=False is not enough: an external parameter entity (<!ENTITY % p SYSTEM ...>%p;) is still opened
    parser.resolvers.add(_NoOtherFiles())
    return parser


def _parse(data: bytes, problems: ProblemList, *, keep_notes: bool) -> TreeNode | None:
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
    parser = _parser(keep_notes=keep_notes)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        number = int(getattr(error, "code", 0) or 0)  # not in the stubs: libxml2's number
        _refuse_syntax(problems, data, number, error.msg or "", error.lineno or 1)
        return None
    # lxml looks at the last complaint only: a warning behind it hides that a prefix is not declared
    for entry in parser.error_log:
        if entry.level >= etree.ErrorLevels.ERROR:
            _refuse_syntax(problems, data, entry.type, entry.message, entry.line or 1)
            return None
    if (
        root.getroottree().docinfo.internalDTD is not None
    ):  # one that the bytes did not show: UTF-16
        _refuse_doctype(problems, 1)
        return None
    crowded = next((each for each in root.iter("*") if len(each.attrib) > MAX_ATTRIBUTES), None)
    if crowded is not None:
        problems.error(
            "xml-limit",
            sourceline(crowded),
            f"{len(crowded.attrib)} attributes on {quoted(str(crowded.tag))}",
            f"{MAX_ATTRIBUTES} at most",
        )
        return None
    if root.tag != "Config":
        first = first_start_tag(data)
        line = first[1] if first else sourceline(root)
        problems.error("root-not-config", line, *root_words(str(root.tag)))
        return None
    return root


def _refuse_doctype(problems: ProblemList, line: int) -> None:
    problems.error(
        "xml-doctype", line, "<!DOCTYPE", "a file without it: entities and DTDs are never read"
    )


def _refuse_syntax(
    problems: ProblemList, data: bytes, number: int, message: str, line: int
) -> None:
    explain_syntax_error(
        problems,
        number,
        _without_position(message),
        line,
        data,
        is_truncated=_is_truncated(data),
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


def sourceline(element: TreeNode) -> int:
    """The line on which its start tag ends, as libxml2 knows it; 0: it does not."""
    line: Any = element.sourceline  # the stubs have no type for it
    return line or 0


def lines_of(root: TreeNode, data: bytes) -> dict[TreeNode, int]:
    """Element -> line of its start tag; empty where the bytes cannot tell (UTF-16 and the like)."""
    elements = list(root.iter("*"))
    lines = start_tag_lines(data)
    return dict(zip(elements, lines, strict=True)) if len(elements) == len(lines) else {}


def is_note(node: TreeNode) -> bool:
    """Whether it is a comment or an instruction, which are in no model."""
    return not isinstance(node.tag, str)


def markup(node: TreeNode) -> str:
    """The node as text, without what stands behind it."""
    text: Any = etree.tostring(node, encoding="unicode", with_tail=False)
    return str(text)
