"""
``[[edge]]`` of wsproxy.toml -> the EdgeTable that requests go by.

Driven by ``dataplane.view``, with settings that were checked and pages that were read (``config.check_edge``). Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

from wsproxy._fast.decide.compression import Compression
from wsproxy._fast.decide.edge import Edge, EdgeScheme, EdgeTable
from wsproxy._fast.http.origin import TrustedProxies
from wsproxy.config.address import parse_address, trusted_network
from wsproxy.config.check_edge import ALL
from wsproxy.config.settings import Settings
from wsproxy.config.settings_content import CompressSettings
from wsproxy.config.settings_edge import (
    NONE,
    EdgeSettings,
    HeaderSettings,
    Page,
    RedirectSettings,
    duties_of,
    redirect_of,
)

_SCHEMES = {
    "any": EdgeScheme.ANY_SCHEME,
    "same": EdgeScheme.ANY_SCHEME,
    "http": EdgeScheme.HTTP_ONLY,
    "https": EdgeScheme.HTTPS_ONLY,
}
_ALL_NETWORKS = ("0.0.0.0/0", "::/0")


def build_edges(settings: Settings, clusters: Sequence[str]) -> EdgeTable | None:
    """The tables; ``clusters``: names of the ServerClusters by their index. None: there is no ``[[edge]]``."""
    if not settings.edge:
        return None
    index_of = {name: index for index, name in enumerate(clusters)}
    pages = {page.path: page for page in settings.edge_pages}
    return EdgeTable(tuple(_build_edge(each, index_of, pages) for each in settings.edge))


def _build_edge(edge: EdgeSettings, index_of: Mapping[str, int], pages: Mapping[str, Page]) -> Edge:
    duties = duties_of(edge)
    ports, local_host = edge.ports, b""
    if edge.listener:
        address = parse_address(edge.listener, is_listener=True)
        ports = (address.port,)
        # All addresses of the machine, as the listener's own setting says it.
        local_host = b"" if address.host in ("0.0.0.0", "::") else _address(address.host)  # noqa: S104
    redirect = redirect_of(edge) or RedirectSettings()
    return Edge(
        ports=ports,
        local_host=local_host,
        scheme=_SCHEMES[edge.scheme],
        hosts=tuple(_host(each) for each in edge.hosts),
        paths=tuple(_path(each) for each in edge.paths),
        clusters=tuple(index_of[name] for name in edge.clusters) if edge.clusters else None,
        redirects=redirect_of(edge) is not None,
        ends_redirects=edge.redirect == NONE,
        to=_SCHEMES[redirect.to],
        to_host=redirect.host.encode(),
        to_port=redirect.port,
        to_path=redirect.path.encode(),
        status=redirect.status,
        allow=_networks(edge.allow) if edge.allow else None,
        deny=_networks(edge.deny),
        fields=tuple(_fields(edge.headers)),
        pages={
            int(status): _page(pages[name]) for status, name in (edge.error_pages or {}).items()
        },
        intercepts=edge.intercept,
        has_maintenance="maintenance" in duties,
        maintenance_on=edge.maintenance_on,
        maintenance=_page(pages[edge.maintenance]) if edge.maintenance else None,
        maintenance_allow=_networks(edge.maintenance_allow),
        retry_after_s=edge.retry_after_s,
        has_files="files" in duties,
        has_compress="compress" in duties,
        compression=_compression(edge.compress),
    )


def _compression(compress: CompressSettings | str | None) -> Compression | None:
    """None: what fits is not compressed, or another table says."""
    if not isinstance(compress, CompressSettings):
        return None
    return Compression(
        codings=compress.with_,
        types=tuple(kind.encode() for kind in compress.types),
        min_bytes=compress.min_bytes,
        level=compress.level,
    )


def _address(text: str) -> bytes:
    """As the kernel spells it: `2001:DB8:0::1` is `2001:db8::1`."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.encode()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address).encode()


def _host(text: str) -> bytes:
    """As heads have it: an IPv6 address without brackets."""
    return text.strip("[]").lower().encode()


def _path(text: str) -> tuple[bytes, bytes | None]:
    before, star, after = text.partition("*")
    return before.encode(), after.encode() if star else None


def _networks(texts: Sequence[str]) -> TrustedProxies:
    named = [each for text in texts for each in (_ALL_NETWORKS if text == ALL else (text,))]
    return TrustedProxies(
        tuple(found for text in named if (found := trusted_network(text)) is not None)
    )


def _page(page: Page) -> tuple[str, bytes]:
    return page.kind, page.body


def _fields(headers: HeaderSettings) -> Iterator[tuple[bytes, bytes, bool]]:
    for name in headers.remove:
        yield name.lower().encode(), b"", True
    for name, value in (headers.set or {}).items():
        yield name.lower().encode(), f"{name}: {value}\r\n".encode(), True
    for name, value in (headers.add or {}).items():
        yield name.lower().encode(), f"{name}: {value}\r\n".encode(), False
