"""
When the certificates end that clients are shown, as their files say now.

Driven by ``admin.metrics``. Workers take changed files over by themselves (``dataplane.listener_tls``); this one only looks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from wsproxy.config.keystore import KeyFileError
from wsproxy.config.settings import ListenerSettings
from wsproxy.config.settings_tls import read_certificate

# Opening a PKCS#12 file takes some 50 ms, and days are what is told.
LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate of a listener; ``ends_at`` in seconds since 1970, None: nobody knows."""

    listener: str
    file: str
    ends_at: float | None
    problem: str = ""


class Certificates:
    """Those of ``listeners``."""

    def __init__(self, listeners: tuple[ListenerSettings, ...]) -> None:
        """Nothing is read yet."""
        self._listeners = listeners
        self._found: list[Shown] = []
        self._looked_s = -LOOK_S

    def look(self) -> list[Shown]:
        """As they are; looked at anew once a minute. # I/O."""
        now = time.monotonic()
        if now - self._looked_s >= LOOK_S:
            self._looked_s = now
            self._found = self.read()
        return self._found

    def read(self) -> list[Shown]:
        """As they are now. # I/O."""
        before = {(each.listener, each.file): each.ends_at for each in self._found}
        found: dict[tuple[str, str], Shown] = {}
        for listener in self._listeners:
            for each in listener.certificates:
                file = each.p12 or each.chain
                key = (listener.address, file)
                try:
                    found[key] = Shown(*key, read_certificate(each).ends.timestamp())
                except KeyFileError as error:
                    found[key] = Shown(*key, before.get(key), str(error))
        return list(found.values())
