"""
wsproxy.toml -> ``Settings``, or every problem in it with file and line.

Driven by ``cli.run``. Must not know what a setting is for: names, types and ranges come from ``config.settings``; only what
one setting demands of another is checked here. msgspec stops at its first problem, so each value is converted alone and the
problems are collected.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from wsproxy._fast.upgrade import is_protocol
from wsproxy.config.access_format import parse_format
from wsproxy.config.address import parse_address
from wsproxy.config.problems import nearest
from wsproxy.config.settings import (
    ACCESS_OFF,
    PLUGIN_WORDS,
    SOCKET_WORDS,
    LogSettings,
    Settings,
)
from wsproxy.config.settings_tls import (
    absolute,
    check_listener,
    check_upstream,
    with_absolute_files,
)
from wsproxy.errors import ConfigRefusedError

_HEADER_LINE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY_LINE = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_NAME_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
# RFC 9110 7.6.3: a pseudonym, or a host with its port.
_VIA = re.compile(r"(?=.{1,255}$)[A-Za-z0-9._-]+(:[0-9]{1,5})?")
_INTEGER_RANGE = "a whole number from {} to {}"
_FLOAT_RANGE = "a number from {:g} to {:g}"

# where a value stands: names of tables and keys, and the index among repeated tables
KeyPath = tuple[str | int, ...]


def read_settings(path: Path) -> Settings:
    """
    The settings that the file at ``path`` holds, defaults where it says nothing; does I/O.

    Raises:
        ConfigRefusedError: the file cannot be read or used; lists every problem, one a line.
    """
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigRefusedError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigRefusedError(
            f"{path}: found byte {error.object[error.start]:#04x} at offset {error.start}; allowed is UTF-8"
        ) from error
    return parse_settings(text, path)


def parse_settings(text: str, path: Path) -> Settings:
    """
    The settings in ``text``; ``path`` is named in problems and is what relative folders start from.

    Raises:
        ConfigRefusedError: lists every problem, one a line, as ``file:line: found X; allowed is Y``.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigRefusedError(_syntax_problem(str(error), text, path)) from error
    problems = _Problems(path, _key_lines(text))
    _check_table(Settings, document, (), problems)
    problems.raise_if_any()
    settings = msgspec.convert(document, Settings)
    settings = _with_absolute_paths(settings, path)
    _check_together(settings, problems)
    problems.raise_if_any()
    return settings


@dataclass(slots=True)
class _Problems:
    """Collects ``file:line: text``, sorted by line in the end."""

    path: Path
    lines: dict[KeyPath, int]
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, key_path: KeyPath, text: str) -> None:
        """Adds a problem at the line of the key, or of the nearest thing around it that has a line."""
        at = key_path
        while at and at not in self.lines:
            at = at[:-1]
        self.found.append((self.lines.get(at, 1), text))

    def raise_if_any(self) -> None:
        """Raises ConfigRefusedError with all problems so far."""
        if self.found:
            raise ConfigRefusedError(
                "\n".join(f"{self.path}:{line}: {text}" for line, text in sorted(self.found))
            )


def _key_lines(text: str) -> dict[KeyPath, int]:
    """
    The line of each table and key.

    A scan of lines, not a parser: tomllib has read the text before and keeps no positions. Keys inside an inline table get
    the line of the table's key; lines of a multi-line string may be taken for keys, which costs a wrong number at worst.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER_LINE.match(line):
            table = _in_last(_parts(header[2]), counts)
            lines.setdefault(table, number)
            if header[1] == "[[":
                index = counts.get(table, 0)
                counts[table] = index + 1
                table = (*table, index)
                lines[table] = number
        elif key := _KEY_LINE.match(line):
            key_path = table
            for part in _parts(key[1]):
                key_path = (*key_path, part)
                lines.setdefault(key_path, number)
    return lines


def _in_last(parts: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """``parts`` of a header with the index of each repeated table around it: TOML means the last one."""
    at: KeyPath = ()
    for part in parts[:-1]:
        at = (*at, part)
        if at in counts:
            at = (*at, counts[at] - 1)
    return (*at, *parts[-1:])


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _NAME_PART.findall(dotted))


def _check_table(
    struct: type[msgspec.Struct], table: object, at: KeyPath, problems: _Problems
) -> None:
    """Adds a problem for each key of ``table`` that ``struct`` does not know or whose value it refuses."""
    if not isinstance(table, dict):
        problems.add(
            at, f"{_dotted(at)}: found {_shown(table)}; allowed is a table, [{_dotted(at)}]"
        )
        return
    known = {info.encode_name: info for info in fields(struct)}
    for key, value in table.items():
        here = (*at, key)
        info = known.get(key)
        if info is None:
            problems.add(here, _unknown_key(key, at, list(known)))
        elif inner := table_of(info):
            if isinstance(info.type, type):
                _check_table(inner, value, here, problems)
            else:
                _check_tables(inner, value, here, problems)
        else:
            _check_value(info, value, here, problems)


def table_of(info: FieldInfo) -> type[msgspec.Struct] | None:
    """The struct of a setting that is a table or repeated tables; None for a value."""
    kind: Any = info.type
    if not isinstance(kind, type) and get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _check_tables(
    struct: type[msgspec.Struct], tables: object, at: KeyPath, problems: _Problems
) -> None:
    name = _dotted(at)
    if not isinstance(tables, list):
        problems.add(
            at, f"{name}: found {_shown(tables)}; allowed are tables, each under [[{name}]]"
        )
        return
    for index, table in enumerate(tables):
        here = (*at, index)
        _check_table(struct, table, here, problems)
        if isinstance(table, dict) and name == "listener":
            _check_listener_address(table, here, problems)


def _check_listener_address(table: dict[str, object], at: KeyPath, problems: _Problems) -> None:
    address = table.get("address")
    if address is None:
        problems.add(at, 'listener: found no address; allowed is address = "HOST:PORT"')
    elif isinstance(address, str):
        _check_address(address, (*at, "address"), problems, is_listener=True)


def _check_value(info: FieldInfo, value: object, at: KeyPath, problems: _Problems) -> None:
    try:
        msgspec.convert(value, info.type)
    except msgspec.ValidationError:
        problems.add(at, f"{_dotted(at)}: found {_shown(value)}; allowed is {allowed_values(info)}")


def _check_network(text: str, at: KeyPath, problems: _Problems) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        problems.add(
            at,
            f'{_dotted(at)}: found "{text}" ({error}); allowed is an address or a network like 10.0.0.0/8',
        )


def _check_address(text: str, at: KeyPath, problems: _Problems, *, is_listener: bool) -> None:
    try:
        parse_address(text, is_listener=is_listener)
    except ValueError as error:
        problems.add(at, f"{_dotted(at)}: {error}")


def _check_together(settings: Settings, problems: _Problems) -> None:
    """Adds what one setting demands of another; each value alone is known to be good."""
    fallback, limits = settings.fallback, settings.limits
    for index, listener in enumerate(settings.listeners):
        for text in listener.proxy_protocol:
            _check_network(text, ("listener", index, "proxy_protocol"), problems)
        for name, text in check_listener(listener):
            problems.add(("listener", index, name), f"listener.{name}: {text}")
    for text in settings.explain.trusted:
        _check_network(text, ("explain", "trusted"), problems)
    for name, text in check_upstream(settings.upstream.tls):
        problems.add(("upstream", "tls", name), f"upstream.tls.{name}: {text}")
    _check_protocols(settings, problems)
    _check_access_log(settings.log, problems)
    if limits.target_bytes > limits.head_bytes:
        problems.add(
            ("limits", "target_bytes"),
            f"limits.target_bytes: found {limits.target_bytes}; allowed is at most limits.head_bytes, {limits.head_bytes}",
        )
    if fallback.upstream:
        _check_address(fallback.upstream, ("fallback", "upstream"), problems, is_listener=False)
    elif fallback.mode == "upstream":
        problems.add(
            ("fallback", "mode"),
            'fallback.mode: found "upstream" without fallback.upstream; allowed with upstream = "HOST:PORT"',
        )
    if fallback.mode == "directory" and not fallback.directory:
        problems.add(
            ("fallback", "mode"),
            'fallback.mode: found "directory" without fallback.directory; allowed with directory = "FOLDER"',
        )
    elif fallback.mode == "directory" and not Path(fallback.directory).is_dir():
        problems.add(
            ("fallback", "directory"),
            f"fallback.directory: found {fallback.directory!r}, which is no folder; allowed is one",
        )


def _check_protocols(settings: Settings, problems: _Problems) -> None:
    """Adds what is wrong with names that go into HTTP fields."""
    if settings.http.via and not _VIA.fullmatch(settings.http.via):
        problems.add(
            ("http", "via"),
            f"http.via: found {_shown(settings.http.via)}; allowed is a word of at most 255 letters, digits, - . _, or HOST:PORT",
        )
    for text in settings.upgrade.protocols:
        if not is_protocol(text):
            problems.add(
                ("upgrade", "protocols"),
                f'upgrade.protocols: found "{text}"; allowed is the name of a protocol, like "websocket", or "*", but never h2c, h2, http, or tls',
            )


def _check_access_log(log: LogSettings, problems: _Problems) -> None:
    if not log.access or log.access.startswith("|"):
        problems.add(
            ("log", "access"),
            f'log.access: found "{log.access}"; allowed is a file, or "{ACCESS_OFF}": wsproxy pipes to no program',
        )
    try:
        parse_format(log.access_format)
    except ValueError as error:
        problems.add(("log", "access_format"), f"log.access_format: {error}")


def _with_absolute_paths(settings: Settings, path: Path) -> Settings:
    """The same settings; files and folders in it no longer depend on where wsproxy was started."""
    listeners = tuple(with_absolute_files(each, path.parent) for each in settings.listeners)
    tls = settings.upstream.tls
    tls = msgspec.structs.replace(
        tls,
        trust=absolute(tls.trust, path.parent),
        password_file=absolute(tls.password_file, path.parent),
    )
    settings = msgspec.structs.replace(
        settings,
        listeners=listeners,
        upstream=msgspec.structs.replace(settings.upstream, tls=tls),
    )
    if settings.log.plugin and settings.log.plugin not in PLUGIN_WORDS:
        log = msgspec.structs.replace(
            settings.log, plugin=absolute(settings.log.plugin, path.parent)
        )
        settings = msgspec.structs.replace(settings, log=log)
    access = settings.log.access
    if access and access != ACCESS_OFF and not access.startswith("|"):
        log = msgspec.structs.replace(settings.log, access=absolute(access, path.parent))
        settings = msgspec.structs.replace(settings, log=log)
    if settings.admin.socket and settings.admin.socket not in SOCKET_WORDS:
        admin = msgspec.structs.replace(
            settings.admin, socket=absolute(settings.admin.socket, path.parent)
        )
        settings = msgspec.structs.replace(settings, admin=admin)
    if not settings.fallback.directory:
        return settings
    directory = str((path.parent / settings.fallback.directory).resolve())
    return msgspec.structs.replace(
        settings, fallback=msgspec.structs.replace(settings.fallback, directory=directory)
    )


def allowed_values(info: FieldInfo) -> str:
    """What a setting accepts, in words: used in problems and compared with docs/settings.md."""
    kind: Any = msgspec.inspect.type_info(info.type)
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    match kind:
        case msgspec.inspect.IntType():
            return _INTEGER_RANGE.format(kind.ge, kind.le)
        case msgspec.inspect.FloatType():
            return _FLOAT_RANGE.format(kind.ge, kind.le)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.VarTupleType():
            return "a list of texts in quotes"
        case msgspec.inspect.LiteralType():
            return " or ".join(f'"{value}"' for value in kind.values)
        case _:
            return "text in quotes"


def _unknown_key(key: str, at: KeyPath, known: list[str]) -> str:
    """The problem text for an unknown key, with the nearest known name of this table or of any other."""
    likely = nearest(key, known)
    if likely is None:
        everywhere = {
            info.encode_name: f"{table.encode_name}.{info.encode_name}"
            for table in fields(Settings)
            if isinstance(table.type, type) and issubclass(table.type, msgspec.Struct)
            for info in fields(table.type)
        }
        likely = everywhere.get(nearest(key, everywhere) or "")
    hint = f"did you mean {likely}?" if likely else f"allowed is one of {', '.join(known)}"
    return f"found unknown setting {_dotted((*at, key))}; {hint}"


def _syntax_problem(message: str, text: str, path: Path) -> str:
    """``file:line: ...`` from tomllib's message, which ends in ``(at line 3, column 5)`` or ``(at end of document)``."""
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = at[1] if at and at[1] else max(1, len(text.splitlines()))
    return f"{path}:{line}: found what is no TOML: {message[: at.start()] if at else message}"


def _dotted(key_path: KeyPath) -> str:
    return ".".join(str(part) for part in key_path if isinstance(part, str))


def _shown(value: object) -> str:
    """The value as TOML writes it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
