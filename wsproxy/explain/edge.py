"""
What ``[[edge]]`` tables do with a request, in words.

Driven by ``explain.explain``. Asks the functions that live traffic uses (``_fast.decide.edge``); must not decide anything itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from wsproxy._fast.decide.edge import EdgeAct, EdgeTable, ask_edges
from wsproxy.config.edge_words import name_of
from wsproxy.config.settings import Settings
from wsproxy.config.settings_edge import EdgeSettings, duties_of
from wsproxy.errors import RequestRefusedError


@dataclass(frozen=True, slots=True)
class EdgeWords:
    """``lines``: each table that fits; ``status`` and ``rule``: the answer, 0: the request goes on to its Route."""

    lines: list[str]
    status: int = 0
    rule: str = ""


def checked_client(text: str) -> str:
    """
    The address; empty: nobody was named.

    Raises:
        RequestRefusedError: it is none.
    """
    try:
        return text and str(ipaddress.ip_address(text))
    except ValueError:
        raise RequestRefusedError(f"client: found {text[:80]}; allowed is an address") from None


def explain_edges(
    table: EdgeTable,
    settings: Settings,
    head: bytes,
    *,
    client: str,
    port: int,
    secure: bool,
    cluster: int,
    is_maintained: bool,
) -> EdgeWords:
    """``client``: its address; empty: nobody was named, and lists of addresses are passed over."""
    mask, act, at, location = ask_edges(
        table, head, peer=client.encode(), local_port=port, secure=secure, cluster=cluster,
        is_maintained=is_maintained,
    )  # fmt: skip
    fitting = [(index, edge) for index, edge in enumerate(settings.edge) if mask >> index & 1]
    lines = [f"{name_of(index, edge)}: {_words(edge)}" for index, edge in fitting]
    if not client and any(edge.allow or edge.deny or edge.maintenance_allow for _, edge in fitting):
        lines.append("who may ask depends on the client's address, which --client names")
    by = f"[[edge]] {at + 1}" if at >= 0 else "an operator's word"
    if act == EdgeAct.EDGE_DENIES:
        return EdgeWords(lines, 403, f"{client} is denied by {by}")
    if act == EdgeAct.EDGE_REDIRECTS:
        status = table.edges[at].status
        return EdgeWords(lines, status, f"redirected by {by} to {location.decode('latin-1')}")
    if act == EdgeAct.EDGE_NO_HOST:
        return EdgeWords(lines, 400, f"{by} redirects, and the request names no host")
    if act == EdgeAct.EDGE_FILES:
        files = settings.edge[at].files
        assert files is not None
        return EdgeWords(lines, 200, f"{by} answers from {files.root}, or with 404")
    if act == EdgeAct.EDGE_MAINTENANCE:
        said = "an operator's word" if is_maintained else by
        return EdgeWords(lines, 503, f"maintenance, by {said}")
    return EdgeWords(lines)


def _words(edge: EdgeSettings) -> str:
    """What the table does, as far as a line has room."""
    headers = edge.headers
    found = []
    for duty in duties_of(edge):
        if duty == "headers":
            names = [
                *(headers.set or {}),
                *(headers.add or {}),
                *(f"no {each}" for each in headers.remove),
            ]
            found.append(f"headers ({', '.join(names)})")
        elif duty == "error_pages":
            of_servers = ", ".join(map(str, edge.intercept))
            more = of_servers and f"; for errors of servers: {of_servers}"
            found.append(f"error_pages ({', '.join(edge.error_pages or {})}{more})")
        elif duty == "maintenance" and not edge.maintenance_on:
            found.append("maintenance (off, unless an operator says so)")
        else:
            found.append(duty)
    return ", ".join(found)
