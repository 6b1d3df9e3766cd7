"""
Who a proxy is to etcd: ``user`` and ``password_file`` of ``[ha]``, and of ``[[ha.bridge]]`` for the other site's.

Read by ``config.check_settings`` and, whenever a token is asked for, by ``ha.store.token``: a password that is changed in its file holds without a
new start. Must not log, nor show, what it has read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from wsproxy.config.problems import printable
from wsproxy.config.secret_file import SecretFile
from wsproxy.config.settings_bridge import BridgeSettings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.errors import StartError

# etcd hashes it by bcrypt, which takes no more.
MOST_BYTES = 72


@dataclass(frozen=True, slots=True)
class EtcdUser:
    """``name``: of a user of etcd."""

    name: str
    _file: SecretFile = field(repr=False)

    def password(self) -> str:
        """
        The first line of its file. # I/O.

        Raises:
            StartError: it cannot be used; the text begins with the setting's name.
        """
        line = self._file.read().split(b"\n", 1)[0].rstrip(b"\r")
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = ""
        if len(line) > MOST_BYTES:
            raise StartError(f'{self._file.setting}: found "{printable(self._file.path)}" with {len(line)} bytes in its first line; allowed are 1 to {MOST_BYTES}')  # fmt: skip
        if not text:
            raise StartError(f'{self._file.setting}: found "{printable(self._file.path)}" without a password in its first line; allowed is one of 1 to {MOST_BYTES} bytes of UTF-8')  # fmt: skip
        return text


def etcd_user(settings: HaSettings | BridgeSettings) -> EtcdUser | None:
    """None: whoever has a certificate is believed."""
    if not settings.user:
        return None
    setting = f"ha.{'' if isinstance(settings, HaSettings) else 'bridge.'}password_file"
    return EtcdUser(settings.user, SecretFile(setting, settings.password_file, MOST_BYTES + 2))
