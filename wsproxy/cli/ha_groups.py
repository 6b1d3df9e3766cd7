"""
``wsproxy ha policy``, ``move``, ``activate``, ``deactivate``, ``clear``: HA groups of a core group and their resources.

Driven by ``cli.ha``. Asks etcd itself, by the settings of a member: no proxy needs to run. Prints; what is decided is ``ha.resource``'s.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from wsproxy.cli.asking import EXIT_NOBODY, fail, say
from wsproxy.cli.grouped import EXIT_CODES, Group, run_grouped, settings_option
from wsproxy.config.settings_groups import PolicySettings, PolicyType
from wsproxy.errors import WsproxyError
from wsproxy.ha.resource.choice import choose
from wsproxy.ha.resource.order import Phase
from wsproxy.ha.resource.told import state_of
from wsproxy.ha.resource.words import GroupState, decode_policies, encode_policies
from wsproxy.ha.store.base import Delete, Put, Unchanged

# How often etcd is asked whether something is so by now.
_LOOK_S = 0.1

_wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 86400),
    default=120.0,
    show_default=True,
    help="Seconds until it is to be so; 0: the word is said and nobody waits.",
)


class NotDoneError(WsproxyError):
    """What was asked for is not so; the text says why."""


async def _group(asked: Group, resource: str, *types: PolicyType) -> GroupState:
    """``types``: of policies under which the word means anything; none: of all."""
    view, state = state_of(asked.names, (await asked.store.read(asked.names.root)).entries)
    group = state.groups.get(resource)
    if group is None or not group.offers:
        known = sorted(name for name, each in state.groups.items() if each.offers)
        raise NotDoneError(f"found resource {resource}, which no member has; allowed is one of {', '.join(known) or 'none: no member has any'}")  # fmt: skip
    policy = choose(state, resource, view.names).policy
    if types and policy is not None and policy.type not in types:
        allowed = " or ".join(f'"{each}"' for each in types)
        raise NotDoneError(f'found resource {resource} under policy {policy.name}, whose type "{policy.type}" does not hear this; allowed is {allowed} (`wsproxy ha policy --apply`); nothing was said')  # fmt: skip
    return group


@click.command(epilog=EXIT_CODES)
@settings_option
@click.option("--apply", "is_applied", is_flag=True, help="Make those of the file the group's: members go by them at once, all of them by the same.")  # fmt: skip
def policy(settings_file: Path, *, is_applied: bool) -> None:
    """Show the policies that the group goes by, and what is otherwise in the `[[ha.policy]]` of the file."""

    async def work(asked: Group) -> tuple[list[PolicySettings], list[PolicySettings]]:
        key = asked.names.policies
        entry = (await asked.store.read(key)).entries.get(key)
        stored = () if entry is None else decode_policies(entry.value)
        if stored is None and not is_applied:
            raise NotDoneError("the group's policies are of another version of wsproxy; allowed is --apply, with the file's")  # fmt: skip
        wanted = list(asked.ha.policies)
        if is_applied:
            modified = 0 if entry is None else entry.modified
            swapped = await asked.store.swap(
                [Unchanged(key, modified)], [Put(key, encode_policies(wanted))]
            )
            if not swapped.done:
                raise NotDoneError("somebody else has changed the policies in this moment; nothing was done")  # fmt: skip
            stored = tuple(wanted)
        return list(stored or ()), wanted

    stored, wanted = run_grouped(settings_file, work)
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


async def _until(asked: Group, resource: str, member: str, wait_s: float, *, runs: bool) -> str:
    """Waits until it runs there, or does not; the sentence. A failure is one at once."""
    began = time.monotonic()
    while True:
        group = await _group(asked, resource)
        offer = group.offers.get(member)
        is_there = member in group.places
        if runs and is_there and offer is not None and offer.phase == Phase.RUNNING:
            return f"resource {resource} runs at {member}"
        if not runs and not is_there:
            return f"resource {resource} does not run at {member}"
        if runs and offer is not None and offer.given_up:
            raise NotDoneError(f"resource {resource}: {member} has given it up: {offer.why}; `wsproxy ha clear {resource}`")  # fmt: skip
        if time.monotonic() - began >= wait_s:
            if not wait_s:
                return "said"
            phase = "not there" if offer is None else offer.phase or "not ready"
            raise NotDoneError(f"said, but resource {resource} is {phase} at {member} after {wait_s:g} s{': ' + offer.why if offer and offer.why else ''}")  # fmt: skip
        await asyncio.sleep(_LOOK_S)


def _known_member(group: GroupState, resource: str, member: str) -> None:
    if member not in group.offers:
        raise NotDoneError(f"found member {member}, which does not have resource {resource}; allowed is one of {', '.join(sorted(group.offers))}")  # fmt: skip


@click.command(epilog=EXIT_CODES)
@click.argument("resource")
@click.argument("member", default="")
@click.option("--back", is_flag=True, help="Take the word back: the policy alone decides again.")
@_wait_option
@settings_option
@_worded
def move(resource: str, member: str, settings_file: Path, wait_s: float, *, back: bool) -> str:
    """
    Have RESOURCE run at MEMBER: it is stopped and released where it is, then taken and started there. One of N and M of N only.

    MEMBER is preferred before all others until --back is said; should it leave, another one is chosen as always.
    """
    if bool(member) == back:
        fail("found no MEMBER and no --back, or both; allowed is one of them", EXIT_NOBODY)

    async def work(asked: Group) -> str:
        key = asked.names.group(resource, "moved")
        if back:
            await _group(asked, resource)
            await asked.store.swap([], [Delete(key)])
            return f"resource {resource}: the policy decides"
        group = await _group(asked, resource, "One of N", "M of N")
        _known_member(group, resource, member)
        await asked.store.put(Put(key, member.encode()))
        return await _until(asked, resource, member, wait_s, runs=True)

    return str(run_grouped(settings_file, work))


def _switch(resource: str, member: str, settings_file: Path, wait_s: float, *, is_on: bool) -> str:
    async def work(asked: Group) -> str:
        group = await _group(asked, resource, *(("No operation",) if is_on else ()))
        key = asked.names.group(resource, "activated", member)
        if is_on:
            _known_member(group, resource, member)
            await asked.store.put(Put(key, b""))
        else:
            await asked.store.swap([], [Delete(key)])
        return await _until(asked, resource, member, wait_s, runs=is_on)

    return str(run_grouped(settings_file, work))


@click.command(epilog=EXIT_CODES)
@click.argument("resource")
@click.argument("member")
@_wait_option
@settings_option
@_worded
def activate(resource: str, member: str, settings_file: Path, wait_s: float) -> str:
    """Have RESOURCE run at MEMBER, where its policy is No operation: an operator, or other cluster software, decides."""
    return _switch(resource, member, settings_file, wait_s, is_on=True)


@click.command(epilog=EXIT_CODES)
@click.argument("resource")
@click.argument("member")
@_wait_option
@settings_option
@_worded
def deactivate(resource: str, member: str, settings_file: Path, wait_s: float) -> str:
    """The contrary of activate; it has stopped and is released when this returns."""
    return _switch(resource, member, settings_file, wait_s, is_on=False)


@click.command(epilog=EXIT_CODES)
@click.argument("resource")
@settings_option
@_worded
def clear(resource: str, settings_file: Path) -> str:
    """Forget failures of RESOURCE at all members: who had given it up may be chosen again."""

    async def work(asked: Group) -> str:
        await _group(asked, resource)
        await asked.store.put(Put(asked.names.group(resource, "cleared"), b""))
        return f"resource {resource}: failures are forgotten"

    return str(run_grouped(settings_file, work))
