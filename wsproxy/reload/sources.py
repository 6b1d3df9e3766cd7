"""
What a configuration is read from, and the next one read from there.

Driven by ``reload.loader``, beside its event loop. The same checks as at the start (``process.check_start``); what a running
proxy cannot take over stays as it is and is named. Must not publish anything: a plan that comes out of here has its slots, and
nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from wsproxy._fast.state.segment import SharedState
from wsproxy.config.address import Address
from wsproxy.config.diff import diff
from wsproxy.config.edge_words import edge_changes
from wsproxy.config.model import Config
from wsproxy.config.published import PublishedFolder
from wsproxy.config.settings import Settings
from wsproxy.config.settings_file import LoadedSettings
from wsproxy.config.settings_reload import NEEDS_START
from wsproxy.config.several import files_of
from wsproxy.config.stamps import Stamp, stamp_of
from wsproxy.dataplane.plan import Plan, build_plan
from wsproxy.dataplane.upstream_tls import TransportSecurity
from wsproxy.errors import Problem, StartError
from wsproxy.process.check_start import check_start, load_files
from wsproxy.process.listeners import plan_listeners


@dataclass(frozen=True, slots=True)
class Sources:
    """
    What the command line of the start named; ``workers``, ``user``: None: as the settings say.

    ``published``: the file of what the group has published, where that is to be read instead; ``folder``: where such files are, None: the group publishes nothing for us.
    """

    on_command_line: tuple[Path, ...]  # files, and folders of which all *.xml are read
    settings_file: Path | None
    listen: Sequence[Address]
    workers: int | None
    seen: Stamp  # what stood there before it was read for the start
    user: str | None = None
    folder: PublishedFolder | None = None
    published: Path | None = None

    @property
    def named(self) -> tuple[Path, ...]:
        """What plugin-cfg.xml is read from."""
        return self.on_command_line if self.published is None else (self.published,)

    @property
    def looked_at(self) -> tuple[Path, ...]:
        """Files and folders whose change is looked for."""
        return self.named if self.settings_file is None else (*self.named, self.settings_file)


def look(named: Sequence[Path]) -> Stamp:
    """Which files stand there now, as far as can be seen from outside. # I/O."""
    return stamp_of(files_of(named))


@dataclass(frozen=True, slots=True)
class Read:
    """What the files say now; without a ``config`` it cannot be used, for ``problems``."""

    problems: tuple[Problem, ...]
    config: Config | None = None
    settings: Settings | None = None
    security: TransportSecurity | None = None
    without_effect: tuple[str, ...] = ()

    def plan(self, state: SharedState, generation: int) -> Plan:
        """On ``state``, where servers that are new take slots."""
        assert self.config is not None
        assert self.settings is not None
        return replace(
            build_plan(self.config, self.settings, state, self.security), generation=generation
        )


def read_sources(sources: Sources, in_use: Settings, at_start: Config | None = None) -> Read:
    """
    Raises nothing. # I/O.

    ``at_start``: the plugin-cfg.xml that this proxy began with, whose sockets it has for good.
    """
    files = load_files(sources.named, sources.settings_file)
    if files.config is None or files.settings is None:
        return Read(tuple(each for each in files.problems if each.severity == "error"))
    config = files.config.config
    loaded = files.settings.with_workers(sources.workers).with_user(sources.user)
    wanted = loaded.settings
    settings, without_effect = keep_what_needs_a_start(wanted, in_use)
    start = check_start(
        config,
        replace(loaded, settings=settings),
        sources.listen,
        is_trial=False,
        ignored=files.ignored,
    )
    if start.errors:
        return Read(start.errors)
    if at_start is not None:
        found = replace(loaded, settings=settings)
        without_effect += tuple(kept_from_start(at_start, config, found, sources.listen))
    return Read(start.problems, config, settings, start.security, without_effect)


def kept_from_start(
    at_start: Config, config: Config, loaded: LoadedSettings, listen: Sequence[Address]
) -> Iterator[str]:
    """What of plugin-cfg.xml a running proxy cannot take over, where ``config`` says otherwise than it began with."""
    before_ports, ports = (_ports(each, loaded, listen) for each in (at_start, config))
    if before_ports != ports:
        gone = ", ".join(map(str, sorted(before_ports - ports)))
        new = ", ".join(map(str, sorted(ports - before_ports)))
        words = [f"{new} is not listened on" if new else "", f"{gone} still is" if gone else ""]
        yield f"ports of VirtualHosts in plugin-cfg.xml ({', '.join(filter(None, words))})"


def _ports(config: Config, loaded: LoadedSettings, listen: Sequence[Address]) -> set[int]:
    """That VirtualHosts have wsproxy listen on; none where addresses are named elsewhere."""
    if listen or loaded.settings.listeners:
        return set()
    try:
        return {each.address.port for each in plan_listeners(listen, loaded, config).wanted}
    except StartError:  # of which check_start tells
        return set()


def keep_what_needs_a_start(wanted: Settings, in_use: Settings) -> tuple[Settings, tuple[str, ...]]:
    """``wanted`` but for what a running proxy cannot take over, and the names of those that differ."""
    changed = []
    for name in NEEDS_START:
        table, _, key = name.partition(".")
        if _value(wanted, name) == _value(in_use, name):
            continue
        changed.append(name)
        field = _field(table)
        kept = getattr(in_use, field)
        if key:
            kept = msgspec.structs.replace(getattr(wanted, field), **{key: getattr(kept, key)})
        wanted = msgspec.structs.replace(wanted, **{field: kept})
    return wanted, tuple(changed)


def _value(settings: Settings, name: str) -> object:
    value: object = settings
    for part in name.split("."):
        value = getattr(value, _field(part))
    return value


def _field(name: str) -> str:
    """Of ``Settings``: ``[[listener]]`` is the one whose field has another name."""
    return "listeners" if name == "listener" else name


def changes_between(config: Config, settings: Settings, new: Read) -> Iterator[str]:
    """What is otherwise and what that means, a sentence each."""
    assert new.config is not None
    assert new.settings is not None
    difference = diff(config, new.config)
    for change in difference.changes:
        yield change.consequence
    for what in difference.not_compared:
        yield f"not compared: {what}"
    for name in _changed_settings(settings, new.settings):
        yield f"wsproxy.toml: {name} is changed"
    for sentence in edge_changes(settings, new.settings):
        yield f"wsproxy.toml: {sentence}"


def _changed_settings(old: msgspec.Struct, new: msgspec.Struct, table: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(old):
        if field.name in ("edge", "edge_pages"):
            continue
        before, after = getattr(old, field.name), getattr(new, field.name)
        name = f"{table}{field.encode_name}"
        if isinstance(before, msgspec.Struct):
            yield from _changed_settings(before, after, f"{name}.")
        elif before != after:
            yield name
