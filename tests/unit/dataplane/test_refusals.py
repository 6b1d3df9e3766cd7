"""Connections that a client may not have: how the worker ends them, counts them, and how much it says of them."""

from __future__ import annotations

import logging

import pytest

from tests.support.bed import Bed, config_of, server
from tests.support.wire import Origin, Wire
from wsproxy._fast.downstream import DownstreamProtocol
from wsproxy._fast.engine import Engine
from wsproxy.config.settings import LimitSettings, Settings
from wsproxy.dataplane.refusals import LINE_S, Refusals

ONE = Settings(limits=LimitSettings(client_connections=1))
GET = b"GET /app/x HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nok"


async def test_second_connection_is_reset_until_the_first_ends() -> None:
    origin = Origin()
    async with Bed(config_of(server("s", origin.port)), ONE) as bed:
        first = await bed.client()
        for refused in (1, 2):
            bed.connected += 1
            with pytest.raises(
                ConnectionResetError
            ):  # perhaps before it knows that it is connected
                await (await Wire.connect(bed.port)).read_to_end()
            assert bed.engine.refused_connections == refused
        await first.send(GET)
        wire, _ = await origin.accept_request()
        await wire.send(OK)
        assert await first.read_answer() == (200, b"ok")
        first.close()
        await bed.until(lambda: bed.engine.open_streams == 1)  # the server's
        third = await bed.client()
        await third.send(GET)
        await wire.read_head()
        await wire.send(OK)
        assert await third.read_answer() == (200, b"ok")
        assert bed.engine.refused_connections == 2


async def test_connection_counts_from_before_its_handshake_until_it_is_given_up() -> None:
    async with Bed(config_of(server("s", 1)), ONE) as bed:
        check_admissions(bed.engine)


def check_admissions(engine: Engine) -> None:
    one, two, nobodys = (DownstreamProtocol(engine) for _ in range(3))
    assert one.admit("192.0.2.1")
    assert one.admit("192.0.2.1")  # the same connection
    assert not two.admit("::ffff:192.0.2.1")
    two.leave()  # it never counted
    assert not two.admit("192.0.2.1")
    assert nobodys.admit(None)
    nobodys.leave()
    one.leave()
    one.leave()
    assert DownstreamProtocol(engine).admit("192.0.2.1")


async def test_without_a_limit_everybody_is_admitted() -> None:
    async with Bed(config_of(server("s", 1))) as bed:
        assert not bed.engine.limits_clients
        assert all(DownstreamProtocol(bed.engine).admit("192.0.2.1") for _ in range(5))


def test_log_has_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING):
        for now in (100.0, 100.1, 100.0 + LINE_S / 2, 100.0 + LINE_S, 100.1 + LINE_S):
            refusals.note(f"192.0.2.{int(now)}", now)
    assert [record.getMessage().split(", of all")[0] for record in caplog.records] == [
        "192.0.2.100 has as many connections as limits.client_connections allows; 1 refused",
        "192.0.2.110 has as many connections as limits.client_connections allows; 3 refused",
    ]
