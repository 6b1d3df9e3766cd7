"""
TLS of ``admin.listen``: its context, read anew where its files change, and the door that shakes hands before anybody asks.

Made by ``process.start`` before the fork (what cannot work is refused then), used by ``admin.server``. By Python's ssl module and the
event loop's own TLS: few ask here, and none of them is in a hurry. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from aiohttp import web

from wsproxy.config.key_context import load_key
from wsproxy.config.keystore import KeyFileError, read_pem_pair
from wsproxy.config.settings_told import AdminSettings
from wsproxy.config.stamps import Settling, Stamp, stamp_of
from wsproxy.dataplane.tasks import spawn
from wsproxy.dataplane.tls import ALPN
from wsproxy.errors import StartError

log = logging.getLogger("wsproxy.admin")

# A client does it in one round trip, or two.
HANDSHAKE_S = 10.0


class AdminTls:
    """What clients of ``admin.listen`` are shown."""

    def __init__(self, settings: AdminSettings) -> None:
        """
        Reads both files. # I/O.

        Raises:
            StartError: they cannot be used.
        """
        self._files = settings.certificate, settings.key
        self._change = Settling(self._look())
        try:
            self.context = self._make()
        except (KeyFileError, ssl.SSLError) as error:
            raise StartError(f"admin.certificate: {error}") from error

    def follow(self) -> None:
        """
        Takes changed files over, for connections from now on; to be called once a second. # I/O.

        What cannot be used is logged, and what was there before stays.
        """
        if not self._change.has_settled(self._look()):
            return
        try:
            self.context = self._make()
        except (KeyFileError, ssl.SSLError) as error:
            log.error("admin.certificate: changed files are not used, the ones from before stay: %s", error)  # fmt: skip
        else:
            log.info("admin.certificate: the files changed and are in use now")

    def _look(self) -> Stamp:
        return stamp_of(map(Path, self._files))

    def _make(self) -> ssl.SSLContext:
        material = read_pem_pair(*self._files, takes_password=False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # a client could make us compute for nothing
        context.set_alpn_protocols(ALPN)
        load_key(context, material)
        return context


def tls_of(settings: AdminSettings) -> AdminTls | None:
    """
    How ``admin.listen`` is encrypted; None: it is not. # I/O.

    Raises:
        StartError: the files cannot be used.
    """
    return AdminTls(settings) if settings.certificate else None


def shake_hands(
    transport: asyncio.Transport, door: asyncio.Protocol, handler: web.RequestHandler, tls: AdminTls
) -> None:
    """``handler`` gets the connection once it is encrypted; ``door`` hears all else of it. One that cannot be is cut."""
    transport.pause_reading()  # what comes is for the handshake, which has not begun

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        try:
            encrypted = await loop.start_tls(
                transport, door, tls.context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is one
            log.info("admin: TLS with a client failed: %s", getattr(error, "reason", "") or error)
            transport.abort()
            return
        if encrypted is not None and not encrypted.is_closing():
            handler.connection_made(encrypted)

    spawn(begin(), "TLS at admin.listen")
