"""
``wsproxy drain``, ``resume``, ``down`` and ``up``: what a server gets, by an operator's word.

Driven by ``cli.main``. What they mean is ``admin.control``'s part; docs/operating.md shows them at work.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import click

from wsproxy.admin.client import ask
from wsproxy.admin.control_messages import (
    DRAIN_ALL_PATH,
    RESUME_ALL_PATH,
    AllAnswer,
    AllWord,
    ServersAnswer,
    ServerStatus,
    Word,
    WordAnswer,
)
from wsproxy.cli.asking import EXIT_CODES, asking, joined, say, say_json, span
from wsproxy.cli.status import lines_of, servers_path

# A session that brings no request for so long is over by default, in WebSphere as in Liberty.
IDLE_S = 1800.0
STEP_S = 0.5
# How often the same numbers are said again.
SAY_S = 30.0

_LENGTH = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|min|h|d)?")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Length(click.ParamType[float]):
    """A length of time: 90, 90s, 30m, 2h, 1d."""

    name = "length"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        found = _LENGTH.fullmatch(str(value))
        if found is None or not float(found[1]):
            self.fail(f"found {value}; allowed is a length of time: 90s, 30m, 2h, 1d", param, ctx)
        return float(found[1]) * _UNITS[found[2] or ""]


_TARGET = click.argument("target", metavar="SERVER|HOST")
_TARGET_OR_ALL = click.argument("target", metavar="[SERVER|HOST]", default="")
_ALL = click.option("--all", "is_all", is_flag=True, help="The whole proxy instead of a server.")
_REASON = click.option("--reason", default="", metavar="TEXT", help="Why; kept and shown.")
_FOR = click.option(
    "--for", "for_s", type=Length(), default=0.0, metavar="TIME",
    help="It ends by itself after this time: 90s, 30m, 2h.",
)  # fmt: skip


@click.command(epilog=EXIT_CODES)
@_TARGET_OR_ALL
@_ALL
@_FOR
@_REASON
@click.option("--wait", is_flag=True, help="Wait until it is empty, and show how it empties.")
@click.option(
    "--idle", "idle_s", type=Length(), default=IDLE_S, metavar="TIME",
    help="With --wait: a session without a request for so long counts as over. Default: 30m.",
)  # fmt: skip
@asking
def drain(
    target: str,
    is_all: bool,
    for_s: float,
    reason: str,
    wait: bool,
    idle_s: float,
    path: Path,
    is_json: bool,
) -> None:
    """
    Give SERVER no new sessions: requests of the sessions that it has still go there.

    A host name drains all its servers in all clusters. It holds at once, for all workers, until `wsproxy resume` or the end of
    --for; empty is a server with no request in flight and no session that had a request within --idle.

    --all: the proxy itself. /ready answers 503, so that load balancers send nobody new, and connections end with their answers;
    who comes all the same is served. Until `wsproxy resume --all`, or a restart.
    """
    _check_target(target, is_all=is_all)
    if is_all:
        if for_s or wait:
            raise click.UsageError("--for and --wait are for servers: --all holds until it is taken back")  # fmt: skip
        _drain_all(DRAIN_ALL_PATH, reason, path, is_json=is_json)
        return
    answer = ask(path, "POST", "/v1/drain", WordAnswer, Word(target, reason, for_s))
    if not wait:
        _tell(answer, is_json=is_json)
        return
    if not is_json:
        _tell(answer, is_json=False)
    servers = _wait(path, target, idle_s, (lambda _: None) if is_json else say)
    if is_json:
        say_json(servers)


@click.command(epilog=EXIT_CODES)
@_TARGET_OR_ALL
@_ALL
@_REASON
@asking
def resume(target: str, is_all: bool, reason: str, path: Path, is_json: bool) -> None:
    """End a drain: SERVER gets new sessions again; with --all the whole proxy is ready again."""
    _check_target(target, is_all=is_all)
    if is_all:
        _drain_all(RESUME_ALL_PATH, reason, path, is_json=is_json)
        return
    _tell(ask(path, "POST", "/v1/resume", WordAnswer, Word(target, reason)), is_json=is_json)


@click.command(epilog=EXIT_CODES)
@_TARGET
@_FOR
@_REASON
@asking
def down(target: str, for_s: float, reason: str, path: Path, is_json: bool) -> None:
    """
    Give SERVER no requests at all: its sessions go to other servers, as if it had failed.

    Requests that it has are not cut. `wsproxy up` takes it back.
    """
    _tell(ask(path, "POST", "/v1/down", WordAnswer, Word(target, reason, for_s)), is_json=is_json)


@click.command(epilog=EXIT_CODES)
@_TARGET
@_REASON
@asking
def up(target: str, reason: str, path: Path, is_json: bool) -> None:
    """Take back `down`; a server that failed requests is tried at once, without waiting for its RetryInterval."""
    _tell(ask(path, "POST", "/v1/up", WordAnswer, Word(target, reason)), is_json=is_json)


def _check_target(target: str, *, is_all: bool) -> None:
    if is_all == bool(target):
        found = f"{target} and --all" if target else "neither"
        raise click.UsageError(f"found {found}; allowed is a SERVER or HOST, or --all")


def _drain_all(question: str, reason: str, path: Path, *, is_json: bool) -> None:
    answer = ask(path, "POST", question, AllAnswer, AllWord(reason))
    if is_json:
        say_json(answer)
        return
    how = (
        "drained: not ready, and connections end with their answers" if answer.drained else "ready"
    )
    say(f"the proxy is {how}" + ("" if answer.changed else " (as before)"))
    for warning in answer.warnings:
        say(f"warning: {warning}")


def _tell(answer: WordAnswer, *, is_json: bool) -> None:
    if is_json:
        say_json(answer)
        return
    print_results(answer)


def print_results(answer: WordAnswer) -> None:
    """What became of each server, and what did not work beside it."""
    for result in answer.results:
        row = result.server
        is_up = [f"{row.cluster}/{row.server}: up"] if row.state == "up" else []
        for line in [*is_up, *lines_of(row)]:
            say(line + ("" if result.changed else " (as before)"))
        if result.note:
            say(f"  {result.note}")
    for warning in answer.warnings:
        say(f"warning: {warning}")


def _wait(path: Path, target: str, idle_s: float, tell: Callable[[str], None]) -> ServersAnswer:
    """Until they are empty, or nobody drains them any more."""
    told, told_at = "", 0.0
    while True:
        answer = ask(path, "GET", servers_path(target), ServersAnswer)
        left = [each for each in answer.servers if not is_empty(each, idle_s)]
        if not left:
            tell("empty")
            return answer
        if all(not each.hold for each in left):
            tell("not drained any more: not waited for")
            return answer
        text = "; ".join(_left_words(each, idle_s) for each in left)
        if text != told or time.monotonic() - told_at >= SAY_S:
            tell(text)
            told, told_at = text, time.monotonic()
        time.sleep(STEP_S)


def is_empty(server: ServerStatus, idle_s: float) -> bool:
    """Whether nothing runs there, and no session lives that is known of."""
    return server.in_flight == 0 and not 0 <= server.last_session_s < idle_s


def when_empty(quiet_in: float) -> str:
    """In steps of a minute, towards the end of some seconds: each line says something new. Never later than it may be."""
    step = 60 if quiet_in >= 120 else 10
    left = quiet_in // step * step
    return (
        f"empty in {span(left)} at the earliest"
        if left
        else "empty in some seconds at the earliest"
    )


def _left_words(server: ServerStatus, idle_s: float) -> str:
    quiet_in = idle_s - server.last_session_s
    sessions = ""
    if 0 <= server.last_session_s < idle_s:
        sessions = (
            f"about {server.sessions} session{'s' * (server.sessions != 1)}, {when_empty(quiet_in)}"
        )
    count = server.in_flight
    requests = f"{count} request{'s' * (count != 1)} in flight" if count else ""
    return f"{server.cluster}/{server.server}: {joined([requests, sessions])}"
