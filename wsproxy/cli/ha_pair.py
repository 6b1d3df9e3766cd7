"""
``wsproxy ha start|configure|stop|status|failover|trace|run``: two proxies and a floating address.

Driven by ``cli.ha``. Prints, and keeps what was printed (ha.out) and what became of it (ha.result); all is done by the agent.
"""

from __future__ import annotations

import base64
import functools
import os
import socket
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from wsproxy.cli.asking import EXIT_NOBODY, EXIT_REFUSED, ago, fail, say, say_json
from wsproxy.cli.grouped import settings_option
from wsproxy.cli.ha_published import group_lines, group_status
from wsproxy.config.problems import printable, printable_lines
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.certs import files_of
from wsproxy.ha.own_process import call_process
from wsproxy.ha.pair.ask import (
    START_S,
    AgentEndedError,
    NoAgentError,
    ask_agent,
    begin_agent,
    end_agent,
)
from wsproxy.ha.pair.commands import run_agent
from wsproxy.ha.pair.conf import LEAST_PING_S, MOST_PING_S, PORT
from wsproxy.ha.pair.folder import DEFAULT, Folder, LockedError
from wsproxy.ha.pair.keepalived import addresses
from wsproxy.ha.pair.keeper import NOT_NEEDED, keep
from wsproxy.ha.pair.rules import State

_CODES = "Exit code: 0 done, 1 refused or not done, with the reason, 2 what is given here cannot be used. "
KEYS = Path("/etc/wsproxy/keys")
# So that a trace is found again, and says when it was made.
_TRACE = "wsproxy-ha-trace-%Y%m%d-%H%M%S.zip"

folder_option = click.option(
    "--folder",
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    default=DEFAULT,
    show_default=True,
    help="Where this node keeps its state, its logs and what keepalived reads: root's alone.",
)
_json_option = click.option("--json", "is_json", is_flag=True, help="One JSON object.")


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """The options that `start` and `configure` share; None: as it was."""
    options = (
        click.option("--peer", help="The other node's address in the network of the floating address."),
        click.option("--vip", metavar="ADDRESS/PREFIX", help="The floating address: 10.0.0.100/24. Nobody else may set it."),
        click.option("--sync-peer", help="The other node's address in a second network, best a cable between both. Without it only one network is looked at."),
        click.option("--address", help="This node's address, that --peer is reached by. Without it: the one that the kernel would take."),
        click.option("--sync-address", help="The same for --sync-peer."),
        click.option("--interface", help="Of the floating address. Without it: that of --address."),
        click.option("--ping-interval", type=click.FloatRange(LEAST_PING_S, MOST_PING_S), help="Seconds without a word from the primary after which the secondary takes over; three adverts fit in. [default: 0.6]"),
        click.option("--router-id", type=click.IntRange(1, 255), help="VRRP's number of this pair; no other pair in the network has it. [default: 51]"),
        click.option("--port", type=click.IntRange(1, 65535), help=f"TCP, between both nodes, on both networks. [default: {PORT}]"),
        click.option("--check", metavar="URL", help="What the proxy here answers with 200 while it serves, best health.ready_path. Without it: only its process is looked at."),
        click.option("--socket", metavar="PATH", help="The admin socket of the proxy here. Without it: of the one that runs here."),
        click.option("--keys", type=click.Path(file_okay=False, path_type=Path), help=f"Folder of ca.pem and of this node's two files, from `wsproxy ha certs`. [default: {KEYS}]"),
        click.option("--name", help="This node's name in --keys. [default: the machine's]"),
        click.option("--notify", metavar="PROGRAM", help="Run at each change, with the state and a sentence as arguments."),
        click.option("--autostart/--no-autostart", default=None, help="After a failover, or a start of the machine, this node becomes secondary by itself. Without it: stand-alone, until somebody has looked."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _recorded(command: Callable[..., str]) -> Callable[..., None]:
    """What it says is in ha.out, and what became of it in ha.result; a failure ends with its exit code."""

    @functools.wraps(command)
    def run(folder: Path, **options: Any) -> None:
        node = Folder(folder)
        try:
            text, code = command(node, **options), 0
        except NoAgentError:
            text, code = "stand-alone: no agent runs here, and no address is moved", EXIT_REFUSED
        except WsproxyError as error:
            text, code = str(error), EXIT_REFUSED
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            node.make()
            node.write("ha.out", printable_lines(text) + "\n")
            line = " ".join(printable(each) for each in sys.argv[1:])
            node.write("ha.result", f"{now} rc={code} wsproxy {line}\n")
        except (OSError, StartError) as error:
            click.echo(f"{folder}: {error}", err=True)
        if code:
            fail(text, code)
        say(text)

    return run


def _done(node: Folder, command: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    reply = ask_agent(node, command, given)
    if reply.error:
        raise StartError(reply.error)
    return reply.given


def _pair_options(node: Folder, options: dict[str, Any]) -> dict[str, Any]:
    """As the agent wants them; what can be found out is."""
    kept = node.read_pair()
    peer = options["peer"] or (kept.peer if kept else None)
    if not peer or not (options["vip"] or kept):
        raise StartError("found no --peer and --vip; allowed is both, at the first start on a node")
    found: dict[str, Any] = {
        name: options[name]
        for name in ("peer", "vip", "sync_peer", "address", "sync_address", "interface", "router_id", "port", "check", "socket", "notify", "autostart")
    }  # fmt: skip
    found["ping_interval_s"] = options["ping_interval"]
    for name in ("socket", "notify"):  # the agent is at home in /
        if found[name] and (name == "socket" or "/" in found[name]):
            found[name] = os.path.abspath(found[name])
    if options["peer"] and not options["address"]:
        found["address"] = _own_address(options["peer"])
    if options["sync_peer"] and not options["sync_address"]:
        found["sync_address"] = _own_address(options["sync_peer"])
    if found["address"] and not options["interface"]:
        found["interface"] = addresses().get(found["address"], "")
    if options["keys"] or options["name"] or kept is None:
        folder = (options["keys"] or KEYS).absolute()
        files = files_of(folder, options["name"] or os.uname().nodename)
        found.update(ca=str(files.ca), certificate=str(files.certificate), key=str(files.key))
    return found


def _own_address(peer: str) -> str:
    """That the kernel would reach it from; nothing is sent."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((peer, 9))
            address: str = sock.getsockname()[0]
        except (OSError, ValueError) as error:
            raise StartError(f"found {peer}, which cannot be reached from here: {getattr(error, 'strerror', '') or error}; allowed is an address of a network of this machine") from error  # fmt: skip
    return address


@click.command(epilog=_CODES + "docs/high-availability.md: from one proxy to a pair.")
@click.option("--primary", is_flag=True, help="This node takes the address. First here.")
@click.option("--secondary", is_flag=True, help="This node takes it when the primary fails. Then here.")  # fmt: skip
@_settings
@click.option(
    "--any-version", is_flag=True, help="Also where both nodes have different versions of wsproxy."
)
@folder_option
@_recorded
def start(node: Folder, primary: bool, secondary: bool, any_version: bool, **options: Any) -> str:
    """
    Make this proxy one of a pair (IBM Workload Deployer's startHA): on the primary first, then on the secondary.

    Options are kept: after a failover `wsproxy ha start --secondary` is enough.
    """
    if primary == secondary:
        found = "--primary and --secondary" if primary else "neither --primary nor --secondary"
        raise StartError(f"found {found}; allowed is one of them")
    pair = _pair_options(node, options)
    given = {"role": "primary" if primary else "secondary", "pair": pair, "any_version": any_version}  # fmt: skip
    deadline = time.monotonic() + START_S
    while True:
        try:
            return _start(node, given)
        except (AgentEndedError, NoAgentError) as error:  # of another start, refused at this moment
            if time.monotonic() > deadline:
                raise StartError(str(error)) from error


def _start(node: Folder, given: dict[str, Any]) -> str:
    keeper = begin_agent(node)
    reply = ask_agent(node, "start", given)
    if reply.error:
        if keeper and reply.given.get("ends"):
            end_agent(keeper, is_ending=True)
        raise StartError(reply.error)
    return str(reply.given["text"])


@click.command(epilog=_CODES)
@_settings
@folder_option
@_recorded
def configure(node: Folder, **options: Any) -> str:
    """Change options of this node while it runs (configureHA); then the same on the other one. The address stays where it is."""
    return str(_done(node, "configure", {"pair": _pair_options(node, options)})["text"])


@click.command(epilog=_CODES)
@folder_option
@_recorded
def stop(node: Folder) -> str:
    """Leave the pair (stopHA): stand-alone, whatever the state was. A secondary takes the address of a primary that stops."""
    try:
        return str(_done(node, "stop")["text"])
    except NoAgentError:
        return _stop_without_agent(node)


def _stop_without_agent(node: Folder) -> str:
    """Of one that was killed: a new one takes up what it left, and ends that."""
    if node.read_node().state is State.STAND_ALONE:
        return "stand-alone"
    begin_agent(node)
    return str(_done(node, "stop")["text"])


@click.command(epilog=_CODES)
@folder_option
@_recorded
def failover(node: Folder) -> str:
    """Move the address to the other node: from the primary, which is idle afterwards, or on the secondary. No request is lost for it."""
    return str(_done(node, "failover")["text"])


@click.command(
    epilog="Exit code: 0 all is well, 1 something is not, which is said, 2 the agent cannot be asked. What every field of --json means: docs/high-availability.md."
)
@_json_option
@settings_option
@folder_option
@click.pass_context
def status(ctx: click.Context, folder: Path, settings_file: Path, *, is_json: bool) -> None:
    """
    Show what this node is (HAstatus): its state, the address, the other node, the networks, keepalived.

    Where its settings name a group, also which published version each proxy of it goes by, and what runs where.
    """
    node = Folder(folder)
    try:
        found = _done(node, "status")
    except NoAgentError:
        found = _without_agent(node)
    except WsproxyError as error:
        fail(str(error), EXIT_NOBODY)
    is_named = ctx.get_parameter_source("settings_file") is not ParameterSource.DEFAULT
    group = group_status(settings_file, is_named=is_named)
    warnings = [*found["warnings"], *(group["warnings"] if group else ())]
    if is_json:
        say_json({**found, "group": group, "warnings": warnings})
    else:
        lines = group_lines(group) if group else []
        for line in (*_lines(found), *lines, *(f"warning     {each}" for each in warnings)):
            say(line)
    sys.exit(1 if warnings else 0)


def _without_agent(node: Folder) -> dict[str, Any]:
    record = node.read_record()
    warnings = []
    if record.state != State.STAND_ALONE:
        warnings = ["no agent runs, though this node was no stand-alone one: `wsproxy ha start` takes it up again, `wsproxy ha stop` ends it"]  # fmt: skip
    return {"state": record.state, "since": record.since, "why": record.why, "agent": None, "holds": False, "pair": None, "peer": None, "proxy": None, "keepalived": None, "warnings": warnings}  # fmt: skip


def _lines(found: dict[str, Any]) -> Iterator[str]:
    since = f", for {_since(found['since'])}" if found["since"] else ""
    yield f"state       {found['state']}{since}{'  (' + found['why'] + ')' if found['why'] else ''}"
    if pair := found["pair"]:
        yield f"address     {pair['vip']} on {pair['interface']}: {'here' if found['holds'] else 'not here'}"
        proxy = found["proxy"]
        yield f"proxy       {proxy['health']}{', pid ' + str(proxy['pid']) if proxy['pid'] else ''}, version {proxy['version'] or '?'}, configuration {proxy['config_digest'][:12] or '?'}"
        if peer := found["peer"]:
            yield f"other node  {pair['peer']}: {peer['state']}, proxy {peer['health']}, version {peer['version']}, configuration {peer['digest'][:12] or '?'}"
        else:
            yield f"other node  {pair['peer']}: not heard"
        for name, each in found["networks"].items():
            heard = "heard" if each["is_heard"] else f"not heard{' (' + each['doubt'] + ')' if each['doubt'] else ''}"  # fmt: skip
            yield f"network     {name}: {each['own']} to {each['peer']}, {heard}"
        if kept := found["keepalived"]:
            yield f"keepalived  pid {kept['pid']}, {kept['state']}, priority {kept['effective_priority']}"


def _since(when: float) -> str:
    return ago(datetime.fromtimestamp(when, UTC).isoformat())


@click.command(
    epilog=_CODES + "Files in it are named ADDRESS-ha.log and so on; each is its last 2 MiB."
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="The zip. Without it: one in this folder that is named by the time.")  # fmt: skip
@folder_option
def trace(folder: Path, output: Path | None) -> None:
    """Put the logs of both nodes into one zip: ha.log, ha.out, ha.result, keepalived's."""
    node = Folder(folder)
    error = ""
    try:
        found = _done(node, "logs")
        nodes, error = found["nodes"], found["error"]
    except NoAgentError as reason:
        nodes, error = {"here": {name: base64.b64encode(data).decode() for name, data in node.tails().items()}}, str(reason)  # fmt: skip
    except WsproxyError as reason:
        fail(str(reason), EXIT_NOBODY)
    path = output or Path(time.strftime(_TRACE))
    try:
        # Addresses, users and paths of two machines: their owner's. Where we chose the name we follow no link that somebody laid there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (0 if output else os.O_NOFOLLOW)
        with open(os.open(path, flags, 0o600), "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # fmt: skip
            for address, files in nodes.items():
                for name, data in files.items():
                    archive.writestr(_member(address, name), base64.b64decode(data))
            if error:
                archive.writestr("MISSING.txt", f"the other node's logs are not here: {error}\n")
    except OSError as reason:
        fail(f"{path}: {reason.strerror}", EXIT_NOBODY)
    say(f"{path}: {', '.join(nodes)}")
    if error:
        fail(f"the other node's logs are not in it: {error}", EXIT_REFUSED)


def _member(address: str, name: str) -> str:
    """A name in the zip; what the other node says is no path."""
    return f"{Path(address).name}-{Path(name).name}".replace(":", "_")


@click.command(
    epilog="Exit code: 0 the node is stand-alone by command, or told to end (SIGTERM, which gives the address away); 1 it cannot begin."
)
@click.option("--keep", "is_kept", is_flag=True, help="Start it again should it die; a service manager does that itself.")  # fmt: skip
@click.option("--for-start", "is_for_start", is_flag=True, help="End again where the first start is refused, or nobody gives one within a minute.")  # fmt: skip
@folder_option
def run(folder: Path, *, is_kept: bool, is_for_start: bool) -> None:
    """Be this node's agent, in the foreground: for a service manager. `wsproxy ha start` begins one where none runs."""

    def be_agent() -> int:
        try:
            return run_agent(folder, is_for_start=is_for_start)
        except LockedError as error:
            click.echo(printable_lines(str(error)), err=True)
            return NOT_NEEDED
        except StartError as error:
            _refuse(str(error))

    if is_kept:
        sys.exit(keep(be_agent))
    call_process("wsproxy-pair")
    sys.exit(EXIT_REFUSED if be_agent() else 0)


def _refuse(text: str) -> NoReturn:
    click.echo(printable_lines(text), err=True)
    sys.exit(EXIT_REFUSED)
