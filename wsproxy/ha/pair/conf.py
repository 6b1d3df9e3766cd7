"""
A pair's settings, and the keepalived.conf of a node that follows from them. Pure.

Written by ``keepalived``, which has ``keepalived -t`` judge it before it is used. One statement a line: what people compare.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import PurePath

import msgspec

from wsproxy.ha.pair.rules import BASE, Times

PORT = 8747
# Above, a node that died would be missed for minutes; below, three adverts are less than a busy machine's hiccup.
LEAST_PING_S, MOST_PING_S = 0.15, 120.0
# RFC 5798 5.2.7: hundredths of a second.
_TICKS = 100
_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")
INSTANCE = "wsproxy"


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one node is told of both; the same on both but for whose is whose."""

    vip: str  # ADDRESS/PREFIX
    address: str  # of this node, in the network of the floating address
    peer: str
    sync_address: str = ""  # in the other network; empty: there is none
    sync_peer: str = ""
    interface: str
    port: int = PORT
    ping_interval_s: float = 0.6
    router_id: int = 51
    autostart: bool = False
    check: str = ""  # URL that the proxy here answers with 2xx
    socket: str = ""  # of the proxy here; empty: of the one that runs
    ca: str
    certificate: str
    key: str
    notify: str = ""  # a program that is told of changes

    @property
    def times(self) -> Times:
        """Three adverts fit into the ping interval."""
        return Times(round(self.ping_interval_s / 3, 2))

    @property
    def vip_address(self) -> str:
        """Without its prefix."""
        return self.vip.partition("/")[0]

    @property
    def paths(self) -> tuple[tuple[str, str, str], ...]:
        """Name, own and other address of each network, the dedicated one first."""
        sync = (("sync", self.sync_address, self.sync_peer),) if self.sync_peer else ()
        return (*sync, ("service", self.address, self.peer))


def flaws(pair: Pair) -> Iterator[tuple[str, str]]:
    """Options and what is wrong with them."""
    families = set()
    for name in ("vip", "address", "peer", "sync_address", "sync_peer"):
        text = getattr(pair, name)
        if not text and name.startswith("sync"):
            continue
        try:
            found = ipaddress.ip_interface(text)
        except ValueError:
            found = None
        _, has_prefix, prefix = text.partition("/")
        # A zone (fe80::1%eth0) may be any text for ipaddress, and what stands in keepalived's file must not be; a netmask is no prefix.
        if (
            found is None
            or "%" in text
            or bool(has_prefix) != (name == "vip")
            or not (prefix or "0").isdecimal()
        ):
            form = "ADDRESS/PREFIX, 10.0.0.100/24" if name == "vip" else "an IP address"
            yield name, f'found "{text}"; allowed is {form}'
        elif not name.startswith("sync"):
            families.add(found.version)
    if len(families) > 1:
        yield "vip", "found IPv4 and IPv6; allowed is one of them for address, peer and vip"
    if bool(pair.sync_peer) != bool(pair.sync_address):
        yield "sync_peer", "found one address of the sync network; allowed are both, or none"
    yield from _more_flaws(pair)


def _more_flaws(pair: Pair) -> Iterator[tuple[str, str]]:
    own, others = (pair.address, pair.sync_address), (pair.peer, pair.sync_peer)
    if pair.vip_address in (*own, *others):
        yield (
            "vip",
            f"found {pair.vip_address}, which is a node's own; allowed is one that is nobody's",
        )
    for each in own:
        if each and each in others:
            yield "peer", f"found {each} on both sides; allowed are different ones"
    if not LEAST_PING_S <= pair.ping_interval_s <= MOST_PING_S:
        yield "ping_interval", f"found {pair.ping_interval_s:g}; allowed are {LEAST_PING_S:g} to {MOST_PING_S:g} s"  # fmt: skip
    if not 1 <= pair.router_id <= 255:
        yield "router_id", f"found {pair.router_id}; allowed are 1 to 255"
    if not 1 <= pair.port <= 65535:
        yield "port", f"found {pair.port}; allowed are 1 to 65535"
    if not _INTERFACE.fullmatch(pair.interface):
        yield "interface", f'found "{pair.interface}"; allowed is a name of a network interface'
    if re.match(
        r"https?://[^/]*@", pair.check
    ):  # not told: logs and traces have what is refused, too
        yield "check", "found a user or a password in it; allowed is http://HOST:PORT/PATH"
    elif pair.check and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", pair.check):
        yield "check", f'found "{pair.check}"; allowed is http://HOST:PORT/PATH'


# Files that keepalived watches, in the folder of the node.
ROLE, DOWN, GUARD = "role", "down", "guard"


def keepalived_conf(pair: Pair, folder: PurePath) -> str:
    """The file; all that it names is in ``folder``."""
    advert_s = round(pair.times.advert_s * _TICKS) / _TICKS
    is_four = ipaddress.ip_address(pair.vip_address).version == 4
    prefix = pair.vip.partition("/")[2]
    return f"""\
# Written by wsproxy ha; it is written anew at each start and by `wsproxy ha configure`.
global_defs {{
    router_id {pair.address}
    vrrp_version 3
    enable_script_security
    script_user root
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 2
    vrrp_garp_master_refresh 10
    vrrp_garp_lower_prio_repeat 2
    vrrp_notify_fifo "{folder / "notify"}"
}}
track_file {ROLE} {{
    file "{folder / ROLE}"
    weight 1
}}
track_file {DOWN} {{
    file "{folder / DOWN}"
    weight 0
}}
track_file {GUARD} {{
    file "{folder / GUARD}"
    weight 0
}}
vrrp_script nobody_watches {{
    script "{folder / "nobody-watches"}"
    interval 1
    timeout 1
    fall 2
    rise 1
}}
vrrp_instance {INSTANCE} {{
    state BACKUP
    interface {pair.interface}
    virtual_router_id {pair.router_id}
    priority {BASE}
    advert_int {advert_s:g}
    unicast_src_ip {pair.address}
    unicast_peer {{
        {pair.peer}
    }}
    track_file {{
        {ROLE}
        {DOWN}
        {GUARD}
    }}
    track_script {{
        nobody_watches
    }}
    virtual_ipaddress {{
        {pair.vip_address}/{prefix} dev {pair.interface}{"" if is_four else " preferred_lft 0"}
    }}
}}
"""


def nobody_watches(folder: PurePath) -> str:
    """
    A script that fails where the agent is dead and the proxy as well: once a second, and only then it decides anything.

    Whoever runs the agent holds a lock on its file, which the kernel gives back however it ends.
    """
    return f"""\
#!/bin/sh
# Written by wsproxy ha. While the agent lives it holds the lock, and knows more than this.
flock -n '{folder / "agent.lock"}' true || exit 0
read -r pid < '{folder / "proxy.pid"}' || exit 0
read -r _ _ state _ 2>/dev/null < "/proc/$pid/stat" || exit 1
[ "$state" != Z ] && [ "$state" != X ]
"""
