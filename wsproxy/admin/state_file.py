"""
What operators said of servers and of the whole proxy, kept over a restart: ``admin.state_file``.

Written by the admin process after each word, read by ``process.start`` before the first worker is forked. Replaced as a whole,
by rename: there is the old one or the new one. Must never keep the proxy from starting, nor beat a file that was edited since:
where plugin-cfg.xml says something else of a number than it did when an operator said otherwise, plugin-cfg.xml wins, and a line
says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.maintain import maintain
from wsproxy._fast.decide.operate import (
    hold_server,
    numbers_of_file,
    record_word,
    set_numbers,
)
from wsproxy._fast.state.changes import ChangeKind
from wsproxy._fast.state.operator import Hold
from wsproxy.admin.control import Control
from wsproxy.admin.wall_clock import iso_of, wall_ms
from wsproxy.config.problems import printable
from wsproxy.dataplane.plan import Plan

# A file of another version is not read.
VERSION = 1
MOST_BYTES = 64 * 1024 * 1024

Severity = Literal["info", "warning"]
Told = tuple[Severity, str]

_HOLDS = {"drain": Hold.DRAIN, "down": Hold.TAKEN_DOWN}


class SavedHold(msgspec.Struct):
    """Times in milliseconds since 1970; ``until_ms`` 0: until it is taken back."""

    hold: Literal["drain", "down"]
    who: str
    why: str
    since_ms: int
    until_ms: int


class SavedNumber(msgspec.Struct):
    """``file``: what plugin-cfg.xml said when an operator said ``value``."""

    value: int
    file: int


class SavedNumbers(msgspec.Struct):
    """None: as the file says."""

    weight: SavedNumber | None
    max_connections: SavedNumber | None
    who: str
    why: str
    at_ms: int


class SavedServer(msgspec.Struct):
    """One of whom an operator has said something."""

    cluster: str
    server: str
    hold: SavedHold | None
    numbers: SavedNumbers | None


class SavedProxy(msgspec.Struct):
    """The whole proxy is drained; ``by`` whom, and his reason: empty where nobody remembers."""

    by: str


class SavedMaintenance(msgspec.Struct):
    """``cluster`` empty: the whole proxy; times as of a hold."""

    cluster: str
    who: str
    why: str
    since_ms: int
    until_ms: int


class Saved(msgspec.Struct):
    """The file; ``proxy`` None: it is not drained."""

    version: int
    written_at: str
    servers: list[SavedServer]
    proxy: SavedProxy | None = None
    maintenance: list[SavedMaintenance] = []


class _Version(msgspec.Struct):
    version: int


def write_state(path: str, control: Control) -> None:
    """
    Replaces the file. # I/O.

    Raises:
        OSError: it cannot be written; the one before is still there.
    """
    maintenance = [
        SavedMaintenance(name, word.who, word.why, word.since_ms, word.until_ms)
        for name, word in control.maintained()
    ]
    saved = Saved(
        VERSION, iso_of(wall_ms()), list(_saved(control)), _saved_drain(control), maintenance
    )
    fresh = Path(f"{path}.new")
    try:
        with open(fresh, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(msgspec.json.format(msgspec.json.encode(saved), indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        with suppress(OSError):
            fresh.unlink()
        raise


def holds_words(path: str) -> bool:
    """Whether the file says anything; one that is not ours to read says nothing. # I/O."""
    try:
        with open(path, "rb") as file:
            saved = msgspec.json.decode(file.read(MOST_BYTES), type=Saved)
    except (OSError, msgspec.DecodeError):
        return False
    return saved.version == VERSION and (
        bool(saved.servers or saved.maintenance) or saved.proxy is not None
    )


def _saved_drain(control: Control) -> SavedProxy | None:
    by = control.drained_by()
    return None if by is None else SavedProxy(by)


def _saved(control: Control) -> Iterator[SavedServer]:
    for cluster, server, said in control.said():
        hold = numbers = None
        if said.hold != Hold.NO_HOLD:
            name: Literal["drain", "down"] = "drain" if said.hold == Hold.DRAIN else "down"
            hold = SavedHold(name, said.who, said.why, said.since_ms, said.until_ms)
        if said.weight is not None or said.limit is not None:
            numbers = SavedNumbers(
                None if said.weight is None else SavedNumber(said.weight, said.file_weight),
                None if said.limit is None else SavedNumber(said.limit, said.file_limit),
                *(said.numbers_who, said.numbers_why, said.numbers_ms),
            )
        yield SavedServer(cluster, server, hold, numbers)


def restore_state(path: str, plan: Plan) -> list[Told]:
    """Has what the file says hold again, as far as it can; what is to be told of it. # I/O."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES)
    except FileNotFoundError:
        if Path(path).parent.is_dir():
            return []
        return [("warning", _line(path, "its folder is not there; no word will outlive a restart"))]
    except OSError as error:
        return [
            ("warning", _line(path, f"cannot be read: {error.strerror}; no operator's word holds"))
        ]
    try:
        version = msgspec.json.decode(data, type=_Version).version
        if version != VERSION:
            text = (
                f"found version {version}; this wsproxy reads {VERSION}: no operator's word holds"
            )
            return [("warning", _line(path, text))]
        saved = msgspec.json.decode(data, type=Saved)
    except msgspec.DecodeError as error:
        return [("warning", _line(path, f"cannot be read: {error}; no operator's word holds"))]
    places = {
        (cluster.name, server.name): (live, index)
        for _, cluster, live in plan.operated()
        for index, server in reversed(list(enumerate(cluster.all_servers)))
    }
    told: list[Told] = []
    if saved.proxy is not None:
        told.append(("warning", _line(path, _restore_drain(plan, saved.proxy))))
    for each in saved.servers:
        place = places.get((each.cluster, each.server))
        if place is None:
            told.append(
                (
                    "warning",
                    _line(
                        path,
                        f"{each.cluster}/{each.server} is not in plugin-cfg.xml any more: dropped",
                    ),
                )
            )
            continue
        name = f"{each.cluster}/{each.server}"
        told += [(severity, _line(path, text)) for severity, text in _restore(*place, name, each)]
    for severity, text in _restore_maintenance(plan, saved.maintenance):
        told.append((severity, _line(path, text)))
    return told


def _restore_drain(plan: Plan, saved: SavedProxy) -> str:
    plan.state.is_drained = True
    # As whoever said it: the file is written from this, and why is asked for where changes are told.
    record_word(plan.state, ChangeKind.PROXY_DRAIN_ON, b"", b"", saved.by.encode())
    by = f", as {saved.by} said" if saved.by else ""
    return (
        f"the proxy is drained{by}: that holds on, it is not ready; `wsproxy resume --all` ends it"
    )


def _restore_maintenance(plan: Plan, saved: list[SavedMaintenance]) -> Iterator[Told]:
    live = {cluster.name: found for _, cluster, found in plan.operated()}
    for each in saved:
        name = each.cluster or "the whole proxy"
        by = f"by {each.who} at {iso_of(each.since_ms)}" + (f" ({each.why})" if each.why else "")
        if each.cluster and each.cluster not in live:
            yield "warning", f"{name} is not in plugin-cfg.xml any more: its maintenance is dropped"
        elif 0 < each.until_ms <= wall_ms():
            yield (
                "info",
                f"{name} was in maintenance {by} until {iso_of(each.until_ms)}: that is over",
            )
        else:
            maintain(
                plan.state, live[each.cluster] if each.cluster else None, True, who=each.who.encode(),
                why=each.why.encode(), words=b"kept over a restart", until_wall_ms=each.until_ms,
                said_ms=each.since_ms,
            )  # fmt: skip
            end = f", until {iso_of(each.until_ms)}" if each.until_ms else ""
            yield "info", f"{name} is in maintenance {by}{end}: that holds on"


def _restore(live: Cluster, index: int, name: str, saved: SavedServer) -> Iterator[Told]:
    if saved.hold is not None:
        hold = saved.hold
        what = "drained" if hold.hold == "drain" else "taken down"
        by = f"by {hold.who} at {iso_of(hold.since_ms)}" + (f" ({hold.why})" if hold.why else "")
        if 0 < hold.until_ms <= wall_ms():
            yield "info", f"{name} was {what} {by} until {iso_of(hold.until_ms)}: that is over"
        else:
            hold_server(
                live, index, _HOLDS[hold.hold], who=hold.who.encode(), why=hold.why.encode(),
                words=b"kept over a restart", until_wall_ms=hold.until_ms, said_ms=hold.since_ms,
            )  # fmt: skip
            end = f", until {iso_of(hold.until_ms)}" if hold.until_ms else ""
            yield "info", f"{name} is {what} {by}{end}: that holds on"
    if saved.numbers is None:
        return
    numbers = saved.numbers
    now = numbers_of_file(live, index)
    kept: list[int | None] = []
    for noun, number, says in zip(
        ("weight", "MaxConnections"), (numbers.weight, numbers.max_connections), now, strict=True
    ):
        by = f"as {numbers.who} said at {iso_of(numbers.at_ms)}"
        if number is None:
            kept.append(None)
        elif number.file != says:
            kept.append(None)
            yield (
                "warning",
                f"{name}: plugin-cfg.xml wins: {noun} is {says} (it was {number.file}), not {number.value}, {by}",
            )
        else:
            kept.append(number.value)
            yield (
                "info",
                f"{name}: {noun} is {number.value}, {by}; plugin-cfg.xml says {says}, as it did then",
            )
    if kept != [None, None]:
        set_numbers(
            live, index, weight=kept[0], limit=kept[1], who=numbers.who.encode(), why=numbers.why.encode(),
            said_ms=numbers.at_ms,
        )  # fmt: skip


def _line(path: str, text: str) -> str:
    return printable(f"admin.state_file {path}: {text}")
