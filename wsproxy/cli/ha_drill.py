"""
``wsproxy ha drill``: failures on request against a live pair, measured, with a report.

Driven by ``cli.ha``. Prints and writes files; the drill itself is ``ha.pair.drill``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from wsproxy.cli.asking import EXIT_NOBODY, EXIT_REFUSED, fail, say
from wsproxy.cli.ha_pair import KEYS, folder_option
from wsproxy.dataplane.tasks import end_all
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.certs import files_of
from wsproxy.ha.pair.ask import ask_agent
from wsproxy.ha.pair.conf import PORT
from wsproxy.ha.pair.drill import STEPS, Drill, Driller
from wsproxy.ha.pair.drill_acts import MOST_MINUTES
from wsproxy.ha.pair.drill_report import report
from wsproxy.ha.pair.folder import Folder
from wsproxy.ha.pair.link import group_contexts

_WARNING = (
    "This breaks the pair {nodes} {count} times on purpose: its proxies are killed and stopped, its networks are cut for seconds.\n"
    "Requests of others are lost, too. Do you want that?"
)


@click.command(
    epilog="Exit code: 0 every promise was kept, 1 one was not, 2 the drill could not be begun or not ended, which is said. "
    "docs/high-availability.md has what is promised, and how it is measured."
)
@click.option("--allow", "minutes", type=click.IntRange(1, MOST_MINUTES), metavar="MINUTES", help="On each node, first: drills may break this node for so long. Nothing else is done.")  # fmt: skip
@click.option("--restart", default="", metavar="COMMAND", help='With --allow: what starts the proxy of this node after it was killed, "systemctl start wsproxy". Without: whoever does that here.')  # fmt: skip
@click.option("--node", "nodes", multiple=True, metavar="ADDRESS", help="Of each node, in the network that the address is in; twice.")  # fmt: skip
@click.option("--url", help="What is asked through the floating address, a hundred times a second: http://10.0.0.100/ready")  # fmt: skip
@click.option("--keys", type=click.Path(file_okay=False, path_type=Path), default=KEYS, show_default=True, help="Folder of ca.pem and of this machine's two files.")  # fmt: skip
@click.option("--name", help="This machine's name in --keys. [default: the machine's]")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True, help="Of the agents.")  # fmt: skip
@click.option("--step", "steps", multiple=True, type=click.Choice(list(STEPS)), help="Only this one; may be repeated. [default: all]")  # fmt: skip
@click.option("--report", "html", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page with pictures.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all figures.")  # fmt: skip
@click.option("--yes", "is_agreed", is_flag=True, help="Do not ask again.")
@folder_option
def drill(
    minutes: int | None,
    restart: str,
    nodes: tuple[str, ...],
    url: str | None,
    keys: Path,
    name: str | None,
    port: int,
    steps: tuple[str, ...],
    html: Path | None,
    json_file: Path | None,
    folder: Path,
    *,
    is_agreed: bool,
) -> None:
    """
    Break a live pair on purpose, and measure what that costs: failovers, a killed proxy, a dead node, cut networks.

    On both nodes `wsproxy ha drill --allow 10`; then, best on a third machine that has a key of the group, `wsproxy ha drill --node A --node B --url URL`.
    """
    if minutes is not None:
        _allow(folder, minutes, restart)
        return
    if len(nodes) != 2 or not url:
        fail(f"found {len(nodes)} --node and {'a' if url else 'no'} --url; allowed is two and one", EXIT_NOBODY)  # fmt: skip
    chosen = steps or tuple(STEPS)
    if not is_agreed:
        click.confirm(_WARNING.format(nodes=" and ".join(nodes), count=len(chosen)), abort=True)
    began = datetime.now(UTC).isoformat(timespec="seconds")
    found = Drill(url=url, nodes=(nodes[0], nodes[1]), began=began, advert_s=0.0)
    failure = ""
    try:
        files = files_of(keys, name or os.uname().nodename)
        _, tls = group_contexts(str(files.ca), str(files.certificate), str(files.key))
        driller = Driller(found, port, tls, say)
        asyncio.run(_run(driller, chosen))
    except WsproxyError as error:
        failure = str(error)
    _write(found, html, json_file)
    if failure:
        fail(failure, EXIT_NOBODY)
    sys.exit(0 if found.is_kept else EXIT_REFUSED)


def _allow(folder: Path, minutes: int, restart: str) -> None:
    try:
        reply = ask_agent(Folder(folder), "allow-drill", {"minutes": minutes, "restart": restart})
        if reply.error:
            raise StartError(reply.error)
    except WsproxyError as error:
        fail(str(error), EXIT_NOBODY)
    say(str(reply.given["text"]))


async def _run(driller: Driller, steps: tuple[str, ...]) -> None:
    try:
        await driller.check()
        await driller.run(steps)
    finally:
        await end_all()


def _write(found: Drill, html: Path | None, json_file: Path | None) -> None:
    try:
        if html is not None:
            html.write_text(report(found))
            say(f"{html}: the report")
        if json_file is not None:
            json_file.write_bytes(msgspec.json.encode(found))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_NOBODY)
