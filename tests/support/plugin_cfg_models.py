"""Random ``Config`` objects that a file can say: every attribute in its range, unknown attributes and elements everywhere."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from wsproxy.config.attributes import INT_LIMIT, specs_of
from wsproxy.config.model import (
    AttributeSpec,
    Config,
    Element,
    Extra,
    Log,
    Property,
    Route,
    Server,
    ServerCluster,
    ServerRef,
    Transport,
    TrustedProxy,
    Uri,
    UriGroup,
    VirtualHost,
    VirtualHostGroup,
)
from wsproxy.config.patterns import parse_virtual_host

# what XML can hold, with all that has to be escaped
TEXTS = st.text(
    st.one_of(
        st.sampled_from("&<>\"'\t\n\r -]é€\U0001f600"),
        st.characters(
            codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"
        ),
    ),
    max_size=8,
)
NAMES = TEXTS.filter(bool)
_UNKNOWN = st.sampled_from(("Oops", "name", "x-y.z", "{urn:a}Oops", "{urn:b}b"))
_ATTRIBUTES = st.dictionaries(_UNKNOWN, TEXTS, max_size=2).map(
    lambda found: tuple(sorted(found.items()))
)
_LEAVES = st.builds(
    Element,
    _UNKNOWN,
    _ATTRIBUTES,
    # blank text is none: files are indented
    text=TEXTS.map(lambda text: text if text.strip() else ""),
)
_WORDS = st.text("ab &<", max_size=5).map(str.strip)
ELEMENTS = st.recursive(
    _LEAVES,
    lambda inner: st.builds(
        Element,
        _UNKNOWN,
        _ATTRIBUTES,
        st.lists(inner, min_size=1, max_size=2).map(tuple),
        text=_WORDS,
    ),
    max_leaves=3,
)
_PLAIN_EXTRAS = st.builds(Extra, _ATTRIBUTES, st.lists(ELEMENTS, max_size=2).map(tuple)).map(
    lambda extra: extra if extra != Extra() else None
)
# most elements have nothing that is not known
EXTRAS = st.one_of(st.none(), st.none(), _PLAIN_EXTRAS)


def _extras_with(*lists: str) -> st.SearchStrategy[Extra | None]:
    """With what is not known at elements that are no objects."""
    inside = st.dictionaries(st.sampled_from(lists), _PLAIN_EXTRAS.filter(bool), max_size=1)
    return st.tuples(EXTRAS, inside).map(
        lambda both: (
            dataclasses.replace(
                both[0] or Extra(),
                lists=tuple((name, extra) for name in lists if (extra := both[1].get(name))),
            )
            if both[1]
            else both[0]
        )
    )


def _value(spec: AttributeSpec) -> st.SearchStrategy[Any]:
    if spec.kind == "int":
        low = -INT_LIMIT if spec.low is None else spec.low
        return st.integers(low, INT_LIMIT if spec.high is None else spec.high)
    if spec.kind == "bool":
        return st.booleans()
    return st.sampled_from(spec.allowed) if spec.kind == "enum" else TEXTS


def _values(cls: Any, **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects of a class, each attribute absent or in its range."""
    required: dict[str, st.SearchStrategy[Any]] = {"extra": EXTRAS}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field, spec in specs_of(cls).items():
        if spec.required:
            required[field] = NAMES if spec.kind == "str" else _value(spec)
        else:
            optional[field] = _value(spec)
    required.update(known)
    optional = {field: value for field, value in optional.items() if field not in known}
    whole = st.fixed_dictionaries(required, optional=optional)
    return whole.map(lambda values: cls(**values))


def _many(items: st.SearchStrategy[Any], most: int = 2) -> st.SearchStrategy[Any]:
    """Some of them, with names of their own."""
    return st.lists(items, max_size=most, unique_by=lambda item: item.name).map(tuple)


PROPERTIES = st.lists(_values(Property), max_size=2).map(tuple)
TRANSPORTS = _values(
    Transport,
    hostname=st.sampled_from(("h", "127.0.0.1", "::1")),
    hostname_alias=st.sampled_from(("", "alias")),
    properties=PROPERTIES,
)
SERVERS = _values(Server, transports=st.lists(TRANSPORTS, min_size=1, max_size=2).map(tuple))
_REFS = st.one_of(st.none(), st.lists(_values(ServerRef), max_size=2).map(tuple))


def _without_lists_that_are_not_there(cluster: ServerCluster) -> ServerCluster:
    there = {"PrimaryServers": cluster.primary_servers, "BackupServers": cluster.backup_servers}
    if cluster.extra is None:
        return cluster
    lists = tuple(pair for pair in cluster.extra.lists if there[pair[0]] is not None)
    extra = dataclasses.replace(cluster.extra, lists=lists)
    return dataclasses.replace(cluster, extra=extra if extra != Extra() else None)


CLUSTERS = _values(
    ServerCluster,
    servers=st.lists(SERVERS, min_size=1, max_size=2, unique_by=lambda s: s.name).map(tuple),
    cluster_address=st.one_of(st.none(), SERVERS),
    primary_servers=_REFS,
    backup_servers=_REFS,
    extra=_extras_with("PrimaryServers", "BackupServers"),
).map(_without_lists_that_are_not_there)


def _virtual_host(name: str, extra: Extra | None) -> VirtualHost:
    parts = parse_virtual_host(name)
    return VirtualHost(name, parts.host, parts.port, extra=extra)


_HOST_NAMES = st.sampled_from(("*:*", "*:80", "www.Example.com", "a:*", "[::1]:8080", "é:1"))
HOST_GROUPS = _values(
    VirtualHostGroup, virtual_hosts=_many(st.builds(_virtual_host, _HOST_NAMES, EXTRAS))
)
URI_GROUPS = _values(UriGroup, uris=st.lists(_values(Uri), max_size=2).map(tuple))


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """A configuration with a Route to a cluster at least: what ``check`` does not refuse."""
    clusters = draw(st.lists(CLUSTERS, min_size=1, max_size=2, unique_by=lambda c: c.name))
    routes = [
        Route(draw(st.sampled_from(clusters)).name),
        *draw(st.lists(_values(Route), max_size=2)),
    ]
    whole: Config = draw(
        _values(
            Config,
            log=st.one_of(st.none(), _values(Log)),
            properties=PROPERTIES,
            virtual_host_groups=_many(HOST_GROUPS),
            trusted_proxies=st.lists(_values(TrustedProxy), max_size=2).map(tuple),
            server_clusters=st.just(tuple(clusters)),
            uri_groups=_many(URI_GROUPS),
            routes=st.just(tuple(routes)),
            request_metrics=st.one_of(st.none(), _whole("RequestMetrics")),
            intelligent_management=st.one_of(st.none(), _whole("IntelligentManagement")),
            extra=_extras_with("TrustedProxyGroup"),
        )
    )
    return whole


def _whole(name: str) -> st.SearchStrategy[Element]:
    return ELEMENTS.map(lambda element: dataclasses.replace(element, name=name))
