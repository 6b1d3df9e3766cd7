"""
What servers do about clone ids and what cannot be right, by docs/decisions/0006, with split() instead of pointers.

Driven by tests/unit/_fast. Must not share code with ``wsproxy/_fast``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.support.oracles.clone_ids import cookie_values, param_values
from tests.support.oracles.rewrite import lines_of, name_of, nominated
from tests.support.oracles.session_cookie import is_deletion, separators

BLANKS = b" \t"
MOST_FOUND = 8
NO_IDS, OWN_ROUTE, OTHERS_ID, UNKNOWN_ID, OTHER_SEPARATOR, OTHER_NAME, OTHER_CASE = range(1, 8)
WRITES_ITS_OWN, WRITES_NONE, WRITES_OTHERS = range(1, 4)
Found = tuple[int, bytes]  # kind, what was found


def list_of(value: bytes, separator: bytes) -> list[bytes] | None:
    """None: no separator stands there."""
    parts = separators(separator).split(value)
    return None if len(parts) == 1 else parts[2::2]


def route_of(value: bytes) -> bytes:
    _, point, route = value.rpartition(b".")
    return route if point else b""


def is_other_case(name: bytes, other: bytes) -> bool:
    return name != other and name.lower() == other.lower()


@dataclass
class Farm:
    """A cluster: the CloneIDs of its servers by index, the separator, and what was learned and told."""

    clone_ids: list[bytes | None]
    separator: bytes
    writers: dict[int, int] = field(default_factory=dict)
    writer: int = 0
    told: set[tuple[int, int]] = field(default_factory=set)

    @property
    def other(self) -> bytes:
        return b":" if self.separator == b"+" else b"+"

    def learn(self, server: int, head: bytes, name: bytes, *, had_list: bool) -> Found | None:
        """The news of the last cookie that has one."""
        _, *fields = lines_of(head)
        dropped = nominated(fields)
        news = None
        for line in fields:
            if name_of(line) != b"set-cookie" or b"set-cookie" in dropped:
                continue
            pair, *attributes = line.partition(b":")[2].split(b";")
            key, equals, value = pair.partition(b"=")
            key, value = key.strip(BLANKS), value.strip(BLANKS)
            if value.startswith(b'"'):
                value = value[1:-1] if len(value) > 1 and value.endswith(b'"') else b""
            if not equals or not value or b"," in value or is_deletion(attributes):
                continue
            found = None
            if key == name:
                found = self.judge(server, name, value, had_list=had_list)
            elif is_other_case(key, name):
                found = (OTHER_NAME, key)
            if found and self.is_news(server, found[0]):
                news = found
        return news

    def is_news(self, server: int, kind: int) -> bool:
        key = (server if kind in (OTHERS_ID, UNKNOWN_ID) else -1, kind)
        if key in self.told:
            return False
        self.told.add(key)
        return True

    def judge(self, server: int, name: bytes, value: bytes, *, had_list: bool) -> Found | None:
        own = self.clone_ids[server]
        ids = list_of(value, self.separator)
        if ids is not None:
            return None if had_list else self.judge_list(server, [each for each in ids if each])
        self.writer = self.writers[server] = WRITES_NONE
        route = route_of(value)
        if route and route == own:
            return OWN_ROUTE, route
        if route and route in self.clone_ids:
            return OTHERS_ID, route
        for each in list_of(value, self.other) or ():
            if each and each in self.clone_ids:
                return OTHER_SEPARATOR, each
        return None if own is None else (NO_IDS, name)

    def judge_list(self, server: int, ids: list[bytes]) -> Found | None:
        has_own = self.clone_ids[server] in ids
        self.writer = self.writers[server] = WRITES_ITS_OWN if has_own else WRITES_OTHERS
        if has_own or not ids:
            return None
        return (OTHERS_ID if ids[-1] in self.clone_ids else UNKNOWN_ID), ids[-1]

    def misfits(self, cookies: list[bytes], path: bytes, name: bytes, url_id: bytes) -> list[Found]:
        found: list[Found] = []
        for each in cookies:
            found += self._other_name(re.split(b"[;,]", each), name)
            for value in cookie_values(each, name):
                found += self._look_at(value)
        found += self._other_name(re.split(b"[;/]", path), url_id)
        for value in param_values(path, url_id):
            found += self._look_at(value)
        return found[:MOST_FOUND]

    @staticmethod
    def _other_name(pairs: list[bytes], name: bytes) -> list[Found]:
        for pair in pairs:
            start = pair.lstrip(BLANKS)
            found = start[: len(name)]
            if is_other_case(found, name) and start[len(name) : len(name) + 1] in (
                b"=",
                b" ",
                b"\t",
            ):
                return [(OTHER_NAME, found)]
        return []

    def _look_at(self, value: bytes) -> list[Found]:
        ids = list_of(value, self.separator)
        known = [each for each in self.clone_ids if each is not None]
        if ids is None:
            others = list_of(value, self.other) or []
            return [(OTHER_SEPARATOR, each) for each in others if each and each in known][:1]
        return [
            (OTHER_CASE, each)
            for each in ids
            if each not in known and any(is_other_case(each, clone_id) for clone_id in known)
        ]
