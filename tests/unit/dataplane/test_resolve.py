"""The system's resolver, asked for what every machine knows and for what none can."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from wsproxy.dataplane.resolve import Resolver


async def test_localhost_is_a_loopback_address() -> None:
    addresses = await Resolver(60).resolve("localhost")
    assert addresses
    assert all(ipaddress.ip_address(each).is_loopback for each in addresses)
    assert len(set(addresses)) == len(addresses)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1%lo"])
async def test_address_stands_for_itself(address: str) -> None:
    assert await Resolver(60).resolve(address) == [address]


async def test_answer_is_kept_for_the_time_given() -> None:
    keeping, asking = Resolver(60), Resolver(0)
    assert await keeping.resolve("localhost") is await keeping.resolve("localhost")
    assert await asking.resolve("localhost") is not await asking.resolve("localhost")


async def test_unknown_name_is_an_os_error_each_time() -> None:
    """.invalid never exists (RFC 6761); asked again it may be there, so a failure is not kept."""
    resolver = Resolver(60)
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            await resolver.resolve("no-such-host.invalid")


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..b", "nul\0byte"])
async def test_what_is_no_name_is_an_os_error_too(name: str) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the C library
        await Resolver(60).resolve(name)
