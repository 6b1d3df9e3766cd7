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
            (lines.get(node) or sourceline(node)) - back,
            f"{printable(name)} with a value in clear, which everybody who can read etcd would know",
            "a stash file on each proxy (Property stashfile), or upstream.tls.password_file in its wsproxy.toml: neither is published",
        )
        for node in root.getroottree().iter()
        for name, back in _names(node)
    ]


def _names(node: TreeNode) -> Iterator[tuple[str, int]]:
    """With how many lines before the node's own."""
    if not is_note(node):
        for name in _secrets([(str(name), str(value)) for name, value in node.items()]):
            yield name, 0
        return
    # A comment's line is that of its end. It may hold many elements: each one's attributes belong together.
    text = str(node.text or "")
    for piece in re.finditer(r"<?[^<]+", text):
        pairs = [(each[1], each[2] or each[3] or "") for each in _WRITTEN.finditer(piece[0])]
        for name in _secrets(pairs):
            yield name, text.count("\n", piece.start())


def _secrets(attributes: list[tuple[str, str]]) -> Iterator[str]:
    given = {name.lower(): value for name, value in attributes}
    name = given.get("name", "")
    if _is_secret(name) and given.get("value"):
        yield f'Property "{name}"'
    yield from (name for name, value in attributes if _is_secret(name) and value)


def _is_secret(name: str) -> bool:
    return bool(_WORD.search(name)) and not _FILE.search(name)
