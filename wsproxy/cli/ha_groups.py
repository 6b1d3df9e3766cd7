"""
``wsproxy ha status --settings``, ``policy``, ``move``, ``activate``, ``deactivate``, ``clear``: HA groups of a core group and their resources.

Driven by ``cli.ha``. Asks etcd itself, by the settings of a member: no proxy needs to run. Prints; what is decided is ``ha.resource``'s.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from wsproxy.cli.asking import EXIT_NOBODY, EXIT_REFUSED, fail, say, say_json
from wsproxy.config.settings_file import load_settings
from wsproxy.config.settings_groups import PolicySettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.errors import StartError, WsproxyError
from wsproxy.ha.names import Names
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.told import lines_of, state_of, tell
from wsproxy.ha.resource.words import GroupState, decode_policies, encode_policies
from wsproxy.ha.store.base import Delete, Put, StoreAwayError, Unchanged
from wsproxy.ha.store.embedded import context_in
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

_CODES = "Exit code: 0 done, 1 refused or not done, with the reason, 2 etcd cannot be asked, or what is given here cannot be used. "
# How often etcd is asked whether something is so by now.
_LOOK_S = 0.1

settings_option = click.option(
    "--settings",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The wsproxy.toml of a member: where etcd is, and the names of cell and core group.",
)
_wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 86400),
    default=120.0,
    show_default=True,
    help="Seconds until it is to be so; 0: the word is said and nobody waits.",
)


@dataclass(frozen=True, slots=True)
class _Asked:
    store: EtcdStore
    names: Names
    ha: HaSettings

    async def entries(self) -> Any:
        return (await self.store.read(self.names.root)).entries

    async def group(self, resource: str) -> GroupState:
        _, state = state_of(self.names, await self.entries())
        group = state.groups.get(resource)
        if group is None or not group.offers:
            known = sorted(name for name, each in state.groups.items() if each.offers)
            raise StartError(f"found resource {resource}, which no member has; allowed is one of {', '.join(known) or 'none: no member has any'}")  # fmt: skip
        return group


def place_of(ha: HaSettings) -> Gateway:
    """
    Where the group is kept.

    Raises:
        StartError: there is none, or it cannot be found from here.
    """
    if not ha.is_on:
        raise StartError('found [ha] store = "off"; allowed is the wsproxy.toml of a member')
    if ha.store == "etcd":
        return Gateway(ha.endpoints, group_context(ha), try_s=2.0)
    if not ha.endpoints or not ha.data_dir:
        raise StartError('found store = "embedded" without endpoints or data_dir, so nobody knows where its etcd is; allowed with both')  # fmt: skip
    return Gateway(ha.endpoints, context_in(Path(ha.data_dir)), try_s=2.0)


def _ask(file: Path, work: Callable[[_Asked], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        ha = load_settings(file).settings.ha
        store = EtcdStore(place_of(ha))
        try:
            return await work(_Asked(store, Names(ha.cell, ha.core_group), ha))
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except StoreAwayError as error:
        fail(f"etcd cannot be asked: {error}", EXIT_NOBODY)
    except StartError as error:
        fail(str(error), EXIT_REFUSED)
    except (WsproxyError, OSError) as error:
        fail(str(error), EXIT_NOBODY)


def show_groups(file: Path, *, is_json: bool) -> None:
    """`wsproxy ha status --settings FILE`."""

    async def work(asked: _Asked) -> dict[str, Any]:
        return tell(asked.names, await asked.entries())

    found = _ask(file, work)
    if is_json:
        say_json(found)
    else:
        for line in lines_of(found):
            say(line)
    sys.exit(1 if found["warnings"] else 0)


@click.command(epilog=_CODES)
@settings_option
@click.option("--apply", "is_applied", is_flag=True, help="Make those of the file the group's: members go by them at once, all of them by the same.")  # fmt: skip
def policy(file: Path, *, is_applied: bool) -> None:
    """Show the policies that the group goes by, and what is otherwise in the `[[ha.policy]]` of the file."""

    async def work(asked: _Asked) -> tuple[list[PolicySettings], list[PolicySettings]]:
        key = asked.names.policies
        entry = (await asked.entries()).get(key)
        stored = () if entry is None else decode_policies(entry.value)
        if stored is None and not is_applied:
            raise StartError("the group's policies are of another version of wsproxy; allowed is --apply, with the file's")  # fmt: skip
        wanted = list(asked.ha.policies)
        if is_applied:
            modified = 0 if entry is None else entry.modified
            swapped = await asked.store.swap(
                [Unchanged(key, modified)], [Put(key, encode_policies(wanted))]
            )
            if not swapped.done:
                raise StartError("somebody else has changed the policies in this moment; nothing was done")  # fmt: skip
            stored = tuple(wanted)
        return list(stored or ()), wanted

    stored, wanted = _ask(file, work)
    for each in stored:
        say(f"policy      {_policy_words(each)}")
    if not stored:
        say("policy      none: each group has One of N, in the order of joining")
    by_name = {each.name: each for each in stored}
    for each in wanted:
        if each.name not in by_name:
            say(f"file        {each.name} is not the group's: --apply")
        elif by_name[each.name] != each:
            say(f"file        {_policy_words(each)}: --apply")
    for each in stored:
        if each.name not in {one.name for one in wanted}:
            say(f"file        does not have {each.name}, which --apply would take away")


def _policy_words(policy: PolicySettings) -> str:
    known = msgspec.to_builtins(policy)
    usual = msgspec.to_builtins(PolicySettings())
    rest = {key: value for key, value in known.items() if value != usual[key] and key not in ("name", "type")}  # fmt: skip
    words = ", ".join(f"{key} = {msgspec.json.encode(value).decode()}" for key, value in rest.items())  # fmt: skip
    return f"{policy.name}: {policy.type}{', ' + words if words else ''}"


def _worded(command: Callable[..., str]) -> Callable[..., None]:
    """Says what it returns."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        say(command(*args, **options))

    return run


async def _until(asked: _Asked, resource: str, member: str, wait_s: float, *, runs: bool) -> str:
    """Waits until it runs there, or does not; the sentence. A failure is one at once."""
    began = time.monotonic()
    while True:
        group = await asked.group(resource)
        offer = group.offers.get(member)
        is_there = member in group.places
        if runs and is_there and offer is not None and offer.phase == Phase.RUNNING:
            return f"resource {resource} runs at {member}"
        if not runs and not is_there:
            return f"resource {resource} does not run at {member}"
        if runs and offer is not None and offer.given_up:
            raise StartError(f"resource {resource}: {member} has given it up: {offer.why}; `wsproxy ha clear {resource}`")  # fmt: skip
        if time.monotonic() - began >= wait_s:
            if not wait_s:
                return "said"
            phase = "not there" if offer is None else offer.phase or "not ready"
            raise StartError(f"said, but resource {resource} is {phase} at {member} after {wait_s:g} s{': ' + offer.why if offer and offer.why else ''}")  # fmt: skip
        await asyncio.sleep(_LOOK_S)


def _known_member(group: GroupState, resource: str, member: str) -> None:
    if member not in group.offers:
        raise StartError(f"found member {member}, which does not have resource {resource}; allowed is one of {', '.join(sorted(group.offers))}")  # fmt: skip


@click.command(epilog=_CODES)
@click.argument("resource")
@click.argument("member", default="")
@click.option("--back", is_flag=True, help="Take the word back: the policy alone decides again.")
@_wait_option
@settings_option
@_worded
def move(resource: str, member: str, file: Path, wait_s: float, *, back: bool) -> str:
    """
    Have RESOURCE run at MEMBER: it is stopped and released where it is, then taken and started there. One of N and M of N only.

    MEMBER is preferred before all others until --back is said; should it leave, another one is chosen as always.
    """
    if bool(member) == back:
        fail("found no MEMBER and no --back, or both; allowed is one of them", EXIT_NOBODY)

    async def work(asked: _Asked) -> str:
        group = await asked.group(resource)
        key = asked.names.group(resource, "moved")
        if back:
            await asked.store.swap([], [Delete(key)])
            return f"resource {resource}: the policy decides"
        _known_member(group, resource, member)
        await asked.store.put(Put(key, member.encode()))
        return await _until(asked, resource, member, wait_s, runs=True)

    return str(_ask(file, work))


def _switch(resource: str, member: str, file: Path, wait_s: float, *, is_on: bool) -> str:
    async def work(asked: _Asked) -> str:
        group = await asked.group(resource)
        key = asked.names.group(resource, "activated", member)
        if is_on:
            _known_member(group, resource, member)
            await asked.store.put(Put(key, b""))
        else:
            await asked.store.swap([], [Delete(key)])
        return await _until(asked, resource, member, wait_s, runs=is_on)

    return str(_ask(file, work))


@click.command(epilog=_CODES)
@click.argument("resource")
@click.argument("member")
@_wait_option
@settings_option
@_worded
def activate(resource: str, member: str, file: Path, wait_s: float) -> str:
    """Have RESOURCE run at MEMBER, where its policy is No operation: an operator, or other cluster software, decides."""
    return _switch(resource, member, file, wait_s, is_on=True)


@click.command(epilog=_CODES)
@click.argument("resource")
@click.argument("member")
@_wait_option
@settings_option
@_worded
def deactivate(resource: str, member: str, file: Path, wait_s: float) -> str:
    """The contrary of activate; it has stopped and is released when this returns."""
    return _switch(resource, member, file, wait_s, is_on=False)


@click.command(epilog=_CODES)
@click.argument("resource")
@settings_option
@_worded
def clear(resource: str, file: Path) -> str:
    """Forget failures of RESOURCE at all members: who had given it up may be chosen again."""

    async def work(asked: _Asked) -> str:
        await asked.group(resource)
        await asked.store.put(Put(asked.names.group(resource, "cleared"), b""))
        return f"resource {resource}: failures are forgotten"

    return str(_ask(file, work))
