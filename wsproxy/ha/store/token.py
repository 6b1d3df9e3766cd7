"""
The token by which etcd knows a user: asked for with name and password, and again where etcd does not take it any more.

Driven by ``gateway``, which has one for all its endpoints, and may share it with others: a token that one server has given all others know. It ends some minutes after its last use, where
users or roles are changed, and with a server's memory. A certificate is no user: etcd's JSON gateway takes none from it (etcd pull request 10366).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from wsproxy.config.etcd_user import EtcdUser
from wsproxy.errors import StartError
from wsproxy.ha.store.base import StoreAwayError

log = logging.getLogger("wsproxy.ha")

PATH = "/v3/auth/authenticate"
# bcrypt: 0.1 s of a CPU at the server, which goes on with it when nobody waits any more; so longer than a heartbeat may take.
AUTHENTICATE_S = 5.0
# A password that was refused is not tried again before: each try costs etcd that much.
REFUSED_S = 5.0

# What etcd (3.4 to 3.6) says where there is no token, or none that it knows, or one from before users were changed.
_SAID = ("invalid auth token", "user name is empty", "revision in header is old", "revision of auth store is old")  # fmt: skip
_NOT_ENABLED = "authentication is not enabled"
_WRONG = "authentication failed"


class TokenError(StoreAwayError):
    """It was not done, for want of a token that this server knows."""


def is_about_token(message: str) -> bool:
    """Whether etcd says so."""
    return any(each in message for each in _SAID)


class Token:
    """Of one user of one etcd; within one event loop."""

    def __init__(self, user: EtcdUser | None) -> None:
        """Not asked for yet."""
        self._user = user
        self._token: str | None = (
            None if user is not None else ""
        )  # None: to be asked for; empty: none is needed
        self._lock = asyncio.Lock()
        self._refused = ""
        self._refused_until = 0.0

    @property
    def has_user(self) -> bool:
        """Whether there is anybody to ask for."""
        return self._user is not None

    @property
    def now(self) -> str:
        """As it is, whatever became of it."""
        return self._token or ""

    async def get(self, ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> str:
        """
        The token; empty: none is needed. ``ask``: a server, without one.

        Raises:
            StoreAwayError: it gives none.
        """
        if self._token is None:
            async with self._lock:
                if self._token is None:
                    self._token = await self._ask(ask)
        return self._token

    def drop(self, token: str) -> None:
        """It is not taken any more: the next one is asked for, unless that was done meanwhile."""
        if self._user is not None and self._token == token:
            self._token = None

    async def _ask(self, ask: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> str:
        assert self._user is not None
        loop = asyncio.get_running_loop()
        if loop.time() < self._refused_until:
            raise StoreAwayError(self._refused)
        try:
            question = {"name": self._user.name, "password": self._user.password()}
        except StartError as error:
            raise StoreAwayError(str(error)) from None
        try:
            answer = await ask(question)
        except StoreAwayError as error:
            if _NOT_ENABLED in str(error):
                log.warning("ha: etcd asks for no user (`etcdctl auth enable` was not said): %s goes without", self._user.name)  # fmt: skip
                return ""
            if _WRONG in str(error):
                self._refused = f"{error} (user {self._user.name}; allowed is one of etcd's users, with its password in password_file)"
                self._refused_until = loop.time() + REFUSED_S
                raise StoreAwayError(self._refused) from None
            raise
        token = answer.get("token")
        if not isinstance(token, str) or not token.isprintable():
            raise StoreAwayError(f"found an answer to {PATH} without a token; allowed is etcd's")
        return token
