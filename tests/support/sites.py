"""Two sites, each with an etcd that wants certificates of both sides; a link between them that can be cut."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.etcd import EtcdProcess, Relay, running_etcd
from wsproxy.config.etcd_user import EtcdUser
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.ha.certs import Files, files_of, make_certificates
from wsproxy.ha.names import Names
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway
from wsproxy.ha.store.token import Token

# A busy machine answers late.
PATIENT_S = 10.0


@dataclass
class Site:
    """One of them. ``relay``: what the other one comes by; ``keys``: what its own members show, ``guest``: what the other site shows here."""

    name: str
    etcd: EtcdProcess
    relay: Relay
    keys: Files
    guest: Files
    port: int
    user: EtcdUser | None = None  # that its members are, where its etcd has users
    guest_user: tuple[str, str] = ("", "")  # that the other site is, and the file of its password

    @property
    def names(self) -> Names:
        return Names("wsproxy", self.name)

    @property
    def link(self) -> str:
        """The URL that the other site asks."""
        return f"https://127.0.0.1:{self.relay.port}"

    def store(self) -> EtcdStore:
        """As a member of the site has it."""
        settings = HaSettings(
            endpoints=(self.etcd.url,), ca=str(self.keys.ca), certificate=str(self.keys.certificate),
            key=str(self.keys.key),
        )  # fmt: skip
        return EtcdStore(Gateway([self.etcd.url], group_context(settings), try_s=PATIENT_S, token=Token(self.user)))  # fmt: skip

    def as_seen(self, **more: object) -> BridgeSettings:
        """The other site's ``[[ha.bridge]]`` to this one."""
        found: dict[str, object] = {
            "core_group": self.name, "endpoints": (self.link,), "ca": str(self.guest.ca),
            "certificate": str(self.guest.certificate), "key": str(self.guest.key), "cut_s": 2.0,
            "user": self.guest_user[0], "password_file": self.guest_user[1],
        }  # fmt: skip
        return BridgeSettings(**{**found, **more})  # type: ignore[arg-type]


def _tls(files: Files) -> list[str]:
    return [
        "--client-cert-auth", "--trusted-ca-file", str(files.ca),
        "--cert-file", str(files.certificate), "--key-file", str(files.key),
        "--peer-client-cert-auth", "--peer-trusted-ca-file", str(files.ca),
        "--peer-cert-file", str(files.certificate), "--peer-key-file", str(files.key),
    ]  # fmt: skip


@contextlib.contextmanager
def site(folder: Path, name: str) -> Iterator[Site]:
    """With an issuer of its own."""
    place = folder / name
    hosts = [("localhost", "127.0.0.1"), ("member",), ("guest",)]
    make_certificates(place, hosts, datetime.datetime.now(datetime.UTC))
    with running_etcd(1, _tls(files_of(place, "localhost")), "https") as (etcd,):
        port = int(etcd.url.rpartition(":")[2])
        made = Site(name, etcd, Relay(port), files_of(place, "member"), files_of(place, "guest"), port)  # fmt: skip
        try:
            yield made
        finally:
            made.relay.close()
