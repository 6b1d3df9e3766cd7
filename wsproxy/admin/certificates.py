"""
When certificates end, as their files say now: those that clients and who asks by TCP are shown, and those in keyrings for servers.

Driven by ``admin.metrics``. Who shows them takes changed files over by himself (``dataplane.listener_tls``, ``admin.tls``); this one only looks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from wsproxy.config.keystore import KeyFileError
from wsproxy.config.settings import CertificateSettings, ListenerSettings
from wsproxy.config.settings_tls import read_certificate
from wsproxy.config.settings_told import AdminSettings
from wsproxy.dataplane.plan import Plan
from wsproxy.dataplane.steps import at_once

# Opening a PKCS#12 file takes some 50 ms, and days are what is told.
LOOK_S = 60.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate of a listener, or of ``admin.listen``; ``ends_at`` in seconds since 1970, None: nobody knows."""

    listener: str
    file: str
    ends_at: float | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Ring:
    """What is trusted of servers, or shown to them; ``ends_at``: of the certificate in the file that ends first."""

    file: str
    ends_at: float | None
    problem: str = ""


class Certificates:
    """Those of ``listeners`` and of ``admin``, and of the keyrings of the plan that holds."""

    def __init__(
        self,
        listeners: tuple[ListenerSettings, ...],
        plan: Plan | None = None,
        admin: AdminSettings | None = None,
    ) -> None:
        """Nothing is read yet."""
        self._shown = [
            (listener.address, each) for listener in listeners for each in listener.certificates
        ]
        if admin is not None and admin.certificate:
            pair = CertificateSettings(chain=admin.certificate, key=admin.key)
            self._shown.append((admin.listen, pair))
        self._found: list[Shown] = []
        self._looked_s = -LOOK_S
        self._rings: list[Ring] = []
        self.take_plan(plan)

    def take_plan(self, plan: Plan | None) -> None:
        """From now on these are the keyrings."""
        self._plan = plan
        self._looked_at_rings_s = -LOOK_S

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
        for address, each in self._shown:
            key = (address, each.p12 or each.chain)
            try:
                found[key] = Shown(*key, read_certificate(each).ends.timestamp())
            except KeyFileError as error:
                found[key] = Shown(*key, before.get(key), str(error))
        return list(found.values())

    def look_at_rings(self) -> list[Ring]:
        """The keyrings, as they are; looked at anew once a minute. # I/O."""
        now = time.monotonic()
        if now - self._looked_at_rings_s >= LOOK_S:
            self._looked_at_rings_s = now
            self._rings = list(self._read_rings())
        return self._rings

    def _read_rings(self) -> Iterator[Ring]:
        if self._plan is None or self._plan.security is None:
            return
        before = {each.file: each.ends_at for each in self._rings}
        for file, found in self._plan.security.first_ends(at_once(self._plan.keyring_steps())):
            if isinstance(found, str):
                yield Ring(file, before.get(file), found)
            else:
                yield Ring(file, found)
