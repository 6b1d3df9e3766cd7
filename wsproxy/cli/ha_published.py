"""
``wsproxy ha history|show|rollback``, and what ``wsproxy ha status`` says of the group: which version each proxy goes by.

Driven by ``cli.ha`` and ``cli.ha_pair``. Prints; ``ha.master`` does it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from wsproxy.admin.wall_clock import wall_ms
from wsproxy.cli.asking import EXIT_REFUSED, fail, say, say_json
from wsproxy.cli.grouped import (
    EXIT_CODES,
    Group,
    group_of,
    group_settings,
    myself,
    run_grouped,
    settings_option,
)
from wsproxy.cli.publish import MOST_COMMENT, WAIT_S, carry_out, tell
from wsproxy.config.published import PublishedFolder
from wsproxy.config.settings_ha import HaSettings
from wsproxy.errors import WsproxyError
from wsproxy.ha.board.takeovers_told import lines_of_takeovers, tell_takeovers
from wsproxy.ha.bridge.words import lines_of_bridges, tell_bridges, warnings_of
from wsproxy.ha.master.library import News, before
from wsproxy.ha.master.rollout import is_in_use
from wsproxy.ha.master.words import UnreadableError
from wsproxy.ha.resource.told import lines_of
from wsproxy.ha.resource.told import tell as tell_group
from wsproxy.ha.store.base import StoreAwayError

_SHOWN = 12  # of a digest


@click.command(epilog=EXIT_CODES)
@settings_option
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
def history(settings_file: Path, *, is_json: bool) -> None:
    """List the published versions that are kept, oldest first: when, who, why."""

    async def work(group: Group) -> dict[str, Any]:
        held = await group.library.head()
        kept, strange = await group.library.versions(), await group.library.strange()
        return {"head": held.head, "versions": kept, "strange": strange}

    found = run_grouped(settings_file, work)
    if is_json:
        say_json(found)
        return
    number = found["head"].version.number if found["head"] else 0
    for each in found["versions"]:
        mark = "*" if each.number == number else " "
        say(f"{mark} {each.in_words()}: {each.file or 'plugin-cfg.xml'}, {each.size} bytes, sha256 {each.sha256[:_SHOWN]}")  # fmt: skip
    for text in found["strange"]:
        say(text)
    say(f"version {number} holds (*)" if number else "nothing is published")


@click.command(epilog=EXIT_CODES)
@click.argument("version", type=click.IntRange(min=1))
@settings_option
def show(version: int, settings_file: Path) -> None:
    """Write the plugin-cfg.xml of a published VERSION to standard output, as it was published."""

    async def work(group: Group) -> bytes:
        return await group.library.content(await group.library.version(version))

    click.echo(run_grouped(settings_file, work), nl=False)


@click.command(epilog=EXIT_CODES)
@click.argument("version", type=click.IntRange(min=1), required=False, default=None)
@settings_option
@click.option("--comment", default="", help="Why, for the history.")
@click.option("--wait", "wait_s", type=click.FloatRange(min=0, max=86400), default=WAIT_S, show_default=True, help="Seconds to wait for what each proxy says of it. 0: not at all.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="One JSON object.")
def rollback(
    version: int | None, settings_file: Path, comment: str, wait_s: float, *, is_json: bool
) -> None:
    """
    Have all proxies of the group go by the version before the present one again, or by VERSION: as a new version, with its contents.

    Given again it goes one further back, not to the version that was just left.
    """
    if len(comment) > MOST_COMMENT:
        raise click.UsageError(f"--comment: found {len(comment)} characters; allowed are up to {MOST_COMMENT}")  # fmt: skip

    async def work(group: Group) -> dict[str, Any]:
        held = await group.library.head()
        kept = await group.library.versions()
        earlier = [each.number for each in kept if each.number < held.number]
        wanted = version or (before(held.head.version, kept) if held.head else 0)
        if wanted == held.number or not wanted:
            raise WsproxyError(f"found version {wanted or 'none'}, {'which holds' if wanted else 'as nothing older is kept'}; allowed is one of: {', '.join(map(str, earlier)) or 'none'}")  # fmt: skip
        old = await group.library.version(wanted)
        data = await group.library.content(old)
        news = News(data, myself(), comment, old.file, returned_to=old.number)
        return await carry_out(group, news, held, wait_s, is_quiet=is_json)

    tell(run_grouped(settings_file, work), is_json=is_json)


# --- of `wsproxy ha status` ----------------------------------------------------------------------------------------------


def group_status(settings_file: Path, *, is_named: bool) -> dict[str, Any] | None:
    """
    What the group goes by, and each member; None: this proxy is in none. Not ``is_named``: nobody has said that there is such a file.

    Ends the command where the file that was named cannot be used.
    """
    try:
        ha = group_settings(settings_file)
    except WsproxyError as error:
        if is_named:
            fail(str(error), EXIT_REFUSED)
        return None
    try:
        return asyncio.run(_asked(ha))
    except UnreadableError as error:
        return _alone(ha, str(error))
    except StoreAwayError as error:
        return _alone(ha, f"etcd does not answer: {error}")
    except WsproxyError as error:
        return _alone(ha, str(error))


async def _asked(ha: HaSettings) -> dict[str, Any]:
    async with group_of(ha) as group:
        held = await group.library.head()
        entries = (await group.store.read(group.names.root)).entries
        core_group = tell_group(group.names, entries)
        core_group["bridges"] = tell_bridges(group.names, entries)
        moved = (await group.store.read(group.names.takeovers)).entries
        core_group["takeovers"] = tell_takeovers(group.names, moved)
        applied = await group.library.applied()
        prefix, configs = group.names.members, group.names.configs
        members = [key.removeprefix(prefix) for key in (await group.store.read(prefix)).entries]
        digests = {
            key.removeprefix(configs): entry.value.decode("ascii", "replace")
            for key, entry in (await group.store.read(configs)).entries.items()
        }
    found: dict[str, Any] = {}
    warnings = [*core_group.pop("warnings"), *warnings_of(core_group["bridges"])]
    version = None if held.head is None else held.head.version
    for name in sorted(members):
        each = applied.get(name)
        found[name] = {"digest": digests.get(name, ""), "published": each}
        if version is None or each is None:
            continue
        if not is_in_use(each, version) and not (each.id == version.id and each.is_guarded):
            warnings.append(f"{name} does not go by version {version.number}")
    if held.head is not None and held.head.only is not None:
        who = ", ".join(held.head.only) or "nobody"
        warnings.append(f"version {held.head.version.number} is for {who} only: `wsproxy publish --one-at-a-time` is at it, or was ended")  # fmt: skip
    return {
        "version": version,
        "members": found,
        "warnings": warnings,
        "own": None,
        "core_group": core_group,
    }


def _alone(ha: HaSettings, why: str) -> dict[str, Any]:
    """Without etcd: what this proxy has on disk."""
    own, warnings = None, [why]
    if ha.config_folder:
        try:
            own = PublishedFolder(ha.config_folder).read_standing().version()
        except WsproxyError as error:
            warnings.append(str(error))
    return {"version": None, "members": {}, "warnings": warnings, "own": own, "core_group": None}


def group_lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    if found["version"] is not None:
        lines = [f"published   {found['version'].in_words()}, sha256 {found['version'].sha256[:_SHOWN]}"]  # fmt: skip
    elif found["own"] is not None:
        lines = [f"published   unknown; this proxy has {found['own'].in_words()} on disk"]
    else:
        lines = ["published   " + ("nothing" if found["members"] else "unknown")]
    for name, each in found["members"].items():
        published, digest = each["published"], each["digest"][:_SHOWN] or "?"
        words = "takes nothing (ha.config_folder)" if published is None else published.in_words()
        lines.append(f"member      {name}: {words}, configuration {digest}")
    if found["core_group"] is not None:
        lines += lines_of(found["core_group"])
        now_ms = wall_ms()
        lines += lines_of_bridges(found["core_group"]["bridges"], now_ms)
        lines += lines_of_takeovers(found["core_group"]["takeovers"], now_ms)
    return lines
