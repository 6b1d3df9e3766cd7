"""
``wsproxy explain FILE METHOD URL``: how one request is decided, as a tree for people or (``--json``) for machines.

Driven by ``cli.main``. Must not decide anything: ``explain.explain`` asks the live code. docs/explain.md names every field.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from wsproxy._fast.decide.cluster import Cluster
from wsproxy._fast.decide.operate import hold_server
from wsproxy._fast.logs.replay import set_inflight
from wsproxy._fast.logs.request import Process
from wsproxy._fast.state.operator import Hold
from wsproxy._fast.state.segment import now_ms
from wsproxy.admin.client import ask_explanation, find_proxy
from wsproxy.admin.messages import ExplainQuestion, digest_of
from wsproxy.cli.json_text import json_text
from wsproxy.config.find import find_server
from wsproxy.config.model import Config
from wsproxy.config.problems import printable, printable_lines
from wsproxy.config.settings_file import read_settings
from wsproxy.config.several import load_several
from wsproxy.errors import WsproxyError
from wsproxy.explain.explain import (
    Explainer,
    Explanation,
    RouteStep,
    ServerStep,
    read_asked,
    split_url,
)
from wsproxy.replay.world import World

EXIT_NO_SERVER = 1
EXIT_UNUSABLE = 2
UNLIMITED = 100_000

_FILE = click.Path(dir_okay=False, path_type=Path)
_NAMED = click.Path(path_type=Path)
_OUTCOMES = {"wins": "bold green", "loses": "yellow", "no match": "dim"}


class Live(msgspec.Struct):
    """The proxy that answered; ``is_same_config``: FILE says the same as what it runs."""

    pid: int
    started_at: str
    version: str
    config: str
    is_same_config: bool


class LiveExplanation(Explanation, kw_only=True):
    """The decision that a running proxy would take now."""

    live: Live


@click.command(
    epilog="Exit code: 0 a server takes the request, 1 none does, 2 something given here cannot be used. "
    "What every name in the output means: docs/explain.md."
)
@click.argument("config_file", type=_NAMED, metavar="FILE")
@click.argument("method")
@click.argument("url", metavar="URL")
@click.option(
    "--cookie", "cookies", multiple=True, metavar="NAME=VALUE", help="A cookie; repeatable."
)
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
    help="A header field; repeatable. Host: replaces the URL's.",
)  # fmt: skip
@click.option(
    "--client", metavar="ADDRESS", default="",
    help="Who asks, for [[edge]] tables that allow or deny addresses.",
)  # fmt: skip
@click.option(
    "--down", multiple=True, metavar="SERVER",
    help="A server that is marked down; CLUSTER/SERVER where several have the name. Repeatable.",
)  # fmt: skip
@click.option(
    "--drained",
    multiple=True,
    metavar="SERVER",
    help="A server that gets requests of its sessions only.",
)
@click.option("--full", multiple=True, metavar="SERVER", help="A server at its MaxConnections.")
@click.option("--settings", "settings_file", type=_FILE, metavar="FILE", help="A wsproxy.toml.")
@click.option(
    "--live",
    is_flag=True,
    help="Ask the running proxy: its configuration, and its servers as they are now.",
)
@click.option(
    "--socket",
    type=_FILE,
    metavar="PATH",
    help="With --live: the admin socket of the proxy to ask. Without: of the one that runs here.",
)
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
def explain(
    config_file: Path,
    method: str,
    url: str,
    cookies: tuple[str, ...],
    headers: tuple[str, ...],
    client: str,
    down: tuple[str, ...],
    drained: tuple[str, ...],
    full: tuple[str, ...],
    settings_file: Path | None,
    live: bool,
    socket: Path | None,
    is_json: bool,
) -> None:
    """
    Show how a request for URL is decided, and why.

    FILE is a plugin-cfg.xml, or a folder of them that are merged as `wsproxy run` does it. Each Route with its scores, the session's clone ids in order, each server's state, and the server that takes it. Nothing is
    sent. Without --down, --drained and --full every server is up and idle; with --live it is as the running proxy has it.
    """
    lines = [*headers, *_cookie_line(cookies)]
    explanation: Explanation
    try:
        config = load_several([config_file]).config
        if live:
            _refuse_assumptions(
                {"--down": down, "--drained": drained, "--full": full, "--settings": settings_file}
            )
            explanation = _ask_live(config, socket, ExplainQuestion(method, url, lines, client))
        else:
            _refuse_assumptions({"--socket": socket}, "it needs --live")
            settings = read_settings(settings_file) if settings_file else None
            world = World(config, settings)
            process = world.new_process()
            _put_into_state(world, process, down, drained, full)
            asked = read_asked(method, *split_url(url), lines, settings, client)
            explainer = Explainer(world.routes, process.decider, process.view, settings=settings)
            explanation = explainer.explain(asked)
    except (WsproxyError, click.UsageError) as error:
        text = error.format_message() if isinstance(error, click.UsageError) else str(error)
        click.echo(printable_lines(text), err=True)
        sys.exit(EXIT_UNUSABLE)
    if is_json:
        click.echo(json_text(explanation, indent=2))
    else:
        _print(explanation)
    sys.exit(0 if explanation.server else EXIT_NO_SERVER)


def _cookie_line(cookies: tuple[str, ...]) -> list[str]:
    return [f"Cookie: {'; '.join(cookies)}"] if cookies else []


def _refuse_assumptions(
    options: dict[str, object], why: str = "--live shows what is, not what would be"
) -> None:
    for name, given in options.items():
        if given:
            raise click.UsageError(f"found {name}; {why}")


def _ask_live(config: Config, socket: Path | None, question: ExplainQuestion) -> LiveExplanation:
    digest = digest_of(config)
    answer = ask_explanation(socket or find_proxy(digest), question)
    proxy = answer.proxy
    live = Live(
        proxy.pid, proxy.started_at, proxy.version, proxy.config, proxy.config_digest == digest
    )
    return LiveExplanation(**msgspec.structs.asdict(answer.explanation), live=live)


def _put_into_state(
    world: World,
    process: Process,
    down: tuple[str, ...],
    drained: tuple[str, ...],
    full: tuple[str, ...],
) -> None:
    now = now_ms()
    for name in down:
        cluster, index = _find(world, process, name)
        cluster.set_down(index, 0, now, detail=b"--down")
    for name in drained:
        cluster, index = _find(world, process, name)
        hold_server(cluster, index, Hold.DRAIN)
    for name in full:
        cluster, index = _find(world, process, name)
        most = cluster.server_state(index)["max_connections"]
        if most <= 0:
            msg = f"--full: found {name}, which has no MaxConnections; allowed is a server that has"
            raise click.UsageError(msg)
        set_inflight(cluster, index, most)


def _find(world: World, process: Process, text: str) -> tuple[Cluster, int]:
    """The server that SERVER or CLUSTER/SERVER names."""
    at, index = find_server(world.config, text)
    cluster = process.clusters[at]
    assert cluster is not None
    return cluster, index


def _print(explanation: Explanation) -> None:
    # A file or a pipe has no width: nothing is cut there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else UNLIMITED)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    console.print(_tree(explanation))


def _tree(explanation: Explanation) -> Tree:
    tree = Tree(
        _line(
            f"{explanation.method} {explanation.path} for {explanation.host}:{explanation.port}",
            "bold",
        )
    )
    if isinstance(explanation, LiveExplanation):
        live = explanation.live
        words = f"live: wsproxy {live.version}, pid {live.pid}, runs {live.config} since {live.started_at}"
        now = tree.add(_line(words))
        if not live.is_same_config:
            text = "the FILE given here says something else; what follows is the running one, with its line numbers"
            now.add(_line(text, "bold yellow"))
    if explanation.edges:
        edges = tree.add(_line("[[edge]] tables of wsproxy.toml that fit, in file order"))
        for line in explanation.edges:
            edges.add(_line(line))
    routes = tree.add(_line("Routes, in file order"))
    for route in explanation.routes:
        routes.add(_line(_route_words(route), _OUTCOMES[route.outcome]))
    if explanation.cluster and not explanation.answers:
        names = f"cookie {explanation.affinity_cookie}, path parameter {explanation.affinity_url_identifier}"
        clones = tree.add(_line(f"Session affinity: {names}"))
        for step in explanation.clone_ids:
            of = f" of {step.server}" if step.server else ""
            clones.add(_line(f"clone id {step.clone_id}{of}: {step.outcome}"))
        if not explanation.clone_ids:
            clones.add(_line("the request brings no clone id", "dim"))
        for note in explanation.notes:
            clones.add(_line(note, "yellow"))
        servers = tree.add(_line(f"Servers of {explanation.cluster}"))
        for server in explanation.servers:
            style = "bold green" if server.name == explanation.server else ""
            servers.add(_line(_server_words(server), style))
    if explanation.server:
        tree.add(
            _line(
                f"-> {explanation.server} at {explanation.transport}: {explanation.rule}",
                "bold green",
            )
        )
    else:
        tree.add(_line(f"-> {explanation.status}: {explanation.rule}", "bold red"))
    return tree


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _route_words(route: RouteStep) -> str:
    hosts = f"{route.virtual_host or '-'} {route.host_score}".strip()
    uris = f"{route.uri or '-'} {route.uri_score}".strip()
    score = f" = {route.score}" if route.score else ""
    return f"line {route.line} -> {route.cluster}: host {hosts}, uri {uris}{score}: {route.outcome}, {route.why}"


def _server_words(server: ServerStep) -> str:
    most = f" of {server.max_connections}" if server.max_connections > 0 else ""
    clone_id = f", clone id {server.clone_id}" if server.clone_id else ""
    return (
        f"{server.name} ({server.role}{clone_id}, weight {server.weight}, in flight {server.in_flight}{most}) "
        f"at {server.address}: {server.verdict}"
    )
