"""Sites whose etcd has users: the other one reads its board, by a role that may do nothing else, and both ends are up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.etcd import needs_etcd
from tests.support.etcd_users import add_user, disable, enable, password_file, user_of
from tests.support.sites import Site, site
from tests.unit.ha.bridge.test_bridge import Pair, drain, pair  # noqa: F401  # a fixture
from wsproxy.config.etcd_user import EtcdUser, etcd_user
from wsproxy.config.settings_tls import group_context
from wsproxy.ha.store.base import Put, StoreAwayError
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway
from wsproxy.ha.store.token import Token

pytestmark = needs_etcd

PATIENT_S = 20.0


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    folder = tmp_path_factory.mktemp("sites")
    with site(folder, "east") as east, site(folder, "west") as west:
        for each in (east, west):
            asyncio.run(guard(each, folder))
        yield east, west
        for each in (east, west):
            asyncio.run(unguard(each, folder))


def plain(here: Site, user: EtcdUser | None = None) -> Gateway:
    return Gateway(
        [here.etcd.url], group_context(here.as_seen()), try_s=PATIENT_S, token=Token(user)
    )


async def guard(here: Site, folder: Path) -> None:
    """As docs/high-availability.md says: its members may do all that is wsproxy's, a guest reads its board."""
    gateway = plain(here)
    await add_user(gateway, "member", "READWRITE", "/wsproxy")
    await add_user(gateway, "guest", "READ", here.names.board)
    await enable(gateway)
    await gateway.close()
    here.user = user_of(folder, "member")
    here.guest_user = "guest", str(password_file(folder, "guest"))


async def unguard(here: Site, folder: Path) -> None:
    root = plain(here, user_of(folder, "root"))
    await disable(root)
    await root.close()


async def test_the_other_site_reads_and_cannot_write(pair: Pair) -> None:  # noqa: F811
    """Words go over both ways; with what a bridge has, nothing is written there, and nothing but the board is read."""
    east, west = await pair.bridged()
    await east.say("hold/farm/s1", drain())
    await west.say("hold/farm/s2", drain())
    await west.until(lambda words: "hold/farm/s1" in words)
    await east.until(lambda words: "hold/farm/s2" in words)
    settings = pair.east.as_seen()
    store = EtcdStore(Gateway(settings.endpoints, group_context(settings), try_s=PATIENT_S, token=Token(etcd_user(settings))))  # fmt: skip
    names = pair.east.names
    assert f"{names.board}hold/farm/s1" in (await store.read(names.board)).entries
    with pytest.raises(StoreAwayError, match="permission denied"):
        await store.put(Put(f"{names.board}hold/farm/s1", b"{}"))
    with pytest.raises(StoreAwayError, match="permission denied"):
        await store.swap([], [Put(f"{names.board}hold/farm/s3", b"{}")])
    with pytest.raises(StoreAwayError, match="permission denied"):
        await store.read(names.root)
    await store.close()


async def test_without_the_password_nothing_is_read(pair: Pair) -> None:  # noqa: F811
    """The key alone is not enough; the end says why it is cut."""
    [end] = [pair.end_of(pair.west, pair.east.as_seen(user="", password_file=""))]
    await end.begin()
    await end.until_state("cut")
    assert "user name is empty" in end.bridge.end().why
