"""
``[[ha.bridge]]`` of wsproxy.toml: the core group of another site, whose words on servers are taken over here, and which of ours may be taken there.

Read by ``config.settings_file``, judged by ``config.settings_ha``. Only structs and judgements on them: must not read files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct, field

from wsproxy.config.address import Address, is_loopback
from wsproxy.config.settings_groups import NAME, NAME_ALLOWED

# Of the other sites of one; each is a connection, and a copy of that site's board in memory.
MOST_BRIDGES = 8
# In ``out``, and in ``in``: each is looked at for each word.
MOST_CHOICES = 64
# Of a user's name.
MOST_USER = 256
# What a subject of the board may be, as operators say it, and as its key does.
BOARDS = {"holds": "hold", "numbers": "numbers", "marks": "mark"}

_BOARD_ALLOWED = 'allowed are "holds", "numbers" and "marks", each alone or with a pattern of clusters behind a colon: "holds:shop_*"'
_CHOICE = 'pattern as in a shell, of clusters\' names, behind a colon: "marks:shop_*"'


class BridgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[ha.bridge]]``."""

    core_group: Annotated[
        str,
        Meta(
            description="core group of the other site, as ha.core_group says it there; with its cell it has another name than ours"
        ),
    ] = ""
    cell: Annotated[str, Meta(description="cell of the other site; empty: the same as ours")] = ""
    endpoints: Annotated[
        tuple[str, ...],
        Meta(
            description='client URLs of the other site\'s etcd: "https://west1:2379"; http only to this machine. Only read from'
        ),
    ] = ()
    ca: Annotated[
        str,
        Meta(
            description="PEM file: the issuer that the other site's etcd is believed by; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    certificate: Annotated[
        str,
        Meta(
            description="PEM file: the certificate that this site shows there, by the issuer of that site; `wsproxy ha certs` there makes it"
        ),
    ] = ""
    key: Annotated[str, Meta(description="PEM file: its private key, mode 0600 or stricter")] = ""
    user: Annotated[
        str,
        Meta(
            description="user of the other site's etcd, where that has users (`etcdctl auth enable`); empty: none"
        ),
    ] = ""
    password_file: Annotated[
        str,
        Meta(
            description="file with that user's password in its first line, mode 0600 or stricter; read anew whenever a token is asked for; relative to the folder of wsproxy.toml"
        ),
    ] = ""
    out: Annotated[
        tuple[str, ...],
        Meta(
            description=f'what the other site may take: "holds" (drain, down), "numbers" (weight, max_connections), "marks" (down by failures); {_CHOICE}'
        ),
    ] = ("holds", "numbers")
    in_: Annotated[
        tuple[str, ...],
        Meta(description="what is taken from there, in the same words; both sites must choose it"),
    ] = field(default=("holds", "numbers"), name="in")
    cut_s: Annotated[
        float,
        Meta(
            ge=1.0,
            le=600.0,
            description="the bridge is cut when the other site has answered no question for about so long; it is asked three times in that, 1.5 s for each endpoint at least",
        ),
    ] = 5.0
    marks_s: Annotated[
        float,
        Meta(
            ge=1.0,
            le=86400.0,
            description="how long marks of a site that is cut off are believed; then they end here, until the site is heard again. Holds and numbers do not end",
        ),
    ] = 60.0

    def cell_or(self, ours: str) -> str:
        """Of the other site."""
        return self.cell or ours


def check_bridges(
    bridges: Sequence[BridgeSettings], cell: str, core_group: str
) -> Iterator[tuple[tuple[int, str], str]]:
    """(Index, setting) and what is wrong with it; ``cell`` and ``core_group`` are ours."""
    seen: set[tuple[str, str]] = set()
    for index, each in enumerate(bridges):
        other = each.cell_or(cell), each.core_group
        flaw = ""
        for name in ("core_group", "cell"):
            value = getattr(each, name)
            if (value or name == "core_group") and not NAME.fullmatch(value):
                flaw = f'found "{value}"; {NAME_ALLOWED}'
                yield (index, name), flaw
        if not flaw and other == (cell, core_group):
            yield (
                (index, "core_group"),
                f'found "{each.core_group}" of cell "{other[0]}", which is our own; allowed is that of the other site: where both have the same name, '
                "give one of them another ha.core_group",
            )
        elif not flaw and other in seen:
            yield (index, "core_group"), f'found "{each.core_group}" of cell "{other[0]}" twice; allowed is one bridge for each site'  # fmt: skip
        seen.add(other)
        for name, text in _flaws(each):
            yield (index, name), text
    if len(bridges) > MOST_BRIDGES:
        yield (MOST_BRIDGES, "core_group"), f"found {len(bridges)} bridges; allowed are {MOST_BRIDGES}"  # fmt: skip


def _flaws(bridge: BridgeSettings) -> Iterator[tuple[str, str]]:
    yield from _endpoint_flaws(bridge)
    yield from user_flaws(bridge.user, bridge.password_file)
    for name, choices in (("out", bridge.out), ("in", bridge.in_)):
        if len(choices) > MOST_CHOICES:
            yield name, f"found {len(choices)} choices; allowed are {MOST_CHOICES}: a pattern takes several clusters"  # fmt: skip
        for choice in choices:
            board, colon, pattern = choice.partition(":")
            if board not in BOARDS or bool(colon) != bool(pattern):
                yield name, f'found "{choice}"; {_BOARD_ALLOWED}'
    if not bridge.out and not bridge.in_:
        yield "in", "found nothing, and nothing in out, so nothing would ever be copied; allowed is a board in one of them"  # fmt: skip


def _endpoint_flaws(bridge: BridgeSettings) -> Iterator[tuple[str, str]]:
    if not bridge.endpoints:
        yield "endpoints", 'found none; allowed is ["https://HOST:2379", ...] of the other site\'s etcd'  # fmt: skip
        return
    schemes = set()
    for url in bridge.endpoints:
        if flaw := url_flaw(url):
            yield "endpoints", f'found "{url}"{flaw}; allowed is "https://HOST:PORT"'
            return
        parts = urlsplit(url)
        schemes.add(parts.scheme)
        if parts.scheme == "http" and not is_loopback(
            Address(parts.hostname or "", parts.port or 0)
        ):
            yield (
                "endpoints",
                f'found "{url}": http to another machine, where whoever is in between can take servers out here; allowed is https with ca, certificate and key',
            )
            return
    if len(schemes) > 1:
        yield "endpoints", "found http and https; allowed is one of them for all"
    elif schemes == {"https"}:
        for name in ("ca", "certificate", "key"):
            if not getattr(bridge, name):
                yield name, "found none with https endpoints; allowed is a PEM file (`wsproxy ha certs`, run where the other site keeps its ca.key, makes all three)"  # fmt: skip


def user_flaws(user: str, password_file: str) -> Iterator[tuple[str, str]]:
    """What keeps them from being a user of etcd and its password."""
    if bool(user) != bool(password_file):
        name = "password_file" if user else "user"
        yield name, "found one of user and password_file; allowed are both, or none"
    elif user and not (user.isprintable() and len(user) <= MOST_USER):
        yield (
            "user",
            f"found {len(user)} characters; allowed are 1 to {MOST_USER} that can be printed",
        )


def url_flaw(url: str) -> str:
    """What keeps it from being a client URL of etcd; "": nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f" ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ", which is no URL of a host"
    if not port:
        return ", which has no port"
    if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
        return ", which has more than host and port"
    return ""
