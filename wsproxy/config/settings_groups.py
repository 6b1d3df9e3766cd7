"""
``[[ha.resource]]`` and ``[[ha.policy]]`` of wsproxy.toml: programs that only some members of a core group run, and which members.

Read by ``config.settings_file``, judged by ``config.settings_ha``. Only structs, and how long the end of a resource may take.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from wsproxy.config.address import parse_address

PolicyType = Literal["One of N", "M of N", "All active", "Static", "No operation"]

# A process that was sent SIGKILL is gone in some milliseconds; a machine with no time, and a large one's memory, need more.
KILL_S = 0.5
# Longest that anything of a resource may take: an hour, for a database that recovers.
LONGEST_S = 3600.0
# Each has a process of its own, a few MB; and etcd takes 128 writes at once.
MOST_RESOURCES = 32
# Of one resource: each is connected to at every look, and may take 50 ms not to answer.
MOST_PORTS = 8
# What every group's name has besides what is configured.
OWN_ATTRIBUTE = "resource"
# What names of our own resources begin with; and that of the prober of a whole group.
OWN = "wsproxy."
PROBER = f"{OWN}prober"

# In keys of etcd and in log lines: no separator, no blank, nothing that a shell reads.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_ALLOWED = "allowed are up to 64 letters, digits, - . _"


class ResourceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[ha.resource]]``."""

    name: Annotated[
        str, Meta(description="the same on all members that may run it, no other resource's")
    ] = ""
    group: Annotated[
        dict[str, str] | None,
        Meta(
            description="name of its HA group: attributes that policies match, beside resource, which is its name"
        ),
    ] = None
    take: Annotated[
        tuple[str, ...],
        Meta(
            description="program and arguments that run before start: take a disk, an address; without a shell, as all here"
        ),
    ] = ()
    start: Annotated[
        tuple[str, ...],
        Meta(
            description="program and arguments; it may return when the resource runs, or be the program that runs, with ports or status to say that it does"
        ),
    ] = ()
    stop: Annotated[
        tuple[str, ...],
        Meta(
            description="program and arguments; []: SIGTERM to all processes of the resource. Its return is not believed: the end is awaited"
        ),
    ] = ()
    release: Annotated[
        tuple[str, ...],
        Meta(
            description="program and arguments that run when all has ended: give the disk, the address back; it runs also where nothing was taken"
        ),
    ] = ()
    status: Annotated[
        tuple[str, ...],
        Meta(description="program and arguments; exit code 0: it runs, any other: it does not"),
    ] = ()
    ports: Annotated[
        tuple[str, ...],
        Meta(
            description='"HOST:PORT" on this machine that accept connections while it runs, and are closed when it has stopped'
        ),
    ] = ()
    lock_files: Annotated[
        tuple[str, ...], Meta(description="files that nobody has locked when it has stopped")
    ] = ()
    pid_file: Annotated[
        str,
        Meta(
            description="file that has the pid of its main process, for a program that is nobody's child here"
        ),
    ] = ""
    start_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=LONGEST_S,
            description="longest time of take, and then of start until it runs; later it has failed",
        ),
    ] = 60.0
    stop_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=LONGEST_S,
            description="longest time from stop until all has ended, and then of release; later all is killed, code 207",
        ),
    ] = 60.0
    stop_delay: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="seconds that are waited besides when all has ended, before release: the `sleep 60` of scripts for HACMP, which nothing here needs",
        ),
    ] = 0.0
    fence_s: Annotated[
        float,
        Meta(
            ge=0.0,
            le=LONGEST_S,
            description="what stop, and then release, get instead of stop_s when this member's heartbeats are not answered; then all is killed, before others start",
        ),
    ] = 0.75
    status_s: Annotated[
        float,
        Meta(
            ge=0.05,
            le=600.0,
            description="longest time of one status; then it is killed and counts as not running",
        ),
    ] = 10.0
    is_alive_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=600.0,
            description="time between two looks (status, ports) while it runs, where its policy says nothing else",
        ),
    ] = 10.0
    status_failures: Annotated[
        int,
        Meta(ge=1, le=100, description="looks in a row that find it not running: it has failed"),
    ] = 2
    start_failures: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="failures within retry_s after which this member gives it up, and another one is chosen",
        ),
    ] = 2
    retry_s: Annotated[
        float,
        Meta(
            ge=1.0,
            le=86400.0,
            description="after so long a member that has given it up may be chosen again; sooner by `wsproxy ha clear`",
        ),
    ] = 300.0


class PolicySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[ha.policy]]``."""

    name: Annotated[str, Meta(description="no other policy's")] = ""
    type: Annotated[
        PolicyType,
        Meta(
            description='how many members of an HA group are active: "One of N" one, "M of N" as many as count says, "All active" all, "Static" those of preferred, "No operation" those that `wsproxy ha activate` names'
        ),
    ] = "One of N"
    match: Annotated[
        dict[str, str] | None,
        Meta(
            description="attributes that an HA group's name must have, all of them; the policy with the most governs"
        ),
    ] = None
    count: Annotated[int, Meta(ge=1, le=1000, description='M of "M of N"')] = 1
    preferred: Annotated[
        tuple[str, ...],
        Meta(description='members that are chosen first, the first first; those of "Static"'),
    ] = ()
    preferred_only: Annotated[bool, Meta(description="true: nobody else is chosen")] = False
    failback: Annotated[
        bool,
        Meta(
            description="true: a member that is preferred takes over from one that is less so; false: whoever is active stays"
        ),
    ] = False
    quorum: Annotated[
        bool,
        Meta(
            description="true: nobody is active while half of members, or more, are not there; etcd's own majority is needed in any case"
        ),
    ] = False
    members: Annotated[
        tuple[str, ...],
        Meta(description="all that could be in the group: what quorum counts, needed for it"),
    ] = ()
    is_alive_s: Annotated[
        int,
        Meta(
            ge=-1,
            le=600,
            description="HAManager's is-alive timer: seconds between two looks at active members; 0: as the resource says; -1: none",
        ),
    ] = 0


def fence_lead_s(resource: ResourceSettings) -> float:
    """How long before a member's right ends the end of this resource must begin: stop, release where there is one, and the kill."""
    return resource.fence_s * (2 if resource.release else 1) + KILL_S


def longest_end_s(resources: Sequence[ResourceSettings]) -> float:
    """Of all of them, which end at the same time: stop, its delay, the kill, release."""
    return max(
        (2 * each.stop_s + each.stop_delay + KILL_S for each in resources),
        default=0.0,
    )


def check_resources(
    resources: Sequence[ResourceSettings], most_lead_s: float, least_missed: str
) -> Iterator[tuple[tuple[int, str], str]]:
    """(Index, setting) and what is wrong with it; ``most_lead_s``: what a lease leaves for ``fence_lead_s``, ``least_missed`` how it gets longer."""
    names: set[str] = set()
    for index, each in enumerate(resources):
        if not NAME.fullmatch(each.name):
            yield (index, "name"), f'found "{each.name}"; {NAME_ALLOWED}'
        elif each.name.startswith(OWN):
            yield (index, "name"), f'found "{each.name}", which is wsproxy\'s own; allowed is a name that does not begin with {OWN}'  # fmt: skip
        elif each.name in names:
            yield (index, "name"), f'found "{each.name}" twice; allowed is a name of its own'
        names.add(each.name)
        for name, text in _resource_flaws(each):
            yield (index, name), text
        lead_s = fence_lead_s(each)
        if lead_s > most_lead_s:
            twice = ", twice, for stop and for release," if each.release else ""
            yield (
                (index, "fence_s"),
                f"found {each.fence_s:g}: when heartbeats are not answered its end takes {lead_s:g} s (fence_s{twice} and {KILL_S:g} s to kill), and a "
                f"lease leaves {max(most_lead_s, 0):g} s for it; allowed is what fits, or {least_missed}: else another member would start it "
                "while it still runs here",
            )
    if len(resources) > MOST_RESOURCES:
        yield (MOST_RESOURCES, "name"), f"found {len(resources)} resources; allowed are {MOST_RESOURCES}"  # fmt: skip


def _resource_flaws(resource: ResourceSettings) -> Iterator[tuple[str, str]]:
    if not resource.start:
        yield "start", 'found none; allowed is ["/path/of/a/program", "argument", ...]'
    for name in ("take", "start", "stop", "release", "status"):
        command = getattr(resource, name)
        if command and not command[0].startswith("/"):
            text = f'found "{command[0]}"; allowed is the absolute path of a program: there is no shell, and PATH says nothing'
            yield name, text
    for name, paths in (("lock_files", resource.lock_files), ("pid_file", (resource.pid_file,))):
        for path in paths:
            if path and not path.startswith("/"):
                yield name, f'found "{path}"; allowed is an absolute path'
    if len(resource.ports) > MOST_PORTS:
        yield "ports", f"found {len(resource.ports)}; allowed are {MOST_PORTS}"
    for text in resource.ports:
        if flaw := _port_flaw(text):
            yield "ports", flaw


def _port_flaw(text: str) -> str:
    try:
        address = parse_address(text, is_listener=False)
    except ValueError as error:
        return str(error)
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return f'found "{text}"; allowed is an IP address of this machine and a port: no name is asked for when something must stop'
    return ""


def check_policies(policies: Sequence[PolicySettings]) -> Iterator[tuple[tuple[int, str], str]]:
    """(Index, setting) and what is wrong with it."""
    names: set[str] = set()
    for index, each in enumerate(policies):
        if not NAME.fullmatch(each.name):
            yield (index, "name"), f'found "{each.name}"; {NAME_ALLOWED}'
        elif each.name in names:
            yield (index, "name"), f'found "{each.name}" twice; allowed is a name of its own'
        names.add(each.name)
        for name, text in policy_flaws(each):
            yield (index, name), text


def policy_flaws(policy: PolicySettings) -> Iterator[tuple[str, str]]:
    """What is wrong with one policy by itself: of a file, or one that is changed while the group runs."""
    for name in ("preferred", "members"):
        for member in getattr(policy, name):
            if not NAME.fullmatch(member):
                yield name, f'found "{member}"; {NAME_ALLOWED}'
    if policy.type == "Static" and not policy.preferred:
        yield "preferred", 'found none with type = "Static"; allowed are the members that are to be active'  # fmt: skip
    if policy.preferred_only and not policy.preferred:
        yield "preferred_only", "found true without preferred, so nobody would ever be active; allowed with preferred"  # fmt: skip
    if policy.count != 1 and policy.type != "M of N":
        yield "count", f'found {policy.count} with type = "{policy.type}"; allowed with "M of N"'
    if policy.quorum and not policy.members:
        yield "members", "found none with quorum = true; allowed are the names of all members that could be there"  # fmt: skip
