"""
The ``wsproxy`` command: a group that imports a subcommand only when it is called.

Each subcommand is the function named like its module in ``wsproxy.cli``. Must not do anything but parse and print.
"""

from __future__ import annotations

import importlib
from typing import cast

import click

# name -> one line of help; the module wsproxy.cli.<name> holds a click command of the same name
COMMANDS = {
    "run": "run the proxy as plugin-cfg.xml says",
    "check": "read a plugin-cfg.xml and report every problem in it",
    "explain": "show how one request is decided, step by step, and why",
    "replay": "take each decision of an http_plugin.log again and report every difference",
    "simulate": "let the requests of a log run through another configuration, or with a server away",
    "demo": "run the proxy in front of an embedded cluster of three app servers",
}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is needed, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; None where the name is unknown."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"wsproxy.cli.{cmd_name}")
        return cast("click.Command", getattr(module, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``wsproxy --help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsproxy")
def main() -> None:
    """Reverse proxy and load balancer for WebSphere, Liberty and other servlet containers."""
