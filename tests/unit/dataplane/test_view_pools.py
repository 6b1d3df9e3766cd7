"""Whose warm connections live on in the next View: of servers to which nothing leads otherwise than before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from wsproxy._fast.decide.view import View
from wsproxy._fast.proxy.pool import Pool
from wsproxy._fast.state.segment import SharedState
from wsproxy.config.model import Config, Property, Server, ServerCluster, Transport
from wsproxy.config.settings import (
    FallbackSettings,
    Settings,
    TimeoutSettings,
    UpstreamSettings,
    UpstreamTlsSettings,
)
from wsproxy.dataplane.plan import build_plan
from wsproxy.dataplane.view import make_view

HTTP = Transport("app.example", 9080, "http")
ONE = Server("s", transports=(HTTP,))
STATE = SharedState(64, 16)


def view_of(
    *servers: Server,
    name: str = "c",
    settings: Settings | None = None,
    before: View | None = None,
    folder: Path | None = None,
) -> View:
    config = Config(
        server_clusters=(ServerCluster(name, servers=servers),),
        path=str((folder or Path()) / "plugin-cfg.xml"),
    )
    plan = build_plan(config, settings or Settings(), STATE)
    return make_view(plan, with_pools=True, before=before)


def pools_of(view: View) -> list[Pool]:
    service = view.services[0]
    assert service is not None
    return [*service.pools, *service.secure_pools]


def lives_on(before: View, after: View) -> list[bool]:
    old = set(pools_of(before))
    return [pool in old for pool in pools_of(after)]


def test_the_same_again() -> None:
    """With weights, limits of the cluster and the other servers as they may be."""
    before = view_of(ONE, Server("b", transports=(Transport("other", 1, "http"),)))
    changed = dataclasses.replace(ONE, load_balance_weight=7, max_connections=3, clone_id="c")
    after = view_of(Server("new", transports=(HTTP,)), changed, before=before)
    assert lives_on(before, after) == [False, True, False, True]


def test_nobody_elses() -> None:
    """A View that is made beside it takes nothing of it."""
    assert lives_on(view_of(ONE), view_of(ONE)) == [False, False]


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(ONE, name="t"),
        dataclasses.replace(ONE, connect_timeout_s=3),
        dataclasses.replace(ONE, server_io_timeout_s=3),
        dataclasses.replace(ONE, server_io_timeout_s=-60),
        dataclasses.replace(ONE, ws_server_io_timeout_s=3),
        dataclasses.replace(ONE, ws_server_idle_timeout_s=3),
        dataclasses.replace(ONE, extended_handshake=True),
        dataclasses.replace(ONE, wait_for_continue=True),
        dataclasses.replace(ONE, transports=(dataclasses.replace(HTTP, hostname="other"),)),
        dataclasses.replace(ONE, transports=(dataclasses.replace(HTTP, port=9081),)),
        dataclasses.replace(ONE, transports=(dataclasses.replace(HTTP, connection_ttl_s=3),)),
        dataclasses.replace(ONE, transports=(dataclasses.replace(HTTP, protocol="https"),)),
    ],
)
def test_another_server_or_another_way_to_it(changed: Server) -> None:
    # Below zero it is as long, and marks down.
    io_timeout_s = max(-changed.server_io_timeout_s, 0) or ONE.server_io_timeout_s
    before = view_of(dataclasses.replace(ONE, server_io_timeout_s=io_timeout_s))
    assert lives_on(before, view_of(changed, before=before)) == [False, False]


@pytest.mark.parametrize(
    "settings",
    [
        Settings(upstream=UpstreamSettings(connect_s=3)),
        Settings(upstream=UpstreamSettings(pool_idle_s=3)),
        Settings(upstream=UpstreamSettings(pool_size=3)),
        Settings(upstream=UpstreamSettings(proxy_protocol="v1")),
        Settings(timeouts=TimeoutSettings(tunnel_s=3)),
    ],
)
def test_other_settings(settings: Settings) -> None:
    before = view_of(ONE)
    assert lives_on(before, view_of(ONE, settings=settings, before=before)) == [False, False]


def test_another_cluster() -> None:
    before = view_of(ONE)
    assert lives_on(before, view_of(ONE, name="other", before=before)) == [False, False]


def test_server_that_is_there_twice_has_two_pools_still() -> None:
    before = view_of(ONE)
    (first, second, *_) = pools_of(view_of(ONE, ONE, before=before))
    assert first is not second


def test_fallback() -> None:
    def of(port: int, before: View | None = None) -> View:
        fallback = FallbackSettings(mode="upstream", upstream=f"127.0.0.1:{port}")
        return view_of(ONE, settings=Settings(fallback=fallback), before=before)

    before = of(1)
    assert before.fallback is not None
    for port, is_kept in ((1, True), (2, False)):
        after = of(port, before)
        assert after.fallback is not None
        assert (after.fallback.pools[0] in before.fallback.pools) is is_kept


# --- over TLS ----------------------------------------------------------------------------------------------------------


def tls(folder: Path, before: View | None = None, *, verify: str = "full", alias: str = "") -> View:
    keyring = (Property("keyring", "ca.pem"),)
    transport = Transport("h", 9443, "https", properties=keyring, hostname_alias=alias)
    made = Settings(upstream=UpstreamSettings(tls=UpstreamTlsSettings(verify=verify)))  # type: ignore[arg-type]
    return view_of(
        Server("s", transports=(transport,)), settings=made, before=before, folder=folder
    )


def test_what_is_trusted_is_compared_not_the_file(tmp_path: Path) -> None:
    """Each plan reads its keyrings anew; only other certificates in them make another connection."""
    first = Authority("First")
    first.write_pem(tmp_path)
    before = tls(tmp_path)
    first.write_pem(tmp_path)
    assert lives_on(before, tls(tmp_path, before)) == [True, True]
    Authority("First").write_pem(tmp_path)
    assert lives_on(before, tls(tmp_path, before)) == [False, False]


def test_how_a_server_is_verified_is_compared(tmp_path: Path) -> None:
    Authority().write_pem(tmp_path)
    before = tls(tmp_path)
    assert lives_on(before, tls(tmp_path, before, verify="chain")) == [False, False]
    assert lives_on(before, tls(tmp_path, before, alias="other")) == [False, False]


def test_what_is_shown_to_servers_is_compared(tmp_path: Path) -> None:
    """The same certificates are trusted, and another one with its key is ours."""
    authority = Authority()

    def of(before: View | None = None) -> View:
        trust = UpstreamTlsSettings(trust=str(tmp_path / "ca.pem"))
        properties = (Property("keyring", "key.p12"), Property("password", "word"))
        transport = Transport("h", 9443, "https", properties=properties)
        settings = Settings(upstream=UpstreamSettings(tls=trust))
        return view_of(
            Server("s", transports=(transport,)), settings=settings, before=before, folder=tmp_path
        )

    authority.write_pem(tmp_path)
    ours = authority.issue("proxy")
    ours.write_p12(tmp_path, "key", b"word")
    before = of()
    pool = pools_of(before)[0]
    assert "material=" not in repr(pool.tls)
    ours.write_p12(tmp_path, "key", b"word")
    assert lives_on(before, of(before)) == [True, True]
    authority.issue("proxy").write_p12(tmp_path, "key", b"word")
    assert lives_on(before, of(before)) == [False, False]


def test_keyring_that_is_mended_makes_a_connection_possible(tmp_path: Path) -> None:
    before = tls(tmp_path)
    Authority().write_pem(tmp_path)
    assert lives_on(before, tls(tmp_path, before)) == [False, False]
