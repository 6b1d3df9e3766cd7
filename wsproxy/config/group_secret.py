"""
The secret by which the members of a core group know sessions when they tell each other who took one over (``ha.session_key``).

Driven by ``config.check_settings`` and ``process.start``. It never goes to etcd, which would have to be believed with every session then: it is
a file on each member, and what is derived of it holds for one cell and core group. # I/O. Must not log, nor show what it has read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from wsproxy.config.problems import printable
from wsproxy.config.secret_file import SecretFile
from wsproxy.config.settings_ha import HaSettings
from wsproxy.errors import StartError

SETTING = "ha.session_key"
# As many as BLAKE2 gives back, and more than anybody can try.
LEAST_BYTES = 32
MOST_BYTES = 4096
_HASH_BYTES = 16  # SipHash's key
_SEAL_BYTES = 32


@dataclass(frozen=True, slots=True)
class GroupSecret:
    """``sessions``: 16 bytes, under which session ids are hashed; ``seal``: what a member's words about them are sealed with."""

    sessions: bytes = field(repr=False)
    seal: bytes = field(repr=False)


def read_group_secret(ha: HaSettings) -> GroupSecret | None:
    """
    What the file gives for this cell and core group; None: none is named, or the proxy is alone. # I/O.

    Raises:
        StartError: it cannot be used; the text begins with the setting's name.
    """
    if not ha.is_on or not ha.session_key:
        return None
    content = SecretFile(SETTING, ha.session_key, MOST_BYTES).read().strip()
    if len(content) < LEAST_BYTES:
        raise StartError(
            f'{SETTING}: found "{printable(ha.session_key)}" with {len(content)} bytes; allowed are {LEAST_BYTES} to {MOST_BYTES} that nobody can guess (`wsproxy ha certs` makes it)'
        )
    # Names have no character below a space.
    where = f"{ha.cell}\0{ha.core_group}\0".encode()
    return GroupSecret(
        _derived(content, where, b"sessions", _HASH_BYTES), _derived(content, where, b"seal", _SEAL_BYTES)
    )  # fmt: skip


def _derived(content: bytes, where: bytes, what: bytes, size: int) -> bytes:
    key = hashlib.blake2b(content).digest()
    return hashlib.blake2b(where, key=key, person=what, digest_size=size).digest()
