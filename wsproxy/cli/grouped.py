"""
What commands have in common that speak to the group's etcd: by which settings, with which certificates, and as whom.

Used by ``cli.publish`` and ``cli.ha_published``. Must not know what is said.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from wsproxy.cli.asking import EXIT_NOBODY, EXIT_REFUSED, fail
from wsproxy.config.etcd_user import etcd_user
from wsproxy.config.key_context import group_tls
from wsproxy.config.keystore import KeyFileError
from wsproxy.config.published import MOST_WORDS, PublishedFolder
from wsproxy.config.settings_file import load_settings
from wsproxy.config.settings_ha import HaSettings
from wsproxy.config.settings_tls import group_context
from wsproxy.errors import ConfigRefusedError, StartError, WsproxyError
from wsproxy.ha.master.library import TRY_S, Library
from wsproxy.ha.master.words import UnreadableError
from wsproxy.ha.names import Names
from wsproxy.ha.store.base import Store, StoreAwayError
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway
from wsproxy.ha.store.token import Token

# Where the packages have it.
SETTINGS = Path("/etc/wsproxy/wsproxy.toml")

EXIT_CODES = "Exit code: 0 done, 1 refused or not done, with the reason, 2 etcd cannot be asked, or what is given here cannot be used. "

settings_option = click.option(
    "--settings",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    default=SETTINGS,
    show_default=True,
    help="The wsproxy.toml whose [ha] says where etcd is, and with which certificate it is asked.",
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Group:
    """The group that a wsproxy.toml names; ``folder``: where this proxy keeps what is published."""

    ha: HaSettings
    store: Store
    names: Names
    library: Library
    folder: PublishedFolder | None


def group_settings(settings_file: Path) -> HaSettings:
    """
    ``[ha]`` of this file.

    Raises:
        WsproxyError: there is none.
    """
    if not settings_file.exists():
        raise StartError(
            f"{settings_file}: found no such file; allowed is --settings with the wsproxy.toml of a proxy of the group"
        )
    ha = load_settings(settings_file).settings.ha
    if not ha.is_on:
        raise StartError(
            f'{settings_file}: found ha.store = "off"; allowed is the wsproxy.toml of a proxy of a group, or one with store, endpoints and certificate of its etcd'
        )
    return ha


@asynccontextmanager
async def group_of(ha: HaSettings) -> AsyncIterator[Group]:
    """Raises ``WsproxyError`` where it cannot be reached from here."""
    folder = PublishedFolder(ha.config_folder) if ha.config_folder else None
    names = Names(ha.cell, ha.core_group)
    store = EtcdStore(Gateway(*_place(ha, folder), try_s=TRY_S, token=Token(etcd_user(ha))))
    try:
        yield Group(ha, store, names, Library(store, names), folder)
    finally:
        await store.close()


def _place(
    ha: HaSettings, folder: PublishedFolder | None
) -> tuple[tuple[str, ...], ssl.SSLContext | None]:
    if ha.store == "etcd":
        try:
            return ha.endpoints, group_context(ha)
        except KeyFileError as error:
            raise StartError(str(error)) from error
    place = None if folder is None else folder.read_place()
    if place is None:
        raise StartError(
            'found ha.store = "embedded", whose etcd only its proxy knows; allowed with ha.config_folder, where a proxy that runs says where it is'
        )
    try:
        context = group_tls(place.ca, place.certificate, place.key)
    except KeyFileError as error:
        raise StartError(
            f"{error}: the proxy whose etcd it is does not run, or its keys are another user's"
        ) from error
    return (place.url,), context


def run_grouped(settings_file: Path, work: Callable[[Group], Coroutine[Any, Any, _T]]) -> _T:
    """What ``work`` returns; where it fails the command ends, with the reason."""

    async def in_group() -> _T:
        async with group_of(group_settings(settings_file)) as group:
            return await work(group)

    try:
        return asyncio.run(in_group())
    except UnreadableError as error:
        fail(str(error), EXIT_NOBODY)
    except StoreAwayError as error:
        fail(f"etcd does not answer: {error}", EXIT_NOBODY)
    except (ConfigRefusedError, StartError) as error:
        fail(str(error), EXIT_NOBODY)
    except WsproxyError as error:
        fail(str(error), EXIT_REFUSED)


def myself() -> str:
    """Who gives the command: ``alice@proxy1``; who has become root is named as well."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # nobody of this machine, in a container
        name = f"uid {uid}"
    behind = os.environ.get("SUDO_USER", "")
    who = f"{behind or name}@{os.uname().nodename}" + (f" as {name}" if behind else "")
    return who[:MOST_WORDS]
