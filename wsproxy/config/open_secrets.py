"""
Passwords that stand in a plugin-cfg.xml in clear: what must not go where others read it.

Driven by ``cli.publish``. Looks at all that is written and not at the model: what nobody uses, and what stands in a comment, goes along, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wsproxy.config.problems import ProblemList, printable
from wsproxy.config.xml_tree import TreeNode, is_note, lines_of, parse_tree, sourceline
from wsproxy.errors import Problem

CODE = "secret-in-clear"
_WORD = re.compile(r"(?i)pass(word|wd|phrase)|secret")
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
            lines.get(node) or sourceline(node),
            f"{printable(name)} with a value in clear, which everybody who can read etcd would know",
            "a stash file on each proxy (Property stashfile), or upstream.tls.password_file in its wsproxy.toml: neither is published",
        )
        for node in root.getroottree().iter()
        for name in _names(node)
    ]


def _names(node: TreeNode) -> Iterator[str]:
    if not is_note(node):
        yield from _secrets([(str(name), str(value)) for name, value in node.items()])
        return
    # A comment may hold many elements: each one's attributes belong together.
    for piece in str(node.text or "").split("<"):
        pairs = [(each[1], each[2] or each[3] or "") for each in _WRITTEN.finditer(piece)]
        yield from _secrets(pairs)


def _secrets(attributes: list[tuple[str, str]]) -> Iterator[str]:
    given = {name.lower(): value for name, value in attributes}
    name = given.get("name", "")
    if _is_secret(name) and given.get("value"):
        yield f'Property "{name}"'
    yield from (name for name, value in attributes if _is_secret(name) and value)


def _is_secret(name: str) -> bool:
    return bool(_WORD.search(name)) and not _FILE.search(name)
