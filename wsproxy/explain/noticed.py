"""
What was found about clone ids, in words: what servers write, and what in a file or a cookie cannot be right.

Driven by ``dataplane.slowpath`` for the log, where each is said once, and by ``explain``. Pure. Must not show a session id: names and
clone ids only, made printable, as servers and clients wrote them.
"""

from __future__ import annotations

import logging
import re

from wsproxy._fast.decide.writers import Finding, Noticed
from wsproxy.config.problems import printable

# Of a name or a CloneID.
MOST_CHARS = 60
# WebSphere's clone ids, those that people make up, and Liberty's UUIDs. What is longer and no server has may be no clone id at all
# but part of a session of somebody who uses the separator otherwise: a secret.
_CLONE_ID = re.compile(r"-?[0-9A-Za-z_-]{1,12}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHOWN_OF_OTHERS = 4


def level_of(noticed: Noticed) -> int:
    """For the log: what servers do by their nature is no reason to warn."""
    usual = (Finding.NO_IDS, Finding.OWN_ROUTE)
    return logging.INFO if noticed.finding in usual else logging.WARNING


def words_of(noticed: Noticed, *, completes: bool = True, takes_back: bool = True) -> str:
    """One sentence, without the cluster. ``completes``, ``takes_back``: whether wsproxy adds clone ids there, and takes them away."""
    name = _text(noticed.name)
    text = _text(noticed.text)
    owner = f'"{_text(noticed.owner_id)}" is the CloneID of server {noticed.owner}'
    finding = Finding(noticed.finding)
    if finding is Finding.NO_IDS:
        return f"server {noticed.server} writes no clone ids into {name}: " + _what_is_done(
            completes=completes, takes_back=takes_back
        )
    if finding is Finding.OWN_ROUTE:
        return f'server {noticed.server} ends its sessions in {name} with its CloneID, ".{text}": read as a clone id, and none is added'
    if finding is Finding.OTHERS_ID:
        return f'server {noticed.server} ({_own(noticed)}) writes the clone id "{text}" of server {noticed.owner} into {name}: the requests of its sessions go there; plugin-cfg.xml is stale, or its CloneIDs are swapped'
    if finding is Finding.UNKNOWN_ID:
        if not _CLONE_ID.fullmatch(text):
            text = f"{text[:_SHOWN_OF_OTHERS]}***"
        return f'server {noticed.server} ({_own(noticed)}) writes the clone id "{text}" into {name}, which no Server of the ServerCluster has: plugin-cfg.xml is stale'
    if finding is Finding.OTHER_SEPARATOR:
        own, other = (":", "+") if noticed.separator == ord(":") else ("+", ":")
        change = "true" if other == "+" else "false"
        return f'found "{other}{text}" in {name}, and {owner}, but the separator is "{own}": such sessions have no affinity; CloneSeparatorChange="{change}" makes it "{other}"'
    if finding is Finding.OTHER_NAME:
        kind, attribute = (
            ("path parameter", "AffinityURLIdentifier")
            if noticed.in_path
            else ("cookie", "AffinityCookie")
        )
        return f'found {kind} "{text}"; {attribute} is "{name}", and upper case is not lower case: such sessions have no affinity'
    return f'found clone id "{text}" in {name}; {owner}, and upper case is not lower case'


def _what_is_done(*, completes: bool, takes_back: bool) -> str:
    if not completes:
        return "its sessions have no affinity (affinity.clone_ids in wsproxy.toml)"
    if takes_back:
        return "wsproxy adds them, and takes them away before the server gets them back (affinity.clone_ids)"
    return "wsproxy adds them, and the server gets them back: where it takes all of the value for the session id, set affinity.strip_clone_ids"


def _own(noticed: Noticed) -> str:
    return f'CloneID "{_text(noticed.clone_id)}"' if noticed.clone_id else "without CloneID"


def _text(data: bytes) -> str:
    text = printable(data.decode("latin-1"))
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 3] + "..."
