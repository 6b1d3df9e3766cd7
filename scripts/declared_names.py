"""
Makes the build fail where the fast path asks for an attribute by name that nothing declares.

Cython takes such a name for Python's: a typo would be an AttributeError in the middle of a request. ``setup.py`` puts ``check``
into Cython's pipeline, behind the stage that knows types; so it runs for each ``.pyx`` that is compiled, and costs nothing
else. Must not import wsproxy: it is not built yet.

Allowed is: what the ``cdef class`` declares (of another module: in its ``.pxd``), what a builtin type has, what a module of the
standard library has, and what ``OBJECTS`` says of the few variables and fields that hold an object of Python's.
"""

from __future__ import annotations

import _ssl
import ast
import asyncio.sslproto
import builtins
import collections
import difflib
import importlib
import logging
import socket
import ssl
import sys
import weakref
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from Cython.Compiler import Pipeline
from Cython.Compiler.Errors import error
from Cython.Compiler.ParseTreeTransforms import AnalyseExpressionsTransform
from Cython.Compiler.Visitor import TreeVisitor

# Variables, arguments and fields that hold Python's objects, by their last word: where the names are that they have. A class
# of wsproxy's own is read, not imported.
OBJECTS: dict[str, object] = {
    "log": logging.Logger,
    "loop": asyncio.AbstractEventLoop,
    "sock": socket.socket,
    # The loops' own for TLS is what has all of the methods; `net.poller.PlainTransport` has those that are asked of it.
    "transport": asyncio.sslproto._SSLProtocolTransport,
    "turns": collections.deque,
    "late": collections.deque,
    "unmet": collections.deque,
    "views": weakref.WeakSet,
    "tls": _ssl._SSLSocket,
    "arrived": ssl.MemoryBIO,
    "taken": ssl.MemoryBIO,
    "probe": ssl.SSLContext,
    "change": "wsproxy/_fast/state/changes.pyi:Change",
    "gzipper": type(zlib.compressobj()),
    "packer": "wsproxy/_fast/proxy/squeeze.pyi:Packer",
    "explained": "wsproxy/dataplane/explained.py:Decision",
}

# What a method of a text or a container gives, and a part of that.
TEXTS = (bytes, str, list, tuple, dict, set)


def install() -> None:
    """
    From now on Cython checks names, too.

    Raises: RuntimeError where this Cython has no such stage.
    """
    create = Pipeline.create_pipeline

    def create_and_check(context: Any, mode: str, *rest: Any, **more: Any) -> list[Any]:
        stages: list[Any] = create(context, mode, *rest, **more)
        at = [i for i, stage in enumerate(stages) if isinstance(stage, AnalyseExpressionsTransform)]
        if not at:
            msg = "declared_names: found no AnalyseExpressionsTransform in Cython; allowed is 3.1"
            raise RuntimeError(msg)
        return [*stages[: at[0] + 1], check, *stages[at[0] + 1 :]]

    Pipeline.create_pipeline = create_and_check


def check(tree: Any) -> Any:
    """The same tree; what is wrong in it is an error of the compilation."""
    Names().visit(tree)
    return tree


class Names(TreeVisitor):  # type: ignore[misc]
    """Visits each access to an attribute that Cython would do by name."""

    def visit_Node(self, node: Any) -> None:  # noqa: N802
        """All the others."""
        self.visitchildren(node)

    def visit_AttributeNode(self, node: Any) -> None:  # noqa: N802
        """One access."""
        if node.is_py_attr and not _is_special(node.attribute) and _is_ours(node):
            complaint = _complaint(node)
            if complaint:
                error(node.pos, complaint)
        self.visitchildren(node)

    def visit_SimpleCallNode(self, node: Any) -> None:  # noqa: N802
        """One call."""
        by_name = node.function.is_name and node.function.name in {"getattr", "setattr", "delattr"}
        if by_name and _is_ours(node) and not _asks_for_word_of_errors(node):
            name = node.function.name
            error(node.pos, f"found {name}(); allowed is an attribute of a typed object")
        self.visitchildren(node)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_ours(node: Any) -> bool:
    """Not of what Cython itself adds."""
    return Path(node.pos[0].get_description()).suffix in {".pyx", ".pxd"} and not _is_added(node)


def _is_added(node: Any) -> bool:
    return not Path(node.pos[0].get_filenametable_entry()).is_file()


def _asks_for_word_of_errors(node: Any) -> bool:
    """``getattr(error, "errno", None)``: of whatever was raised."""
    words = [each.value for each in node.args[1:2] if each.is_string_literal]
    return len(node.args) == 3 and words == ["errno"]


def _complaint(node: Any) -> str:
    """Why the access is wrong; empty where it is not."""
    name = node.attribute
    of = _bare(node.obj)
    if of.type.is_extension_type:
        if any(scope.lookup_here(name) for scope in _scopes(of.type)):
            return ""
        where = f"a name that {of.type.name} declares"
        names = [each for scope in _scopes(of.type) for each in scope.entries if each]
        return f"found {_word(of)}.{name}; allowed is {where}{_like(name, names)}"
    kinds = list(_kinds(of))
    if not kinds:
        return (
            f"found {_word(of)}.{name} of an object without a type; allowed is a typed one, "
            "or a word that OBJECTS in scripts/declared_names.py has"
        )
    names = [each for kind in kinds for each in _names(kind)]
    if name in names:
        return ""
    kind = getattr(kinds[0], "__name__", kinds[0])
    return f"found {_word(of)}.{name}; allowed is a name that {kind} has{_like(name, names)}"


def _scopes(kind: Any) -> Iterator[Any]:
    while kind is not None:
        yield kind.scope
        kind = kind.base_type


def _like(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names)
    return f", such as {', '.join(dict.fromkeys(found))}" if found else ""


def _bare(node: Any) -> Any:
    """Without the coercions that Cython put around it."""
    while hasattr(node, "arg") and node.type.is_pyobject and not node.type.is_extension_type:
        if type(node).__name__ == "TypecastNode" or getattr(node.arg, "type", None) is None:
            break
        node = node.arg
    return node


def _word(node: Any) -> str:
    if node.is_attribute:
        return f"{_word(_bare(node.obj))}.{node.attribute}"
    return str(node.name) if node.is_name else "(...)"


def _kinds(node: Any) -> Iterator[object]:
    """The classes and modules of which one has what is asked for; none where nothing is known."""
    node = _bare(node)
    if node.type.is_builtin_type or node.type.is_string:
        kind = bytes if node.type.is_string else getattr(builtins, node.type.name, None)
        if kind is type and node.is_name:
            kind = getattr(builtins, node.name, kind)
        if kind is not None:
            yield kind
    elif node.is_attribute or node.is_name:
        yield from _kinds_of_word(node)
    elif node.is_subscript:
        if any(each in TEXTS for each in _kinds_of_result(_bare(node.base))):
            yield from TEXTS
    else:
        yield from _kinds_of_result(node)


def _kinds_of_word(node: Any) -> Iterator[object]:
    word = node.attribute if node.is_attribute else node.name
    if word in OBJECTS:
        yield OBJECTS[word]
    elif node.is_name and word in sys.stdlib_module_names and node.entry.scope.is_module_scope:
        yield importlib.import_module(word)


def _kinds_of_result(node: Any) -> Iterator[object]:
    """Of a call: a class of the standard library gives one of its own, a method of a text another."""
    function = getattr(node, "function", None)
    if function is None or not function.is_attribute:
        return
    for kind in _kinds(function.obj):
        made = getattr(kind, function.attribute, None)
        if isinstance(made, type):
            yield made
        elif kind in TEXTS:
            yield from TEXTS


@cache
def _names(kind: object) -> frozenset[str]:
    return frozenset(_names_in_source(kind)) if isinstance(kind, str) else frozenset(dir(kind))


def _names_in_source(place: str) -> Iterator[str]:
    source, _, name = place.partition(":")
    for node in ast.parse(Path(source).read_text()).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for each in ast.walk(node):
                yield from _names_made(each)


def _names_made(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        yield node.attr
