"""
``wsproxy publish``: one plugin-cfg.xml for all proxies of a group.

Driven by ``cli.main``. Parses and prints; ``ha.master`` does it, and each proxy judges for itself what it takes over.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from wsproxy.cli.asking import EXIT_NOBODY, EXIT_REFUSED, fail, say, say_json
from wsproxy.cli.check import as_json, find_all
from wsproxy.cli.grouped import (
    EXIT_CODES,
    Group,
    group_settings,
    myself,
    run_grouped,
    settings_option,
)
from wsproxy.cli.run import parse_listen
from wsproxy.config.address import Address
from wsproxy.config.model import Config
from wsproxy.config.open_secrets import open_secrets
from wsproxy.config.published import MOST_WORDS, Version
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.xml_tree import MAX_FILE_BYTES
from wsproxy.errors import ConfigRefusedError, WsproxyError
from wsproxy.ha.master.library import Held, News, OvertakenError
from wsproxy.ha.master.rollout import HaltedError, is_rejected, one_at_a_time, watch_all
from wsproxy.ha.master.words import Applied
from wsproxy.process.listeners import LISTEN_CODE

# A proxy has heard of it within a moment; reading, checking and compiling the largest takes it some seconds.
WAIT_S = 60.0
# A comment is read in a table of versions.
MOST_COMMENT = 200
_KEYRINGS = ("keyring", "stashfile")
# What the proxy that runs here has itself.
_OWN = (LISTEN_CODE, "admin-socket")


@click.command(
    epilog=EXIT_CODES
    + "docs/high-availability.md: one configuration for all. `wsproxy ha history`, `wsproxy ha rollback` and `wsproxy ha status` belong to it."
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@settings_option
@click.option("--listen", multiple=True, metavar="HOST:PORT", callback=parse_listen, help="The same as for `wsproxy run` of the proxies, where that has it: FILE is checked as it would be for them.")  # fmt: skip
@click.option("--comment", default="", help="Why, for the history; up to 200 characters.")
@click.option("--base", type=click.IntRange(min=0), metavar="VERSION", help="Only if this version holds: that which FILE was made from. 0: none was published.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would be published, and whether FILE is accepted.")  # fmt: skip
@click.option("--one-at-a-time", is_flag=True, help="One proxy after the other, each when the one before goes by it and its reload.guard_s is over; stops at the first that does not. This command must live so long.")  # fmt: skip
@click.option("--wait", "wait_s", type=click.FloatRange(min=0, max=86400), default=WAIT_S, show_default=True, help="Seconds to wait for what each proxy says of it; with --one-at-a-time for each proxy. 0: not at all.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
def publish(
    file: Path,
    settings_file: Path,
    listen: tuple[Address, ...],
    comment: str,
    base: int | None,
    wait_s: float,
    *,
    dry_run: bool,
    one_at_a_time: bool,
    is_json: bool,
) -> None:
    """
    Check FILE, a plugin-cfg.xml, and have all proxies of the group go by it.

    It gets the next version number and is kept in etcd. Each proxy with ha.config_folder gets it, checks it and takes it over without a new start; one that
    refuses it keeps what it has, and says why. Key files are not published: Properties keyring and stashfile name files of each proxy.
    """
    if len(comment) > MOST_COMMENT:
        raise click.UsageError(f"--comment: found {len(comment)} characters; allowed are up to {MOST_COMMENT}")  # fmt: skip
    if one_at_a_time and not wait_s:
        raise click.UsageError("--wait: found 0 with --one-at-a-time; allowed are the seconds to wait for each proxy")  # fmt: skip
    try:
        ha = group_settings(settings_file)
    except WsproxyError as error:
        fail(str(error), EXIT_NOBODY)
    data, notes = _judged(file, settings_file, listen, ha)
    news = News(data, myself(), comment, file.name[:MOST_WORDS], only=() if one_at_a_time else None)

    async def work(group: Group) -> dict[str, Any]:
        held = await group.library.head()
        if base is not None and base != held.number:
            raise _overtaken(OvertakenError(held.head))
        if dry_run:
            return _dry(held, news)
        if not is_json:
            for note in notes:
                say(note)
        return await carry_out(group, news, held, wait_s, is_quiet=is_json)

    found = run_grouped(settings_file, work)
    tell(found, is_json=is_json)


def tell(found: dict[str, Any], *, is_json: bool) -> None:
    """What was published, and what became of it; ends the command where that is not as it was meant."""
    if is_json:
        say_json(found)
    else:
        for line in found["lines"]:
            say(line)
    if not found["is_good"]:
        sys.exit(EXIT_REFUSED)


def _judged(
    file: Path, settings_file: Path, listen: tuple[Address, ...], ha: HaSettings
) -> tuple[bytes, list[str]]:
    """What stands in the file, and what is to be known of it; where it cannot be used the command ends."""
    data = _read(file)
    # As `wsproxy check` does; where no proxy runs, only what is so on any machine.
    is_proxy = bool(ha.config_folder)
    found = find_all(str(file), str(settings_file), listen, is_start=is_proxy)
    report = as_json(found)
    if report.status == "refused":
        lines = [each.text for each in report.problems if each.severity == "error"]
        if not listen and any(each.code == LISTEN_CODE for each in report.problems):
            lines.append("--listen: found none; where `wsproxy run` of the proxies has it, it is needed here, too")  # fmt: skip
        fail("\n".join([*lines, f"{file}: refused: nothing is published"]), EXIT_REFUSED)
    if _read(file) != data:
        fail(f"{file}: somebody has changed it meanwhile: nothing is published", EXIT_REFUSED)
    try:
        secrets = open_secrets(data, str(file))
    except ConfigRefusedError as refused:
        fail(str(refused), EXIT_REFUSED)
    if secrets:
        fail("\n".join([*map(str, secrets), f"{file}: refused: nothing is published"]), EXIT_REFUSED)  # fmt: skip
    notes = [each.text for each in report.problems if each.severity == "warning" and each.code not in _OWN]  # fmt: skip
    if not is_proxy:
        notes.append("ha.config_folder is not set here: what a proxy's own settings and machine have to say, each proxy says itself")  # fmt: skip
    assert found.config is not None
    return data, [*notes, *_local_files(found.config)]


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_FILE_BYTES + 1)


def _local_files(config: Config) -> list[str]:
    """Files that each proxy must have itself."""
    named = {
        item.value
        for cluster in config.server_clusters
        for server in cluster.servers
        for transport in server.transports
        for item in transport.properties
        if item.name in _KEYRINGS and item.value
    }
    notes = []
    if named:
        notes.append(f"each proxy must have, itself: {', '.join(sorted(named))}")
    if relative := sorted(each for each in named if not each.startswith("/")):
        notes.append(f"these are looked for in ha.config_folder of each proxy: {', '.join(relative)}")  # fmt: skip
    return notes


def _dry(held: Held, news: News) -> dict[str, Any]:
    now = (
        "nothing is published yet" if held.head is None else f"{held.head.version.in_words()} holds"
    )
    line = f"{news.file}: accepted, and not published (--dry-run); it would be version {held.number + 1}; {now}"
    return {"lines": [line], "is_good": True, "version": None, "members": {}}


def _overtaken(error: OvertakenError) -> WsproxyError:
    number = error.head.version.number if error.head else 0
    look = f"Look at it (`wsproxy ha show {number}`), and publish" if number else "Publish"
    return WsproxyError(f"somebody else was first: {error}. {look} yours again if it is still meant")  # fmt: skip


async def carry_out(
    group: Group, news: News, held: Held, wait_s: float, *, is_quiet: bool
) -> dict[str, Any]:
    """Publishes it, and waits for what becomes of it; what there is to be told."""
    library = group.library
    order = sorted(await library.applied())
    try:
        head = await library.publish(news, held)
    except OvertakenError as error:
        raise _overtaken(error) from error
    version = head.version
    lines = [f"published {version.in_words()}: {version.size} bytes, sha256 {version.sha256}"]
    if not is_quiet:
        say(lines.pop())
    is_good = True
    if news.only is not None:
        if order:
            lines += await _in_turn(group, version, order, wait_s, is_quiet=is_quiet)
        else:
            await library.allow(await library.head(), None)
    applied: Mapping[str, Applied] = {}
    if wait_s:
        try:
            applied, is_complete = await watch_all(library, version, wait_s)
        except OvertakenError as error:
            raise WsproxyError(f"version {version.number} was published, and is over: {error.now} now. Look at it (`wsproxy ha history`)") from error  # fmt: skip
        gone = [name for name in order if name not in applied]
        lines += [f"{name}: was there, and is no member any more: it takes over what holds when it comes back" for name in gone]  # fmt: skip
        is_good = is_complete and not gone and not any(is_rejected(each, version) for each in applied.values())  # fmt: skip
    else:
        applied = await library.applied()
    for name, each in sorted(applied.items()):
        silent = (
            "" if each.is_done_with(version) else f"; nothing said of version {version.number} yet"
        )
        lines.append(f"{name}: {each.in_words()}{silent}")
    if not applied:
        lines.append("no proxy with ha.config_folder is there now: those that come take it over")
    return {"lines": lines, "is_good": is_good, "version": version, "members": applied}


async def _in_turn(
    group: Group, version: Version, order: list[str], wait_s: float, *, is_quiet: bool
) -> list[str]:
    told: list[str] = []
    try:
        held = await group.library.head()
        if held.head is None or held.head.version.id != version.id:
            raise OvertakenError(held.head)
        await one_at_a_time(group.library, held, order, wait_s, told.append if is_quiet else say)
    except (HaltedError, OvertakenError) as error:
        raise WsproxyError(
            f"{error}\nversion {version.number} goes no further: `wsproxy ha status` says who has it, `wsproxy ha rollback` takes it back there, `wsproxy publish` begins anew"
        ) from error
    return told
