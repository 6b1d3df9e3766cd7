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
# What they call things, from issue 17's texts.
WORDS = (
    "cell", "core group", "DefaultCoreGroup", "core group member", "Agent", "Group Manager", "thread pool", "heartbeat",
    "IBM_CS_FD_PERIOD_SECS", "IBM_CS_FD_CONSECUTIVE_MISSED", "socket failure", "KEEP_ALIVE", "suspected", "separated", "coordinator",
    "preferred coordinator servers", "lowest id", "view", "view id", "view synchrony", "DCS", "RMM", "DCS_UNICAST_ADDRESS",
    "DCS-Secure", "IBM_CS_SOCKET_BUFFER", "IBM_CS_IP_REFRESH_MINUTES", "IBM_CS_DATASTACK_MEG", "bulletin board",
    "memory-to-memory replication", "singleton", "high availability group", "messaging engine", "match criteria", "preferred servers",
    "fail back", "is-alive timer", "quorum", "takeover on a running peer", "transaction manager", "NAS", "node agent",
    "core group bridge", "Deployment Manager", "configuration repository", "node synchronization", "resource group", "shared disk",
    "service address", "rc207", "sleep 60", "stand-alone", "primary", "secondary", "idle", "inconsistent", "bad state", "startHA",
    "configureHA", "stopHA", "HAstatus", "failover", "floating IP", "ARP", "pingInterval", "initial data synchronization",
    "same firmware level", "no notification", "reboot", "firmware upgrade", "backup", "restore", "migration", "ha.log", "ha.out",
    "ha.result", "trace.zip", "RetryInterval", "clone id",
)  # fmt: skip
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
    """By its name; of what programs give to one another, and of `drill --yes`, `--help` says enough."""
    is_for_programs = command == "run" and option in ("--keep", "--for-start")
    assert option in TEXT or is_for_programs or (command, option) == ("drill", "--yes")


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


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_its_ancestors_has_a_row(word: str) -> None:
    """Whoever comes from HAManager, HACMP or IBM Workload Deployer looks their own words up, in one table."""
    _, _, rest = TEXT.partition("## Words of WebSphere, of HACMP and of IBM Workload Deployer\n")
    table, _, _ = rest.partition("\n## ")
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| ")]
    assert [row for row in rows if word in row[1] and len(row) == 4 and row[2].strip()]


def test_each_promise_is_documented() -> None:
    """The figures of the drill are those of the page."""
    for _, promise in STEPS.values():
        figure = promise.text.removeprefix("0 lost, ")
        assert f"| {promise.text} |" in TEXT or f"| {figure} |" in TEXT, promise.text
