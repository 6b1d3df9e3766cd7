"""An etcd with users, as docs/high-availability.md has etcdctl make them: root, and others with roles on prefixes."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any, Literal

from wsproxy.config.etcd_user import EtcdUser
from wsproxy.config.secret_file import SecretFile
from wsproxy.ha.store.gateway import Gateway

Permission = Literal["READ", "READWRITE"]


def user_of(folder: Path, name: str, password: str = "") -> EtcdUser:
    """With its file; the password is the name's, unless it is said."""
    return EtcdUser(name, SecretFile("password_file", str(password_file(folder, name, password)), 74))  # fmt: skip


def password_file(folder: Path, name: str, password: str = "") -> Path:
    """As ``password_file`` names it."""
    file = folder / f"{name}.password"
    file.touch(0o600)
    file.write_text(f"{password or name}-secret\n")
    return file


async def add_user(gateway: Gateway, name: str, permission: Permission, prefix: str) -> None:
    """With a role of its name, for what begins with ``prefix``."""
    await gateway.ask("/v3/auth/role/add", {"name": name})
    await grant(gateway, name, permission, prefix)
    await gateway.ask("/v3/auth/user/add", {"name": name, "password": f"{name}-secret"})
    await gateway.ask("/v3/auth/user/grant", {"user": name, "role": name})


async def grant(gateway: Gateway, role: str, permission: Permission, prefix: str) -> None:
    """The role may do that, too."""
    first = prefix.encode()
    perm: dict[str, Any] = {
        "permType": permission,
        "key": b64encode(first).decode(),
        "range_end": b64encode(first[:-1] + bytes([first[-1] + 1])).decode(),
    }
    await gateway.ask("/v3/auth/role/grant", {"name": role, "perm": perm})


async def enable(gateway: Gateway) -> None:
    """From now on everybody needs a user."""
    await gateway.ask("/v3/auth/user/add", {"name": "root", "password": "root-secret"})
    await gateway.ask("/v3/auth/role/add", {"name": "root"})
    await gateway.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
    await gateway.ask("/v3/auth/enable", {})


async def disable(root: Gateway) -> None:
    """Nobody does; ``root``: as that user."""
    await root.ask("/v3/auth/disable", {})
