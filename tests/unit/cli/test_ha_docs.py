"""docs/high-availability.md knows every command and option of ``wsproxy ha``, every state and every field of its status."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from wsproxy.cli.ha import ha
from wsproxy.ha.pair.conf import PORT, Pair
from wsproxy.ha.pair.drill import STEPS
from wsproxy.ha.pair.folder import DEFAULT, LOGS
from wsproxy.ha.pair.rules import State

TEXT = (Path(__file__).parents[3] / "docs" / "high-availability.md").read_text()
OPTIONS = [
    (command, option)
    for command, found in ha.commands.items()
    for parameter in found.params
    if isinstance(parameter, click.Option)
    for option in parameter.opts
    if option not in ("-h", "--help")
]


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_each_option_is_documented(command: str, option: str) -> None:
    """By its name; of `drill --yes` and `run --keep` `--help` says enough."""
    assert option in TEXT or (command, option) in (("drill", "--yes"), ("run", "--keep"))


@pytest.mark.parametrize("command", list(ha.commands))
def test_each_command_is_documented(command: str) -> None:
    """With the group that it belongs to."""
    assert f"wsproxy ha {command}" in TEXT


def test_defaults_are_as_documented() -> None:
    """Those that the options' table names."""
    pair = Pair(vip="", address="", peer="", interface="", ca="", certificate="", key="")
    assert f"| `--ping-interval S` | {pair.ping_interval_s:g} |" in TEXT
    assert f"| `--router-id N` | {pair.router_id} |" in TEXT
    assert f"| `--port N` | {PORT} |" in TEXT
    assert f"| `--folder PATH` | `{DEFAULT}` |" in TEXT


def test_each_state_and_each_log_is_documented() -> None:
    """A row for each state, and each file's name."""
    for state in State:
        assert f"| {state} |" in TEXT
    for name in LOGS:
        assert f"`{name}`" in TEXT


def test_each_promise_is_documented() -> None:
    """The figures of the drill are those of the page."""
    for _, promise in STEPS.values():
        figure = promise.text.removeprefix("0 lost, ")
        assert f"| {promise.text} |" in TEXT or f"| {figure} |" in TEXT, promise.text
