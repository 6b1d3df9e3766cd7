"""
``base.Store`` on etcd, by its JSON gateway.

Driven by ``agent``. Texts of the gateway: 64-bit numbers are strings, keys and values base64, what is zero or empty is absent.
"""

from __future__ import annotations

import contextlib
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from wsproxy.config.problems import printable
from wsproxy.ha.store.base import (
    CompactedError,
    Condition,
    Delete,
    Entry,
    LeaseGoneError,
    Put,
    Snapshot,
    StoreAwayError,
    Swapped,
    Told,
    TooLargeError,
    Unchanged,
    Write,
)
from wsproxy.ha.store.gateway import MOST_REASON, Gateway


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What a prefix had when it was read or told last: a mark of its history. Keys as the gateway writes them: a stranger's may be no UTF-8.

    ``newest``: what was written last of that which is there, None: nothing is; ``gone``: a key whose end was told since.
    """

    key: str = ""
    newest: Entry | None = None
    gone: str = ""
    is_known: bool = True  # False: the newest one has ended; which is it now nobody has told

    def after(self, key: str, entry: Entry | None) -> Seen:
        """Behind one change."""
        if entry is not None:
            return Seen(key, entry)
        return Seen(self.key, self.newest, key, self.is_known and key != self.key)


class EtcdStore:
    """See ``base.Store``."""

    def __init__(
        self, gateway: Gateway, most_keys: int = sys.maxsize, seen: dict[str, Seen] | None = None
    ) -> None:
        """
        ``close`` closes ``gateway``, too. ``most_keys``: that an answer, or a line of a watch, may have.

        ``seen``: by prefix, of stores that ask the same etcd, also one after the other: a watch that goes on where another store's ended still
        looks whether that etcd was restored meanwhile.
        """
        self._gateway = gateway
        self._most_keys = most_keys
        self._seen: dict[str, Seen] = {} if seen is None else seen

    async def close(self) -> None:
        """No call runs afterwards."""
        await self._gateway.close()

    async def grant(self, ttl_s: int) -> int:
        """A new lease. etcd may grant more than is asked for, never less."""
        answer = await self._gateway.ask("/v3/lease/grant", {"TTL": str(ttl_s)})
        return int(answer["ID"])

    async def keep(self, lease: int) -> None:
        """It lives a whole ttl longer."""
        answer = await self._gateway.ask("/v3/lease/keepalive", {"ID": str(lease)})
        if int(answer.get("result", {}).get("TTL", 0)) <= 0:
            raise LeaseGoneError(f"lease {lease:x} has ended")

    async def revoke(self, lease: int) -> None:
        """It ends now."""
        with contextlib.suppress(LeaseGoneError):
            await self._gateway.ask("/v3/lease/revoke", {"ID": str(lease)})

    async def read(self, prefix: str, at: int = 0) -> Snapshot:
        """All keys with the prefix."""
        question = _range(prefix) | ({"revision": str(at)} if at else {})
        answer = await self._gateway.ask("/v3/kv/range", question)
        found = self._bounded(answer.get("kvs", ()))
        entries = [_entry(each) for each in found]
        self._seen[prefix] = Seen()
        if entries:
            newest = max(range(len(entries)), key=lambda at: entries[at].modified)
            self._seen[prefix] = Seen(found[newest]["key"], entries[newest])
        return Snapshot(at or _revision(answer), {each.key: each for each in entries})

    def _bounded(self, found: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        if len(found) > self._most_keys:
            raise TooLargeError(
                f"{self._gateway.endpoint}: found {len(found)} keys at once; allowed are {self._most_keys}"
            )
        return found

    async def put(self, write: Put) -> int:
        """Overwrites; its revision."""
        return _revision(await self._gateway.ask("/v3/kv/put", _put(write)))

    async def swap(self, conditions: Sequence[Condition], writes: Sequence[Write]) -> Swapped:
        """Compare-and-set, etcd's transaction."""
        keys = dict.fromkeys(each.key for each in conditions)
        question = {
            "compare": [_compare(each) for each in conditions],
            "success": [_operation(each) for each in writes],
            "failure": [{"request_range": {"key": _b64(key)}} for key in keys],
        }
        answer = await self._gateway.ask("/v3/kv/txn", question)
        done = bool(answer.get("succeeded", False))
        found: dict[str, Entry] = {}
        for each in () if done else answer.get("responses", ()):
            for kv in each.get("response_range", {}).get("kvs", ()):
                entry = _entry(kv)
                found[entry.key] = entry
        return Swapped(done, _revision(answer), found)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Told | None]:
        """Every change after this revision; goes on by itself where a connection, or an endpoint, ends."""
        failed = 0
        while True:
            create = {**_range(prefix), "start_revision": str(after + 1)}
            has_begun = False
            try:
                await self._check_history(prefix, after)
                async for line in self._gateway.stream("/v3/watch", {"create_request": create}):
                    result = line.get("result", {})
                    if int(result.get("compact_revision", 0)):
                        raise CompactedError(f"changes since revision {after} are not kept")
                    if result.get("canceled", False):
                        why = printable(str(result.get("cancel_reason", ""))[:MOST_REASON])
                        self._gateway.doubt(why)
                        raise StoreAwayError(f"{self._gateway.endpoint}: the watch was ended: {why}")  # fmt: skip
                    if not has_begun:
                        if _revision(result) < after:
                            # Restored from a backup: it would tell nothing until it has counted up to there again. A server that is behind says
                            # so as well, and to read all costs nothing but that.
                            raise CompactedError(f"etcd is at an earlier revision than {after}")
                        has_begun, failed = True, 0
                        yield None
                    for told, keys in _told(self._bounded(result.get("events", ()))):
                        after = told.revision
                        yield told
                        self._note(
                            prefix, told, keys
                        )  # it was taken: who ends before that goes on before it
            except StoreAwayError:
                failed += 1
                if failed > self._gateway.count:
                    raise
                self._gateway.move_on()

    async def _check_history(self, prefix: str, after: int) -> None:
        """
        What was seen last is still there as it was, what had ended is not, and nothing was written between that and ``after``.

        One that was restored from a backup, and has counted on, has another history from there on: its changes up to ``after`` would never be told.

        Raises:
            CompactedError: it has; or that cannot be said any more.
        """
        seen = self._seen.get(prefix)
        if seen is None:
            return
        if not seen.is_known:
            raise CompactedError("what was written last has ended: what is there is to be read")
        since = 0 if seen.newest is None else seen.newest.modified
        if since > after:
            return
        until = {"max_mod_revision": str(after), "limit": "1", "keys_only": True}
        untold, back, now = await self._ranges(
            {**_range(prefix), **until, "min_mod_revision": str(since + 1)},
            {"key": seen.gone or _b64(prefix), **until},
            {"key": seen.key or _b64(prefix)},
        )
        is_other = bool(untold or (seen.gone and back))
        if not is_other and seen.newest is not None and now != [seen.newest]:
            # Nearly always it is as it was: then its revision need not be kept. One that is quiet for longer than etcd keeps them is no
            # reason to read all again.
            question = {"key": seen.key, "revision": str(since)}
            answer = await self._gateway.ask("/v3/kv/range", question)
            is_other = [_entry(each) for each in answer.get("kvs", ())[:2]] != [seen.newest]
        if is_other:
            raise CompactedError(
                f"etcd has another history than the one that was told up to revision {after}: it was restored from a backup"
            )

    def _note(self, prefix: str, told: Told, keys: Sequence[str]) -> None:
        seen = self._seen.get(prefix)
        for key, (_, entry) in zip(keys, told.changes, strict=True):
            if seen is not None:
                seen = seen.after(key, entry)
            elif entry is not None:
                seen = Seen(key, entry)
        if seen is not None:
            self._seen[prefix] = seen

    async def _ranges(self, *questions: dict[str, Any]) -> list[list[Entry]]:
        """What each of them finds, all of one revision."""
        answer = await self._gateway.ask(
            "/v3/kv/txn", {"success": [{"request_range": each} for each in questions]}
        )
        found = [
            self._bounded(each.get("response_range", {}).get("kvs", ()))
            for each in answer["responses"]
        ]
        return [
            [_entry(each) for each in kvs[:2]] for kvs in found
        ]  # more than one is none of etcd's


def _told(events: Sequence[dict[str, Any]]) -> list[tuple[Told, list[str]]]:
    """Whole revisions, in their order, which is etcd's; with each the keys of its changes as the gateway writes them."""
    found = []
    for revision, group in groupby(events, key=lambda each: int(each["kv"]["mod_revision"])):
        kvs = [(each["kv"], each.get("type") == "DELETE") for each in group]
        changes = tuple((_key(kv), None if is_gone else _entry(kv)) for kv, is_gone in kvs)
        found.append((Told(revision, changes), [kv["key"] for kv, _ in kvs]))
    return found


def _b64(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def _range(prefix: str) -> dict[str, Any]:
    """All keys that begin with it: up to the same with its last byte one higher."""
    first = prefix.encode()
    return {"key": _b64(first), "range_end": _b64(first[:-1] + bytes([first[-1] + 1]))}


def _put(write: Put) -> dict[str, Any]:
    return {"key": _b64(write.key), "value": _b64(write.value), "lease": str(write.lease)}


def _operation(write: Put | Delete) -> dict[str, Any]:
    if isinstance(write, Put):
        return {"request_put": _put(write)}
    return {"request_delete_range": {"key": _b64(write.key)}}


def _compare(condition: Condition) -> dict[str, Any]:
    if isinstance(condition, Unchanged):
        target = {"target": "MOD", "mod_revision": str(condition.modified)}
    else:
        target = {"target": "CREATE", "create_revision": str(condition.created)}
    return {"key": _b64(condition.key), "result": "EQUAL", **target}


def _revision(answer: dict[str, Any]) -> int:
    return int(answer["header"]["revision"])


def _key(kv: dict[str, Any]) -> str:
    """Ours are UTF-8; whatever else somebody put beside them is none of ours, and ends no process."""
    return b64decode(kv["key"]).decode("utf-8", "backslashreplace")


def _entry(kv: dict[str, Any]) -> Entry:
    return Entry(
        _key(kv),
        b64decode(kv.get("value", "")),
        int(kv["create_revision"]),
        int(kv["mod_revision"]),
        int(kv.get("lease", 0)),
    )
