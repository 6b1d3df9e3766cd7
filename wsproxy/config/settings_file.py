"""
wsproxy.toml -> ``Settings``, or every problem in it with file and line.

Driven by the commands, mostly through ``process.check_start``. Must not know what a setting is for: names, types and ranges
come from ``config.settings``, what one setting demands of another from ``config.check_settings``. msgspec stops at its first
problem, so each value is converted alone and the problems are collected.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo, fields

from wsproxy.config.access_target import is_file
from wsproxy.config.address import parse_address
from wsproxy.config.check_edge import check_edges, with_absolute_pages
from wsproxy.config.check_settings import KeyPath, check_together, text_doubt
from wsproxy.config.problems import ProblemList, printable, split_sentence
from wsproxy.config.settings import NOT_IN_FILE, PLUGIN_WORDS, SOCKET_WORDS, Settings
from wsproxy.config.settings_ha import OTHER_NAMES
from wsproxy.config.settings_tls import absolute, with_absolute_files, with_absolute_keys
from wsproxy.errors import Counts, Problem, Severity

_HEADER_LINE = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY_LINE = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_NAME_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_INTEGER_RANGE = "a whole number from {} to {}"
_FLOAT_RANGE = "a number from {:g} to {:g}"
_FLOAT_ABOVE = "a number above {:g} to {:g}"


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings that can be used, where each stands, and the warnings about them; ``file`` empty: all are defaults."""

    settings: Settings = field(default_factory=Settings)
    file: str = ""
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    counts: Counts = field(default_factory=Counts)

    def with_workers(self, workers: int | None) -> LoadedSettings:
        """``workers`` instead of its own; None: as they are."""
        if workers is None:
            return self
        return replace(self, settings=msgspec.structs.replace(self.settings, workers=workers))

    def with_user(self, user: str | None) -> LoadedSettings:
        """``user`` instead of process.user; None: as they are."""
        if user is None:
            return self
        process = msgspec.structs.replace(self.settings.process, user=user)
        return replace(self, settings=msgspec.structs.replace(self.settings, process=process))

    def line_of(self, at: KeyPath) -> int:
        """Where the setting stands, or the nearest thing around it; 0 where there is no file."""
        return _line_of(at, self.lines) if self.file else 0

    def problem(self, severity: Severity, code: str, at: KeyPath, sentence: str) -> Problem:
        """A problem of the setting ``at``, with its line: ``sentence`` is ``NAME: found X; allowed is Y``."""
        found, allowed = split_sentence(sentence)
        file = self.file or "default settings"
        return Problem(severity, code, file, self.line_of(at), found, allowed, sentence)


# Of [ha]: seen from the folder of wsproxy.toml.
_FILES_OF_HA = ("ca", "certificate", "key", "password_file", "session_key", "data_dir", "config_folder")  # fmt: skip


def read_settings(path: Path) -> Settings:
    """
    The settings that the file at ``path`` holds, defaults where it says nothing; does I/O.

    Raises:
        ConfigRefusedError: the file cannot be read or used; lists every problem, one a line.
    """
    return load_settings(path).settings


def load_settings(path: Path) -> LoadedSettings:
    """
    The same, with the lines and the warnings; does I/O.

    Raises:
        ConfigRefusedError: the file cannot be read or used; lists every problem, one a line.
    """
    problems = ProblemList(str(path))
    text = ""
    try:
        text = path.read_bytes().decode()
    except (OSError, ValueError) as error:
        problems.say("error", "settings-unreadable", 0, _why_unreadable(error))
    problems.raise_if_errors()
    return load_text(text, path)


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return (
            f"found byte {error.object[error.start]:#04x} at offset {error.start}; allowed is UTF-8"
        )
    return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def parse_settings(text: str, path: Path) -> Settings:
    """
    The settings in ``text``; ``path`` is named in problems and is what relative folders start from.

    Raises:
        ConfigRefusedError: lists every problem, one a line, as ``file:line: found X; allowed is Y``.
    """
    return load_text(text, path).settings


def load_text(text: str, path: Path) -> LoadedSettings:
    """The same, with the lines and the warnings."""
    problems = _Problems(ProblemList(str(path)), _key_lines(text))
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line, sentence = _syntax_problem(str(error), text)
        problems.found.say("error", "toml-malformed", line, sentence)
    _take_other_names(document, problems)
    _check_table(Settings, document, (), problems)
    problems.found.raise_if_errors()
    settings = msgspec.convert(document, Settings)
    settings = _with_absolute_paths(settings, path)
    problems.found.ignored = settings.check.ignore
    check_together(settings, problems.say)
    pages = check_edges(settings.edge, problems.say)
    problems.found.raise_if_errors()
    settings = msgspec.structs.replace(settings, edge_pages=pages)
    return LoadedSettings(
        settings,
        str(path),
        problems.lines,
        problems.found.in_file_order(),
        problems.found.count(),
    )


def _take_other_names(document: dict[str, Any], problems: _Problems) -> None:
    """Settings of [ha] that stand there by HAManager's names get ours."""
    table = document.get("ha")
    if not isinstance(table, dict):
        return
    for other, ours in OTHER_NAMES.items():
        if other not in table:
            continue
        at: KeyPath = ("ha", other)
        if ours in table:
            problems.add(at, f"ha.{other}: found it beside {ours}; allowed is one name for it")
            del table[other]
            continue
        table[ours] = table.pop(other)
        if at in problems.lines:
            problems.lines[("ha", ours)] = problems.lines[at]


@dataclass(frozen=True, slots=True)
class _Problems:
    """Collects problems by the setting that has them."""

    found: ProblemList
    lines: dict[KeyPath, int]

    def add(self, at: KeyPath, sentence: str, code: str = "setting-value") -> None:
        """Adds an error."""
        self.say("error", code, at, sentence)

    def say(self, severity: Severity, code: str, at: KeyPath, sentence: str) -> None:
        """Adds a problem at the line of the key, or of the nearest thing around it that has a line."""
        self.found.say(severity, code, _line_of(at, self.lines), sentence)


def _line_of(at: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)


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
    known = {info.encode_name: info for info in _written(struct)}
    for key, value in table.items():
        here = (*at, key)
        info = known.get(key)
        if info is None:
            problems.add(
                here, _unknown_key(key, at, list(known), problems.found), "setting-unknown"
            )
        elif inner := table_of(info):
            if isinstance(info.type, type):
                _check_table(inner, value, here, problems)
            else:
                _check_tables(inner, value, here, problems)
        elif isinstance(value, dict) and (inner := either_table_of(info)):
            _check_table(inner, value, here, problems)
            for missing in _written(inner):
                if missing.required and missing.encode_name not in value:
                    problems.add(
                        here,
                        f"{_dotted(here)}: found no {missing.encode_name}; allowed is one: {description_of(missing)}",
                    )
        else:
            _check_value(info, value, here, problems)


def _written(struct: type[msgspec.Struct]) -> list[FieldInfo]:
    """Its fields that stand in files."""
    return [
        info for info in fields(struct) if struct is not Settings or info.name not in NOT_IN_FILE
    ]


def either_table_of(info: FieldInfo) -> type[msgspec.Struct] | None:
    """The struct of a setting that may be a table, or a value; None: it is never one."""
    kind = get_args(info.type)[0] if get_origin(info.type) is Annotated else info.type
    for each in get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else ():
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


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
        if isinstance(table, dict) and name == "probe.cluster" and "name" not in table:
            allowed = 'allowed is name = "CLUSTER", one of plugin-cfg.xml'
            problems.add(here, f"probe.cluster: found no name; {allowed}")


def _check_listener_address(table: dict[str, object], at: KeyPath, problems: _Problems) -> None:
    address = table.get("address")
    if address is None:
        problems.add(at, 'listener: found no address; allowed is address = "HOST:PORT"')
    elif isinstance(address, str):
        try:
            parse_address(address, is_listener=True)
        except ValueError as error:
            problems.add((*at, "address"), f"listener.address: {error}")


def _check_value(info: FieldInfo, value: object, at: KeyPath, problems: _Problems) -> None:
    try:
        msgspec.convert(value, info.type)
    except msgspec.ValidationError:
        problems.add(at, f"{_dotted(at)}: found {_shown(value)}; allowed is {allowed_values(info)}")
        return
    for text in _texts(value):
        if isinstance(text, str) and (doubt := text_doubt(at, text)):
            problems.add(at, f"{_dotted(at)}: found {_shown(text)}{doubt}")


def _texts(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else [value]


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
        edge=tuple(with_absolute_pages(each, path.parent) for each in settings.edge),
    )
    if settings.log.plugin and settings.log.plugin not in PLUGIN_WORDS:
        log = msgspec.structs.replace(
            settings.log, plugin=absolute(settings.log.plugin, path.parent)
        )
        settings = msgspec.structs.replace(settings, log=log)
    access = settings.log.access
    if is_file(access):
        log = msgspec.structs.replace(settings.log, access=absolute(access, path.parent))
        settings = msgspec.structs.replace(settings, log=log)
    if settings.admin.socket and settings.admin.socket not in SOCKET_WORDS:
        admin = msgspec.structs.replace(
            settings.admin, socket=absolute(settings.admin.socket, path.parent)
        )
        settings = msgspec.structs.replace(settings, admin=admin)
    of_admin = {
        name: absolute(file, path.parent)
        for name in ("token_file", "state_file", "certificate", "key")
        if (file := getattr(settings.admin, name))
    }
    if of_admin:
        admin = msgspec.structs.replace(settings.admin, **of_admin)
        settings = msgspec.structs.replace(settings, admin=admin)
    ha = settings.ha
    files = {name: getattr(ha, name) for name in _FILES_OF_HA}
    if any(files.values()):
        found = {name: absolute(file, path.parent) for name, file in files.items()}
        settings = msgspec.structs.replace(settings, ha=msgspec.structs.replace(ha, **found))
    if ha.bridges:
        bridges = tuple(with_absolute_keys(each, path.parent) for each in ha.bridges)
        settings = msgspec.structs.replace(
            settings, ha=msgspec.structs.replace(settings.ha, bridges=bridges)
        )
    if settings.trace.headers_file:
        trace = msgspec.structs.replace(
            settings.trace, headers_file=absolute(settings.trace.headers_file, path.parent)
        )
        settings = msgspec.structs.replace(settings, trace=trace)
    if not settings.fallback.directory:
        return settings
    directory = str((path.parent / settings.fallback.directory).resolve())
    return msgspec.structs.replace(
        settings, fallback=msgspec.structs.replace(settings.fallback, directory=directory)
    )


def every_setting(
    struct: type[msgspec.Struct] = Settings, prefix: str = ""
) -> Iterator[tuple[str, FieldInfo]]:
    """Each with its name, as docs/settings.md and wsproxy.toml(5) list them: tables and lists of tables with dots."""
    for info in _written(struct):
        if inner := table_of(info):
            yield from every_setting(inner, f"{prefix}{info.encode_name}.")
            continue
        yield f"{prefix}{info.encode_name}", info
        if inner := either_table_of(info):
            yield from every_setting(inner, f"{prefix}{info.encode_name}.")


def description_of(info: FieldInfo) -> str:
    """What the setting means, in one sentence; where a list of tables is meant, too."""
    kind = msgspec.inspect.type_info(info.type)
    assert isinstance(kind, msgspec.inspect.Metadata)
    assert kind.extra_json_schema is not None
    return str(kind.extra_json_schema["description"])


def allowed_values(info: FieldInfo) -> str:
    """What a setting accepts, in words: used in problems and compared with docs/settings.md."""
    return _allowed(msgspec.inspect.type_info(info.type))


def _allowed(kind: Any) -> str:
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    match kind:
        case msgspec.inspect.IntType():
            return _INTEGER_RANGE.format(kind.ge, kind.le)
        case msgspec.inspect.FloatType():
            if kind.gt is not None:
                return _FLOAT_ABOVE.format(kind.gt, kind.le)
            return _FLOAT_RANGE.format(kind.ge, kind.le)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.VarTupleType():
            return _allowed_items(kind.item_type)
        case msgspec.inspect.LiteralType():
            return " or ".join(
                str(value) if isinstance(value, int) else f'"{value}"' for value in kind.values
            )
        case msgspec.inspect.StructType():
            return "a table"
        case msgspec.inspect.DictType():
            return "a table of texts in quotes"
        case msgspec.inspect.UnionType():
            types = [each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType)]
            # Words first, as they are told in the sentence.
            types.sort(key=lambda each: isinstance(each, msgspec.inspect.StructType))
            return " or ".join(_allowed(each) for each in types)
        case _:
            return "text in quotes"


def _allowed_items(kind: Any) -> str:
    match kind:
        case msgspec.inspect.UnionType():
            return "a list of whole numbers and texts in quotes"
        case msgspec.inspect.LiteralType():
            return f"a list of {_allowed(kind)}"
        case msgspec.inspect.IntType():
            return "a list of whole numbers"
        case _:
            return "a list of texts in quotes"


def _unknown_key(key: str, at: KeyPath, known: list[str], found: ProblemList) -> str:
    """
    The problem text for an unknown key, with the nearest known name of this table.

    Whoever names a table means it: another table's setting is only pointed to, and only by its very name. Where no table is
    named, its header was forgotten.
    """
    where = f"found unknown setting {_dotted((*at, key))}; "
    if likely := found.suggest(key, known):
        return f"{where}did you mean {likely}?"
    homes = _homes()
    if not at and (likely := found.suggest(key, homes)):
        return f"{where}did you mean {homes[likely][0]}.{likely}?"
    others = [f"[{table}]" for table in homes.get(key.lower(), ())]
    hint = f" ({key} is a setting of {' and of '.join(others)})" if at and others else ""
    return f"{where}allowed is one of {', '.join(known)}{hint}"


@cache
def _homes() -> dict[str, list[str]]:
    """The tables that have a setting of each name."""
    homes: dict[str, list[str]] = {}

    def note(struct: type[msgspec.Struct], table: str) -> None:
        for info in _written(struct):
            if inner := table_of(info):
                note(inner, f"{table}.{info.encode_name}" if table else info.encode_name)
            elif table:
                homes.setdefault(info.encode_name, []).append(table)

    note(Settings, "")
    return homes


def _syntax_problem(message: str, text: str) -> tuple[int, str]:
    """Line and sentence from tomllib's message, which ends in ``(at line 3, column 5)`` or ``(at end of document)``."""
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = at[1] if at and at[1] else max(1, len(text.splitlines()))
    return int(line), f"found what is no TOML: {message[: at.start()] if at else message}"


def _dotted(key_path: KeyPath) -> str:
    return ".".join(str(part) for part in key_path if isinstance(part, str))


def _shown(value: object) -> str:
    """The value as TOML writes it, cut where it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    text = f'"{printable(value)}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
