"""
What comes of another value of an attribute, in one sentence each.

Driven by ``config.diff``. Pure. A test fails where an attribute of the model has no sentence here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsproxy.config.attributes import specs_of
from wsproxy.config.model import (
    Config,
    Log,
    Property,
    Server,
    ServerCluster,
    Transport,
)
from wsproxy.config.support import NOT_CARRIED_OUT

_Words = Callable[[Any], str]


def _seconds(zero: str) -> _Words:
    return lambda value: zero if not value else f"{value} s"


def _limit(unit: str, none: str) -> _Words:
    return lambda value: none if value == -1 else f"{value} {unit}".rstrip()


def _io_timeout(value: int) -> str:
    if not value:
        return "for ever"
    return f"{abs(value)} s" + (" (and is marked down then)" if value < 0 else "")


def _yes(value: bool) -> str:
    return "on" if value else "off"


def _is(value: bool) -> str:
    return "" if value else "no longer "


def _connections(value: int) -> str:
    return "as many requests as come" if value in (-1, 0) else f"{value} requests"


def _upgrade(value: int | None) -> str:
    return f"after {abs(value)} s" if value else "never"


def _idle(value: int | None) -> str:
    return (
        "as timeouts.tunnel_s says"
        if value is None
        else f"after {value} s"
        if value > 0
        else "never"
    )


# {who}: the element, {old} and {new}: values as the function beside says them
_SENTENCES: dict[type, dict[str, tuple[str, _Words]]] = {
    Config: {
        "refresh_interval_s": ("a change of the file is seen {new} instead of {old}",
                               lambda value: "never" if value < 0 else "at once" if not value else f"within {value} s"),
        "app_server_port_preference": ("servers are told the port of {new} in $WSSP instead of {old}: redirects may name another port",
                                       {"HostHeader": "the Host header", "WebserverPort": "the listener"}.__getitem__),
        "vhost_matching_compat": ("VirtualHost ports are {new}compared with the port that a connection came in on: requests may match other VirtualHosts", _is),
        "trusted_proxy_enable": ("private headers and addresses that a TrustedProxy sends are {new}believed", _is),
        "http_max_headers": ("a request may have {new} header fields instead of {old}", str),
    },
    Log: {
        "name": ("{who} is written to {new} instead of {old}", lambda value: value or "nowhere"),
        "log_level": ("{who} has the lines of {new} instead of {old}", str),
    },
    Property: {"value": ("{who} has another value", str)},
    ServerCluster: {
        "load_balance": ("servers of {who} for new sessions are chosen by {new} instead of {old}", str),
        "retry_interval_s": ("a server of {who} that was marked down is tried again after {new} instead of {old}", _seconds("no time")),
        "remove_special_headers": ("private headers that clients send are {new}taken out of requests to {who}", _is),
        "clone_separator_change": ("sessions of {who} lose their server: clone ids are separated by {new} instead of {old}", lambda value: "+" if value else ":"),
        "post_size_limit_kb": ("request bodies to {who} may have {new} instead of {old}", _limit("KB", "any size")),
        "post_buffer_size_kb": ("a request to {who} that failed is sent to another server where its body has at most {new}, before {old}", _limit("KB", "any size")),
        "server_io_timeout_retry": ("after a ServerIOTimeout a request to {who} is tried again at {new} instead of {old}", _limit("servers", "every server")),
        "ignore_affinity_requests": ("requests with affinity do {new}lower a server's weight in {who}", lambda value: "not " if value else ""),
    },
    Server: {
        "clone_id": ("sessions of {who} lose their server: its CloneID changed from {old} to {new}", lambda value: value or "none"),
        "load_balance_weight": ("{who} has a weight of {new} instead of {old}", str),
        "connect_timeout_s": ("a connection to {who} is given up after {new} instead of {old}", _seconds("the time of upstream.connect_s")),
        "server_io_timeout_s": ("{who} may be silent {new} instead of {old}", _io_timeout),
        "ws_server_io_timeout_s": ("an upgrade at {who} is given up {new} instead of {old}", _upgrade),
        "ws_server_idle_timeout_s": ("an idle upgraded connection to {who} is closed {new} instead of {old}", _idle),
        "max_connections": ("{who} has at most {new} at a time instead of {old}", _connections),
        "extended_handshake": ("the extra exchange before each request to {who} is {new}", _yes),
        "wait_for_continue": ("waiting for 100 (Continue) from {who} before a body is sent is {new}", _yes),
    },
    Transport: {
        "hostname": ("{who} is at {new} instead of {old}", str),
        "port": ("{who} is at port {new} instead of {old}", str),
        "protocol": ("{who} is spoken to by {new} instead of {old}", str),
        "hostname_alias": ("the certificate of {who} must be for {new} instead of {old}", lambda value: value or "its Hostname"),
        "connection_ttl_s": ("idle connections to {who} are kept {new} instead of {old}", lambda value: "not at all" if value <= 0 else f"{value} s"),
    },
}  # fmt: skip


def consequence_of(cls: type, field: str, old: object, new: object, who: str) -> str:
    """What it means that the attribute has another value."""
    left = NOT_CARRIED_OUT.get(cls, {}).get(field)
    if left is not None:
        return f"no effect in wsproxy: {left.why}"
    if cls is Server and field == "clone_id" and not old:
        return f"sessions of {who} are found again by its CloneID {new}; those without it go on by turns"
    sentence, words = _SENTENCES[cls][field]
    if "{old}" in sentence and words(old) == words(new):
        before, after = ("no value" if each is None else value_text(each) for each in (old, new))
        return f"no effect: {before} and {after} both mean {words(new)}"
    return sentence.format(who=who, old=words(old), new=words(new))


def value_text(value: object) -> str:
    """As it stands in the file."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def without_sentence() -> list[tuple[str, str]]:
    """Attributes that no sentence tells of, and that have an effect: for the test."""
    return [
        (cls.__name__, field)
        for cls in _SENTENCES
        for field in specs_of(cls)
        if field not in _SENTENCES[cls] and field not in NOT_CARRIED_OUT.get(cls, {})
        if not (field == "name" and cls is not Log)
    ]
