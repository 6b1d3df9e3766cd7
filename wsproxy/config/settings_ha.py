"""
``[ha]`` of wsproxy.toml: several proxies as one group, by way of etcd; and what its settings demand of each other.

Driven by ``config.settings`` and ``config.check_settings``. Only structs and judgements on them: must not read files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from wsproxy.config.address import Address, is_loopback
from wsproxy.config.settings_bridge import BridgeSettings, check_bridges, url_flaw, user_flaws
from wsproxy.config.settings_groups import (
    NAME,
    NAME_ALLOWED,
    PolicySettings,
    ResourceSettings,
    check_policies,
    check_resources,
)

HaStore = Literal["off", "embedded", "etcd"]
HaTls = Literal["auto", "off"]

# What operators of HAManager know the two as: accepted in [ha] beside our own names.
OTHER_NAMES = {
    "IBM_CS_FD_PERIOD_SECS": "period_s",
    "IBM_CS_FD_CONSECUTIVE_MISSED": "missed",
}

# etcd as docs/high-availability.md has it started (`--election-timeout 500`), and as we start it ourselves. A lease must outlive
# the election of a new leader, or every member leaves the group when etcd loses one server: three times, as measured.
ELECTION_S = 0.5
EMBEDDED_ELECTION_S = 0.1
ELECTIONS = 3
# A member acts as if it were dead so long before its lease ends: before anybody else can know that it is.
FENCE_MARGIN_S = 0.25


class HaSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[ha]``: a group of proxies; off by default."""

    store: Annotated[
        HaStore,
        Meta(
            description='where the group is kept: "etcd" at the endpoints, "embedded" one etcd that wsproxy starts itself, on this machine, for trying; "off" this proxy is alone'
        ),
    ] = "off"
    endpoints: Annotated[
        tuple[str, ...],
        Meta(
            description='client URLs of etcd, all of them: "https://proxy1:2379"; with store "embedded" none, or the one it is to have on this machine'
        ),
    ] = ()
    cell: Annotated[str, Meta(description="name of the whole; several may share one etcd")] = (
        "wsproxy"
    )
    core_group: Annotated[
        str, Meta(description="name of the group in the cell that this proxy is a member of")
    ] = "DefaultCoreGroup"
    name: Annotated[
        str,
        Meta(
            description="this member's name, no other's in the group; empty: the name of the machine"
        ),
    ] = ""
    period_s: Annotated[
        float,
        Meta(
            ge=0.1,
            le=600.0,
            description="time between two heartbeats to etcd; also by the name of IBM_CS_FD_PERIOD_SECS",
        ),
    ] = 1.0
    missed: Annotated[
        int,
        Meta(
            ge=2,
            le=1000,
            description="heartbeats in a row that a member may miss; after the last one it is out of the group, which takes period_s times this, in whole seconds; also by the name of IBM_CS_FD_CONSECUTIVE_MISSED",
        ),
    ] = 5
    preferred_coordinators: Annotated[
        tuple[str, ...],
        Meta(
            description="names of members that become coordinator before all others, the first first; the rest by their id, lowest first"
        ),
    ] = ()
    tls: Annotated[
        HaTls,
        Meta(
            description='"auto": etcd is spoken to by TLS, with a certificate on both sides, and without only on this machine; "off": never'
        ),
    ] = "auto"
    ca: Annotated[
        str,
        Meta(
            description="PEM file: the issuer that etcd's certificates are believed by; `wsproxy ha certs` makes it and the next two; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    certificate: Annotated[
        str, Meta(description="PEM file: the certificate that this member shows to etcd")
    ] = ""
    key: Annotated[str, Meta(description="PEM file: its private key, mode 0600 or stricter")] = ""
    user: Annotated[
        str,
        Meta(description="user of etcd, where that has users (`etcdctl auth enable`); empty: none"),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            description="file with that user's password in its first line, mode 0600 or stricter; read anew whenever a token is asked for; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    session_key: Annotated[
        str,
        Meta(
            description="file with a secret that all members have and etcd has not, 32 bytes or more, mode 0600: members tell each other which server took a session over, by hashes under it; `wsproxy ha certs` makes it; empty: they do not tell; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    etcd: Annotated[str, Meta(description='for store "embedded": the program, by name or path')] = (
        "etcd"
    )
    data_dir: Annotated[
        str,
        Meta(
            description='for store "embedded": folder that etcd keeps its data in, some 130 MB; empty: one that ends with the proxy; relative to the folder of wsproxy.toml'
        ),
    ] = ""
    config_folder: Annotated[
        str,
        Meta(
            description="folder on this machine for what `wsproxy publish` gives to the whole group: this proxy goes by that, and starts from it without etcd; FILE of the command line holds only until something was published; empty: FILE alone; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    one_prober: Annotated[
        bool,
        Meta(
            description="true: one member's probes ask all servers, for all members, which get its marks; false: each member asks for itself"
        ),
    ] = False
    resources: tuple[ResourceSettings, ...] = field(default=(), name="resource")
    policies: tuple[PolicySettings, ...] = field(default=(), name="policy")
    bridges: tuple[BridgeSettings, ...] = field(default=(), name="bridge")

    @property
    def is_on(self) -> bool:
        """Whether this proxy is to be a member of a group."""
        return self.store != "off"

    @property
    def ttl_s(self) -> int:
        """How long a member's lease lives without a heartbeat; etcd knows whole seconds only."""
        return math.ceil(round(self.period_s * self.missed, 6))


def least_ttl_s(ha: HaSettings) -> float:
    """
    How long a lease must live at least.

    A heartbeat may come a period late and then meet an election (HA.md 2.4, the form of Patroni's ``loop_wait + 2 *
    retry_timeout <= ttl``): shorter, and losing one etcd of three makes every member leave.
    """
    election_s = EMBEDDED_ELECTION_S if ha.store == "embedded" else ELECTION_S
    return ha.period_s + FENCE_MARGIN_S + ELECTIONS * election_s


def no_etcd(program: str) -> str:
    """What to say where there is no such program, with the name of its package."""
    return (
        f'found "{program}", which is no program on this machine; allowed is etcd 3.4 or later (`apt install etcd-server` on Debian and '
        'Ubuntu, `dnf install etcd` on Fedora), or store = "etcd" with the endpoints of one elsewhere'
    )


def check_ha(ha: HaSettings) -> Iterator[tuple[str, str]]:
    """Settings and what is wrong with them."""
    if not ha.is_on:
        return
    for name in ("cell", "core_group"):
        if not NAME.fullmatch(getattr(ha, name)):
            yield name, f'found "{getattr(ha, name)}"; {NAME_ALLOWED}'
    if ha.name and not NAME.fullmatch(ha.name):
        yield "name", f'found "{ha.name}"; {NAME_ALLOWED}'
    for each in ha.preferred_coordinators:
        if not NAME.fullmatch(each):
            yield "preferred_coordinators", f'found "{each}"; {NAME_ALLOWED}'
    yield from _check_user(ha)
    if ha.ttl_s < least_ttl_s(ha):
        yield (
            "missed",
            f"found {ha.missed} with period_s = {ha.period_s:g}: a member is out after {ha.ttl_s} s; allowed are "
            f"{least_ttl_s(ha):g} s or more, so that the election of a new etcd leader puts nobody out",
        )
    yield from _check_endpoints(ha)


def check_groups(ha: HaSettings) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The same of its resources, policies and bridges: where, and what is wrong."""
    if not ha.is_on:
        if ha.resources:
            yield ("resource",), 'found resources without a group; allowed with [ha] store = "etcd"'
        if ha.bridges:
            yield ("bridge",), 'found a bridge without a group; allowed with [ha] store = "etcd"'
        return
    left_s = ha.ttl_s - least_ttl_s(ha)
    longer = f"a larger missed ({ha.missed} with period_s = {ha.period_s:g} make a lease of {ha.ttl_s} s)"
    for (index, name), text in check_resources(ha.resources, left_s, longer):
        yield ("resource", index, name), text
    for (index, name), text in check_policies(ha.policies):
        yield ("policy", index, name), text
    for (index, name), text in check_bridges(ha.bridges, ha.cell, ha.core_group):
        yield ("bridge", index, name), text


def _check_user(ha: HaSettings) -> Iterator[tuple[str, str]]:
    yield from user_flaws(ha.user, ha.password_file)
    if ha.user and ha.store == "embedded":
        yield (
            "user",
            'found one with store = "embedded", whose etcd only this proxy can use; allowed with store = "etcd"',
        )
    if ha.user and ha.tls == "off":
        yield (
            "user",
            'found one with tls = "off": its password could be read on the way; allowed with "auto"',
        )


def _check_endpoints(ha: HaSettings) -> Iterator[tuple[str, str]]:
    if ha.store == "etcd" and not ha.endpoints:
        yield (
            "store",
            'found "etcd" without endpoints; allowed with endpoints = ["https://HOST:2379", ...]',
        )
    if ha.store == "embedded" and len(ha.endpoints) > 1:
        yield (
            "endpoints",
            f'found {len(ha.endpoints)} with store = "embedded", which is one etcd on this machine; allowed is none or one',
        )
    schemes = set()
    is_remote = False
    for url in ha.endpoints:
        if flaw := url_flaw(url):
            yield "endpoints", f'found "{url}"{flaw}; allowed is "https://HOST:PORT"'
            return
        parts = urlsplit(url)
        schemes.add(parts.scheme)
        is_remote |= not is_loopback(Address(parts.hostname or "", parts.port or 0))
        if ha.store == "embedded" and is_remote:
            yield (
                "endpoints",
                f'found "{url}" with store = "embedded", which is for this machine alone; allowed is 127.0.0.1, ::1 or localhost',
            )
            return
    if len(schemes) > 1:
        yield "endpoints", "found http and https; allowed is one of them for all"
    elif schemes == {"http"} and is_remote and ha.tls == "auto":
        yield (
            "endpoints",
            "found http to another machine, where whoever reaches etcd can mark servers down; allowed is https with ca, certificate "
            'and key (`wsproxy ha certs` makes them), or tls = "off"',
        )
    elif ha.store == "etcd" and schemes == {"https"}:
        if ha.tls == "off":
            yield "tls", 'found "off" with https endpoints; allowed is "auto"'
        for name in ("ca", "certificate", "key"):
            if not getattr(ha, name):
                yield (
                    name,
                    "found none with https endpoints; allowed is a PEM file (`wsproxy ha certs` makes all three)",
                )
