"""
``wsproxy demo``: the proxy in front of an embedded cluster, with things to try.

Must not do anything but parse arguments and print.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from wsproxy.config.address import Address, parse_address
from wsproxy.config.problems import printable_lines
from wsproxy.demo.sessions import COOKIE_NAME
from wsproxy.demo.show import DemoOptions, RunningDemo, run_demo
from wsproxy.errors import WsproxyError

EXIT_FAILED = 1
DEFAULT_LISTEN = "127.0.0.1:8080"
DEFAULT_RETURN_AFTER_S = 15.0  # three RetryIntervals of the demo's plugin-cfg.xml: time to see the session live elsewhere
LONGEST_RETURN_AFTER_S = 3600.0


def parse_listen(_context: click.Context, _parameter: click.Parameter, text: str) -> Address:
    """The address of ``--listen``; a text that is none ends the command with what is allowed."""
    try:
        return parse_address(text, is_listener=True)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option(
    "--listen",
    default=DEFAULT_LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    callback=parse_listen,
    help="Where the proxy listens; port 0 for any free one. The app servers are on 127.0.0.1 whatever this is.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes of the proxy; as for wsproxy run.",
)
@click.option(
    "--return-after",
    "return_after_s",
    type=click.FloatRange(0, LONGEST_RETURN_AFTER_S),
    default=DEFAULT_RETURN_AFTER_S,
    show_default=True,
    metavar="SECONDS",
    help="An app server that was killed is started again after this long.",
)
def demo(listen: Address, workers: int | None, return_after_s: float) -> None:
    """Run the proxy in front of three small app servers on this machine, until Ctrl-C."""
    click.echo("starting three app servers and the proxy ...")
    try:
        run_demo(DemoOptions(listen, workers, return_after_s), print_guide, click.echo)
    except WsproxyError as error:
        click.echo(f"wsproxy demo: {printable_lines(str(error))}", err=True)
        sys.exit(EXIT_FAILED)
    click.echo("stopped")


def print_guide(running: RunningDemo) -> dict[str, str]:
    """What runs where, and five things to try; the commands that the page shows too."""
    wsproxy = _name_of_this_command()
    click.echo(render_guide(running, wsproxy))
    return commands_of(running, wsproxy)


def commands_of(running: RunningDemo, wsproxy: str) -> dict[str, str]:
    """What to do with the demo's own configuration and log, by title."""
    config = shlex.quote(str(running.plugin_cfg))
    log = shlex.quote(str(running.directory / "http_plugin.log"))
    jar = shlex.quote(str(running.cookie_jar))
    cookie = f"\"{COOKIE_NAME}=$(awk '/{COOKIE_NAME}/{{print $7}}' {jar})\""
    down = f"{running.owner.name}@{running.began_at}+10m"
    return {
        "explain": f"{wsproxy} explain {config} GET {running.url}/app/ --cookie {cookie} --live",
        "replay": f"{wsproxy} replay {log} --config {config}",
        "simulate": f"{wsproxy} simulate {log} --config {config} --down {down}",
    }


def render_guide(running: RunningDemo, wsproxy: str) -> str:
    """The text of ``print_guide``; every command in it can be pasted as it is."""
    jar = shlex.quote(str(running.cookie_jar))
    ask = f"curl -s -b {jar} -c {jar} {running.url}/app/json"
    commands = commands_of(running, wsproxy)
    servers = "\n".join(
        f"  {server.name}  CloneID {server.clone_id}  {server.url}  pid {server.pid}"
        for server in running.servers
    )
    owner = running.owner
    return f"""
wsproxy is at {running.url}/ in front of
{servers}
Dashboard: {running.dashboard}
Their files: {running.directory} (plugin-cfg.xml, logs). Ctrl-C ends everything.

Five things to try, in another terminal:

1. Open {running.url}/ in a browser. Kill the server of your session, return it, break its affinity, with the buttons;
   the page shows what the proxy decided for each request.

2. The same with curl, twice. The cookie jar holds a session that {owner.name} owns:
     {ask}

3. Kill {owner.name}, then ask again: the session goes on at another server, whose clone id joins cloneIds.
     kill -9 {owner.pid}
     {ask}
   {owner.name} comes back after {running.return_after_s:g} s, and takes the session back within a few more: it is first in the list.

4. Ask the running proxy why a request goes where it goes:
     {commands["explain"]}

5. Everything so far is in http_plugin.log. Take each of its decisions again; then let its requests run with {owner.name} away:
     {commands["replay"]}
     {commands["simulate"]}
"""


def _name_of_this_command() -> str:
    """How a person calls wsproxy from here: as it was called now."""
    if Path(sys.argv[0]).name == "wsproxy":
        return shlex.quote(sys.argv[0])
    return f"{shlex.quote(sys.executable)} -m wsproxy"
