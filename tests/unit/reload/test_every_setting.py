"""
Every setting of wsproxy.toml takes effect with a reload, or is named among what needs a start: none is silently kept.

A setting takes effect where it is read anew for each configuration. What is made for each of them (plan, View, probes) is made here
with settings that note who asks for what; what is read later, while requests run, or by the loader, is in ``ELSEWHERE`` with the
test that shows it.
"""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.bed import config_of, server
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.model import Transport
from wsproxy.config.settings import (
    FallbackSettings,
    Settings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from wsproxy.config.settings_edge import EdgeSettings
from wsproxy.config.settings_probe import ProbeSettings
from wsproxy.config.settings_reload import NEEDS_START
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.view import make_view
from wsproxy.probe.ask import ask
from wsproxy.probe.names import Names
from wsproxy.probe.prober import note
from wsproxy.probe.targets import begin_probes, targets_of

ROOT = Path(__file__).parents[3]

# Read by the loader itself, or by requests that ask their own configuration: which test shows it.
_WATCHING = "tests/blackbox/test_reload_settings.py::test_watching_begins_and_ends_with_a_reload"
_GUARDED = "tests/blackbox/test_reload_settings.py::test_other_limits_reach_the_guard_that_is_there"
_FAILED = "tests/unit/dataplane/test_two_plans.py::test_failures_are_judged_by_the_settings_of_the_request"
_TOLD = "tests/blackbox/test_metrics.py::test_what_is_told_follows_a_reload"
_REPLACED = "tests/blackbox/test_replace.py"
ELSEWHERE = {
    "metrics.clusters": _TOLD,
    "metrics.servers": _TOLD,
    "metrics.histograms": _TOLD,
    "reload.watch": _WATCHING,
    "reload.guard_s": "tests/unit/reload/test_guard.py::test_other_limits_hold_for_what_is_watched_already",
    "reload.guard_limit": _GUARDED,
    "retry.strict_once": _FAILED,
    "retry.error_status": _FAILED,
    "queue.wait_s": "tests/unit/dataplane/test_two_plans.py::test_wait_is_as_long_as_its_own_configuration_says",
    "upgrade.tunnels_s": f"{_REPLACED}::test_tunnels_live_on_and_end_one_after_the_other",
    "upgrade.requests_s": f"{_REPLACED}::test_request_that_takes_too_long_is_cut",
    "check.ignore": "tests/unit/reload/test_sources.py::test_codes_that_nobody_wants_to_hear_of_are_read_anew",
}


def all_settings(kind: type[msgspec.Struct] = Settings, table: str = "") -> Iterator[str]:
    for each in msgspec.structs.fields(kind):
        name = f"{table}{each.encode_name}"
        if isinstance(each.type, type) and issubclass(each.type, msgspec.Struct):
            yield from all_settings(each.type, f"{name}.")
        else:
            yield name


def needs_start(name: str) -> bool:
    return name in NEEDS_START or name.partition(".")[0] in NEEDS_START


class Asked:
    """Settings that note what is asked of them."""

    def __init__(self, settings: msgspec.Struct, names: set[str], table: str = "") -> None:
        self._settings, self._names, self._table = settings, names, table

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._settings, name)
        path = f"{self._table}{name}"
        if isinstance(value, msgspec.Struct):
            return Asked(value, self._names, f"{path}.")
        self._names.add(path)
        return value


async def asked_for_each_configuration(folder: Path) -> set[str]:
    """Of what is made anew with every configuration, with all that may depend on it switched on by turns."""
    names: set[str] = set()

    async def well(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    listening = await asyncio.start_server(well, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        plain = config_of(server("s1", port))
        secure = (Transport("127.0.0.1", port, protocol="https"),)
        both = config_of(replace(server("s1", port), transports=secure))
        directory = FallbackSettings(mode="directory", directory=str(folder))
        for config, fallback in (
            (plain, FallbackSettings(mode="upstream", upstream="127.0.0.1:1")),
            (both, directory),
        ):
            wanted = Settings(
                probe=ProbeSettings(type="http", body="ok", host="h"),
                fallback=fallback,
                upstream=UpstreamSettings(tls=UpstreamTlsSettings(trust="/nowhere")),
                edge=(EdgeSettings(maintenance_on=True),),
            )
            settings: Any = Asked(wanted, names)
            plan = build_plan(config, settings, SharedState(64, 8))
            plan.apply()
            begin_probes(plan)
            view = make_view(plan, with_pools=True)
            view.plan.check()
            assert view.plan.decisions
            for target in targets_of(plan):
                note(target, await ask(target, Names(wanted.upstream.resolve_s)))
    return names


async def test_each_takes_effect_or_is_named(tmp_path: Path) -> None:
    """Add a setting, and say here, or in NEEDS_START, what a reload does about it."""
    asked = await asked_for_each_configuration(tmp_path)
    for name in all_settings():
        ways = [needs_start(name), name in asked, name in ELSEWHERE]
        assert ways.count(True) == 1, (
            f"{name}: found in {ways.count(True)} of NEEDS_START, what is made for each configuration, "
            "and ELSEWHERE; allowed is one"
        )


def test_names_are_those_of_settings() -> None:
    tables = {name.partition(".")[0] for name in all_settings()}
    assert set(NEEDS_START) <= {*tables, *all_settings()}
    assert set(ELSEWHERE) <= set(all_settings())


@pytest.mark.parametrize("where", sorted(set(ELSEWHERE.values())))
def test_what_is_said_to_show_it_is_there(where: str) -> None:
    file, _, test = where.partition("::")
    assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE)


# What runs once: a setting that is read there stays as it is. Each file's functions that run with every reload are left out.
ONCE = {
    "wsproxy/process/start.py": (),
    "wsproxy/process/access_log.py": (),
    "wsproxy/process/listeners.py": (),
    "wsproxy/process/plugin_log.py": (),
    "wsproxy/process/supervisor.py": (),
    "wsproxy/process/check_start.py": ("load_files",),
    "wsproxy/dataplane/worker.py": ("_head_s",),
}


def chain_of(node: ast.expr) -> str:
    """``a.b.c`` of such an expression."""
    if isinstance(node, ast.Attribute):
        return f"{chain_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("file", sorted(ONCE))
def test_what_runs_once_asks_for_nothing_that_may_change(file: str) -> None:
    """As worker and timeouts.head_s once did: the reload said that it was in use, and handshakes had the time of the start."""
    tree = ast.parse((ROOT / file).read_text())
    functions = [each for each in tree.body if not isinstance(each, ast.FunctionDef)]
    functions += [
        each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name not in ONCE[file]
    ]  # fmt: skip
    settings = set(all_settings())
    found = set()
    for part in functions:
        for node in ast.walk(part):
            if isinstance(node, ast.Attribute):
                _, _, name = chain_of(node).rpartition("settings.")
                if name in settings:
                    found.add(name)
    assert {name for name in found if not needs_start(name)} == set()
