"""
The ``wsproxy`` command: a group that imports a subcommand only when it is called.

Must not do anything but parse and print.
"""

from __future__ import annotations

import importlib
from typing import cast

import click
from click.shell_completion import CompletionItem

# name -> one line of help; the module wsproxy.cli.<name> holds a click command of the same name
COMMANDS = {
    "run": "run the proxy as plugin-cfg.xml says",
    "check": "read a plugin-cfg.xml and report every problem in it",
    "fmt": "write a plugin-cfg.xml in one order and one layout, for version control",
    "schema": "print the grammar of plugin-cfg.xml for editors, as an XML Schema",
    "merge": "make one plugin-cfg.xml of several that serves what all of them serve",
    "diff": "say what a change of plugin-cfg.xml means, and whose requests go elsewhere",
    "explain": "show how one request is decided, step by step, and why",
    "status": "show the servers of the running proxy: state, why, weight, requests, sessions",
    "top": "the same, live",
    "why": "show what became of a server, with the evidence",
    "drain": "give a server, or a host's, no new sessions; wait until it is empty",
    "resume": "end a drain",
    "down": "give a server, or a host's, no requests at all",
    "up": "end that, or a mark of failed requests",
    "maintenance": "show a page instead of a cluster's servers, or of all",
    "set": "give a server another weight, or another MaxConnections",
    "loglevel": "show or change the LogLevel of http_plugin.log",
    "requests": "list the requests that run",
    "kill": "end one of them",
    "reload": "read plugin-cfg.xml and wsproxy.toml again; say what changes",
    "history": "list what was taken over, and what was refused",
    "rollback": "return to the configuration before",
    "upgrade": "replace the running program by the one that is installed now; no connection is refused",
    "replay": "take each decision of an http_plugin.log again and report every difference",
    "simulate": "let the requests of a log run through another configuration, or with a server away",
    "publish": "give one plugin-cfg.xml to all proxies of a group",
    "ha": "high availability: a pair with a floating address; a group of proxies, its keys, versions, and what only one of them runs",
    "bench": "measure this proxy and others side by side on this machine",
    "demo": "run the proxy in front of an embedded cluster of three app servers",
}
# Those that stand with others in one module.
_PLACES = {
    "why": "status.why",
    "drain": "hold.drain",
    "resume": "hold.resume",
    "down": "hold.down",
    "up": "hold.up",
    "set": "numbers.set_",
    "loglevel": "numbers.loglevel",
    "kill": "requests.kill",
    "history": "reload.history",
    "rollback": "reload.rollback",
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
        module, _, name = _PLACES.get(cmd_name, f"{cmd_name}.{cmd_name}").partition(".")
        return cast(
            "click.Command", getattr(importlib.import_module(f"wsproxy.cli.{module}"), name)
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``wsproxy --help``, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may follow, for a shell's Tab: click's own would import every command for its line of help."""
        commands = [
            CompletionItem(name, help=words)
            for name, words in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wsproxy")
def main() -> None:
    """Reverse proxy and load balancer for WebSphere, Liberty and other servlet containers."""
