"""
WebSphere-style JSESSIONIDs and the store of sessions that all demo app servers share.

Driven by ``demo.app``. Must not know HTTP beyond the value of one cookie. The rules for cache id and clone ids were
captured from Open Liberty with its sessions in a database; each has a test of its own.
"""

from __future__ import annotations

import base64
import re
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COOKIE_NAME = "JSESSIONID"
CLONE_SEPARATOR = ":"

# A session that is kept in a database starts at 0001; 0000 is one that only lives in memory.
FIRST_CACHE_ID = 1
CACHE_ID_DIGITS = 4
CACHE_IDS = 10**CACHE_ID_DIGITS

SESSION_CHARACTERS = 23  # WebSphere's default; 138 bits of base64url
_RANDOM_BYTES = 18  # 24 characters of base64url, one more than are used

# A load test without cookies makes a session a request; the oldest are dropped. 100 000 sessions take about 10 MB.
MAX_SESSIONS = 100_000

# Longest wait for another server's write. One takes well under a millisecond; this is for a machine that hangs.
STORE_BUSY_S = 5.0

# RFC 6265 cookie-octet without the separator: the list goes back to the client in Set-Cookie.
_CLONE_ID = r"[\x21\x23-\x2b\x2d-\x39\x3c-\x5b\x5d-\x7e]+"
_JSESSIONID = re.compile(
    rf"(?P<cache_id>[0-9]{{{CACHE_ID_DIGITS}}})(?P<session>[A-Za-z0-9_-]{{{SESSION_CHARACTERS}}})"
    rf"(?P<clones>({CLONE_SEPARATOR}{_CLONE_ID})*)"
)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation: the oldest are dropped first
    id TEXT NOT NULL UNIQUE,                  -- the 23 characters
    owner TEXT NOT NULL,                      -- clone id of the server that was asked last
    cache_id INTEGER NOT NULL,
    count INTEGER NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class JSessionId:
    """The value of the cookie: ``<cache id><session>:<clone id>:<clone id>...``; only ``session`` names the session."""

    cache_id: int
    session: str
    clone_ids: tuple[str, ...]

    def __str__(self) -> str:
        """As it stands in the cookie."""
        return CLONE_SEPARATOR.join(
            (f"{self.cache_id:0{CACHE_ID_DIGITS}}{self.session}", *self.clone_ids)
        )


@dataclass(frozen=True, slots=True)
class Visit:
    """What one request found: its session after counting, and whether the client must be told a new cookie."""

    jsessionid: JSessionId
    count: int
    is_new: bool
    sets_cookie: bool


def parse_jsessionid(value: str) -> JSessionId | None:
    """The parts of a cookie value; None where it has another shape, which no server here can have given out."""
    found = _JSESSIONID.fullmatch(value)
    if found is None:
        return None
    clone_ids = tuple(found["clones"].split(CLONE_SEPARATOR)[1:])
    return JSessionId(int(found["cache_id"]), found["session"], clone_ids)


def find_session_cookie(cookie_headers: list[str]) -> str | None:
    """
    The value of the first JSESSIONID in the Cookie fields of a request.

    Only the first counts: Liberty made a new session although the second cookie named one that it knew.
    """
    for header in cookie_headers:
        for pair in header.split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals and name == COOKIE_NAME:
                return value
    return None


def new_session_characters() -> str:
    """23 unguessable characters of base64url."""
    drawn = base64.urlsafe_b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode("ascii")
    return drawn[:SESSION_CHARACTERS]


def follow_session(asked: JSessionId, clone_id: str, owner: str, cache_id: int) -> JSessionId:
    """
    The id of a known session after ``clone_id`` was asked with ``asked``; equal to it when nothing changed.

    ``owner`` and ``cache_id`` are what the store knows of the last request. A change of server makes the cache id that
    came in one greater; this server's clone id is appended once, so the original owner stays first.
    """
    if owner != clone_id:
        cache_id = (asked.cache_id + 1) % CACHE_IDS
    clone_ids = asked.clone_ids
    if clone_id not in clone_ids:  # whole ids: clone1 is not contained in clone10
        clone_ids = (*clone_ids, clone_id)
    return JSessionId(cache_id, asked.session, clone_ids)


class SessionStore:
    """
    The sessions of the whole cluster, in one SQLite file that every app server opens.

    What a request wrote is on file before it is answered, so a server may be killed at any time. Not for two threads.
    """

    def __init__(self, path: Path, max_sessions: int = MAX_SESSIONS) -> None:
        """Opens the file, or makes it. # I/O."""
        self._max_sessions = max_sessions
        # Autocommit: transactions are begun by hand. The thread check is off because the store is opened before its
        # thread exists; there is one thread all the same.
        self._db = sqlite3.connect(
            path, timeout=STORE_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
        # No fsync: a killed process loses nothing that it gave to the kernel, and a power cut ends the demo anyhow.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(_SCHEMA)

    def visit(self, cookie_value: str | None, clone_id: str) -> Visit:
        """Counts one request in its session, or in a new one when the value names none. # I/O, may wait STORE_BUSY_S."""
        asked = parse_jsessionid(cookie_value) if cookie_value is not None else None
        with self._transaction():
            found = self._find(asked.session) if asked else None
            if asked is None or found is None:
                return self._open_session(clone_id)
            owner, cache_id, count = found
            now = follow_session(asked, clone_id, owner, cache_id)
            self._db.execute(
                "UPDATE session SET owner = ?, cache_id = ?, count = ? WHERE id = ?",
                (clone_id, now.cache_id, count + 1, now.session),
            )
        return Visit(now, count + 1, is_new=False, sets_cookie=now != asked)

    def close(self) -> None:
        """Closes the file; the last server to do so folds the write-ahead log into it."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # IMMEDIATE takes the write lock before the read: else two servers read the same count and one is lost.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _find(self, session: str) -> tuple[str, int, int] | None:
        found: tuple[str, int, int] | None = self._db.execute(
            "SELECT owner, cache_id, count FROM session WHERE id = ?", (session,)
        ).fetchone()
        return found

    def _open_session(self, clone_id: str) -> Visit:
        """A session with the clone id of this server only, whatever list the client had sent."""
        opened = JSessionId(FIRST_CACHE_ID, new_session_characters(), (clone_id,))
        inserted = self._db.execute(
            "INSERT INTO session (id, owner, cache_id, count) VALUES (?, ?, ?, 1)",
            (opened.session, clone_id, opened.cache_id),
        )
        number = inserted.lastrowid
        assert number is not None
        self._db.execute("DELETE FROM session WHERE number <= ?", (number - self._max_sessions,))
        return Visit(opened, 1, is_new=True, sets_cookie=True)
