"""A load balancer in front that speaks PROXY protocol, and clients that would like to."""

from __future__ import annotations

import pytest

from tests.support.client import Client, get
from tests.support.origin import field, keep_answering
from tests.support.proxy import lane, running_proxy
from wsproxy.dataplane.proxy_protocol import write_v1, write_v2

SOURCE = ("203.0.113.9", 4711)
DESTINATION = ("198.51.100.1", 8088)


def settings(senders: str) -> str:
    return f'[[listener]]\naddress = "127.0.0.1:0"\nproxy_protocol = ["{senders}"]\n'


@pytest.mark.parametrize("header", [write_v1(SOURCE, DESTINATION), write_v2(SOURCE, DESTINATION)])
async def test_servers_see_the_client_that_the_header_names(header: bytes) -> None:
    """For every request of the connection, and before TrustedProxy and $WSSP are looked at."""
    one = lane("one")
    async with (
        running_proxy(
            [one],
            settings=settings("127.0.0.0/8"),
            config='AppServerPortPreference="WebserverPort"',
            listen=None,
        ) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        await client.send(header + get("/one/x", "$WSRA: 192.0.2.1"))
        assert (await client.answer()).status == 200
        assert (await client.ask(get("/one/x"))).status == 200
        for request in one.origin.requests:
            assert field(request, b"$WSRA") == b"203.0.113.9"
            assert field(request, b"$WSSP") == b"8088"


MAPPED_V1 = b"PROXY TCP6 ::FFFF:203.0.113.9 ::ffff:c633:6401 4711 8088\r\n"
MAPPED_V2 = write_v2(SOURCE, ("2001:db8::1", 8088))


@pytest.mark.parametrize("header", [MAPPED_V1, MAPPED_V2], ids=["v1", "v2"])
async def test_mapped_ipv4_client_of_a_header_is_an_ipv4_client(header: bytes) -> None:
    """A load balancer on a dual-stack socket says TCP6 for all clients; those of IPv4 have their own address nevertheless."""
    one = lane("one")
    async with (
        running_proxy([one], settings=settings("127.0.0.1"), listen=None) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        assert (await client.ask(header + get("/one/x"))).status == 200
        assert field(one.origin.requests[0], b"$WSRA") == b"203.0.113.9"


@pytest.mark.parametrize(
    ("header", "trusted"),
    [(MAPPED_V1, "203.0.113.9"), (MAPPED_V2, "::ffff:203.0.113.9")],
    ids=["v1", "v2"],
)
async def test_mapped_trusted_proxy_is_trusted(header: bytes, trusted: str) -> None:
    """However TrustedProxy and header spell its address."""
    one = lane("one")
    async with (
        running_proxy(
            [one],
            settings=settings("127.0.0.1"),
            config='TrustedProxyEnable="true"',
            routes=f'<TrustedProxyGroup><TrustedProxy Name="{trusted}"/></TrustedProxyGroup>',
            listen=None,
        ) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        assert (await client.ask(header + get("/one/x", "$WSRA: 192.0.2.1"))).status == 200
        assert field(one.origin.requests[0], b"$WSRA") == b"192.0.2.1"


async def test_ipv6_client_that_only_begins_as_a_mapped_one_keeps_its_address() -> None:
    """Nothing is cut off an address that is no IPv4 address."""
    one = lane("one")
    async with (
        running_proxy([one], settings=settings("127.0.0.1"), listen=None) as proxy,
        one.origin.serving(keep_answering),
        await Client.connect(proxy.port) as client,
    ):
        header = write_v1(("::ffff:0:102:304", 4711), ("2001:db8::1", 8088))
        assert (await client.ask(header + get("/one/x"))).status == 200
        assert field(one.origin.requests[0], b"$WSRA") == b"::ffff:0:102:304"


async def test_listed_sender_without_a_header_is_dropped() -> None:
    """Its client would pass for the load balancer itself, which may be a trusted proxy."""
    one = lane("one")
    async with (
        running_proxy([one], settings=settings("127.0.0.1"), listen=None) as proxy,
        await Client.connect(proxy.port) as client,
    ):
        await client.send(get("/one/x"))
        assert await client.is_cut()
        await proxy.line("allowed is a PROXY protocol header")
        assert not one.origin.has_waiting()


async def test_header_of_somebody_else_is_a_bad_request() -> None:
    """Only listed addresses may speak for others."""
    one = lane("one")
    async with (
        running_proxy([one], settings=settings("192.0.2.0/24"), listen=None) as proxy,
        one.origin.serving(keep_answering),
    ):
        async with await Client.connect(proxy.port) as client:
            await client.send(write_v1(SOURCE, DESTINATION) + get("/one/x"))
            assert (await client.answer()).status == 400
        async with await Client.connect(proxy.port) as client:
            assert (await client.ask(get("/one/x"))).status == 200
        assert [field(each, b"$WSRA") for each in one.origin.requests] == [b"127.0.0.1"]
