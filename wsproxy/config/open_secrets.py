"""
Passwords that stand in a plugin-cfg.xml in clear: what must not go where others read it.

Driven by ``cli.publish``. Looks at all that is written and not at the model: what nobody uses, and what stands in a comment, goes along, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from wsproxy.config.problems import ProblemList, printable
from wsproxy.config.xml_tree import TreeNode, is_note, lines_of, parse_tree, sourceline
from wsproxy.errors import Problem

CODE = "secret-in-clear"
_WORD = re.compile(r"(?i)pass(word|wd|phrase)|pwd|secret")
# A file's name is no secret: what stands in it stays on each proxy.
_FILE = re.compile(r"(?i)file$")
# In a comment, where there are no attributes: SSLPKCSPassword="x", and a Property with its two in either order.
_WRITTEN = re.compile(r"""([\w.:-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


def open_secrets(data: bytes, file: str) -> list[Problem]:
    """
    Each with its line; ``file`` is what problems call it. Values are never told.

    Raises:
        ConfigRefusedError: it is no XML.
    """
    root = parse_tree(data, ProblemList(file), keep_notes=True)
    lines = lines_of(root, data)
    return [
        Problem(
            "error",
            CODE,
            file,
            (lines.get(node) or sourceline(node)) - back,
            f"{printable(name)} with a value in clear, which everybody who can read etcd would know",
            "a stash file on each proxy (Property stashfile), or upstream.tls.password_file in its wsproxy.toml: neither is published",
        )
        for node in _nodes(root)
        for name, back in _names(node)
    ]


def _nodes(root: TreeNode) -> Iterator[TreeNode]:
    """All of the file: an export says before its root who made it, and with what."""
    yield from root.itersiblings(preceding=True)
    yield from root.iter()
    yield from root.itersiblings()


def _names(node: TreeNode) -> Iterator[tuple[str, int]]:
    """With how many lines before the node's own; of text, as near as can be said."""
    text, tail = str(node.text or ""), str(node.tail or "")
    yield from ((name, -tail.count("\n", 0, at)) for name, at in _written(tail).items())
    if is_note(node):
        # A comment's line is that of its end.
        for name, start in _written(text).items():
            yield name, text.count("\n", start)
        return
    attributes = [(_local(str(name)), str(value)) for name, value in node.items()]
    yield from ((name, 0) for name in _secrets(attributes, text))
    yield from ((name, -text.count("\n", 0, at)) for name, at in _written(text).items())
    if _is_secret(_local(str(node.tag))) and text.strip():
        yield f"<{_local(str(node.tag))}>", 0


def _local(name: str) -> str:
    """Without its namespace."""
    return name.rpartition("}")[2]


def _written(text: str) -> dict[str, int]:
    """Names in what is no element, each with where its piece begins. It may hold many elements: each one's attributes belong together."""
    found: dict[str, int] = {}
    for piece in re.finditer(r"<?[^<]+", text) if "=" in text else ():
        written = unescape(piece[0])
        pairs = [(each[1], each[2] or each[3] or "") for each in _WRITTEN.finditer(written)]
        for name in _secrets(pairs):
            found.setdefault(name, piece.start())
    return found


def _secrets(attributes: list[tuple[str, str]], text: str = "") -> Iterator[str]:
    """Names in another case are looked at as well, and each of those that are there twice."""
    names = [value for name, value in attributes if name.lower() == "name"]
    has_value = any(value for name, value in attributes if name.lower() == "value")
    if has_value or text.strip():
        yield from (f'Property "{name}"' for name in names if _is_secret(name))
    yield from (name for name, value in attributes if _is_secret(name) and value)


def _is_secret(name: str) -> bool:
    return bool(_WORD.search(name)) and not _FILE.search(name)
