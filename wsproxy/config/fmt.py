"""
The canonical text of a plugin-cfg.xml: what stands in the file and nothing else, with its comments, in one order and one layout.

Driven by ``cli.fmt``. Must not change what the file means, and makes sure of it: what it wrote is read and compared. Works on the
tree, not on the model: a value stays as it is written, and what no reader knows stays, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from wsproxy.config.attributes import ALIASES
from wsproxy.config.grammar import GRAMMAR, NO_PARTS, Part, in_order
from wsproxy.config.layout import XML_NAMESPACE, Node, escaped, page
from wsproxy.config.model import Element
from wsproxy.config.problems import ProblemList
from wsproxy.config.xml import parse_config
from wsproxy.config.xml_tree import TreeNode, is_note, markup, parse_tree
from wsproxy.errors import ConfigRefusedError, Counts

_BLANKS = " \t"


def format_config(data: bytes, file: str) -> str:
    """
    The canonical text of the file's ``data``, to be encoded as UTF-8; ``file`` is what problems call it.

    Raises:
        ConfigRefusedError: the file cannot be used; carries every problem.
    """
    config = parse_config(data, file).config
    root = parse_tree(data, ProblemList(file), keep_notes=True)
    node = _known(root, GRAMMAR)
    node.before = [markup(note) for note in reversed([*root.itersiblings(preceding=True)])]
    text = page(node, after=[markup(note) for note in root.itersiblings()])
    if parse_config(text.encode(), file).config != config:
        # never seen, and better said than written
        raise ConfigRefusedError(
            f"{file}: its canonical form would mean something else, which is a fault of wsproxy: nothing was written",
            (),
            Counts(errors=1),
        )
    return text


def _known(element: TreeNode, part: Part) -> Node:
    """An element of the grammar; what stands in it is sorted."""
    node = Node(_name(element), _attributes(element, part.cls))
    children = in_order(_around(element, node, part.parts), part.parts, lambda pair: pair[0])
    node.children = [child for _, child in children]
    return node


def _unknown(element: TreeNode) -> Node:
    """An element of which nothing is known: its children stay in their order, and text that stands in it as it is."""
    node = Node(_name(element), _attributes(element, None))
    texts = (element.text, *(child.tail for child in element))
    if any(text and not text.isspace() for text in texts):
        inner = (escaped(child.tail or "") for child in element)
        parts = zip(map(markup, element), inner, strict=True)
        node.raw = escaped(element.text or "") + "".join(map("".join, parts))
    else:
        node.children = [child for _, child in _around(element, node, NO_PARTS)]
    return node


def _around(element: TreeNode, node: Node, parts: Mapping[str, Part]) -> list[tuple[str, Node]]:
    """The children with their tags; notes go to the child that they stand before, or to ``node``."""
    children: list[tuple[str, Node]] = []
    waiting: list[str] = []
    last: Node | None = None
    is_same_line = True  # as the start tag of ``element``, or the end of ``last``
    gap = element.text
    for child in element:
        stray = list(_lines(gap))
        waiting += stray
        is_same_line = is_same_line and not stray and "\n" not in (gap or "")
        if not is_note(child):
            tag = str(child.tag)
            part = parts.get(tag)
            last = _unknown(child) if part is None or part.cls is Element else _known(child, part)
            last.before, waiting = waiting, []
            children.append((tag, last))
            is_same_line = True
        else:
            note = markup(child)
            if is_same_line and "\n" not in note and _ends_line(child):
                (node.opening if last is None else last.beside).append(note)
            else:
                waiting.append(note)
            is_same_line = False
        gap = child.tail
    node.at_end = [*waiting, *_lines(gap)]
    return children


def _ends_line(note: TreeNode) -> bool:
    """Whether nothing stands behind it on its line, within its element."""
    rest = (note.tail or "").lstrip(_BLANKS)
    return rest.startswith("\n") or (not rest and note.getnext() is None)


def _lines(text: str | None) -> Iterator[str]:
    """Stray text, which has no effect, a line each."""
    for line in (text or "").split("\n"):
        if stripped := line.strip():
            yield escaped(stripped)


def _name(element: TreeNode) -> str:
    """As it is written, with its prefix."""
    local = str(element.tag).rpartition("}")[2]
    return f"{element.prefix}:{local}" if element.prefix else local


def _attributes(element: TreeNode, cls: type | None) -> list[tuple[str, str]]:
    """Declarations of namespaces, then the attributes, sorted as IBM's generators sort them."""
    spaces = element.nsmap
    named: list[tuple[str, str]] = []
    for key, value in element.items():
        name = str(key)
        if name[0] == "{":
            space, _, local = name[1:].partition("}")
            name = f"{_prefix(space, spaces)}:{local}"
        named.append((name, str(value)))
    # two spellings of one thing stay in the order in which they were: the last one counts
    aliases = ALIASES.get(cls, {}) if cls is not None else {}
    named.sort(key=lambda item: aliases.get(item[0], item[0]))
    return [*_declarations(element), *named]


def _declarations(element: TreeNode) -> Iterator[tuple[str, str]]:
    parent = element.getparent()
    outside = {} if parent is None else parent.nsmap
    inside = element.nsmap
    for prefix, space in sorted(inside.items(), key=lambda item: item[0] or ""):
        if outside.get(prefix) != space:
            yield f"xmlns:{prefix}" if prefix else "xmlns", space or ""


def _prefix(space: str, spaces: Mapping[str | None, str]) -> str:
    if space == XML_NAMESPACE:
        return "xml"
    return min(prefix for prefix, each in spaces.items() if each == space and prefix)
