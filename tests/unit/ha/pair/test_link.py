"""Two ends of a link on loopback addresses, with real certificates: words, questions, strangers."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.etcd import free_ports
from tests.support.pair_lab import until
from tests.support.process import WAIT_S
from wsproxy.errors import StartError
from wsproxy.ha.certs import files_of, make_certificates
from wsproxy.ha.pair.conf import Pair
from wsproxy.ha.pair.link import (
    MOST_OF_OTHERS,
    MOST_OF_PEER,
    MOST_QUESTION_BYTES,
    Link,
    LinkError,
    Word,
    ask_node,
    group_contexts,
)

WORD = Word(state="primary", holds=True, since=1.0, well=True, health="well", version="1", digest="d", settings="s")  # fmt: skip
NOW = datetime.datetime.now(datetime.UTC)


class End:
    """One node's end; ``words`` are those that it has heard."""

    def __init__(self, folder: Path, name: str, own: int, other: int, port: int) -> None:
        files = files_of(folder, name)
        pair = Pair(
            vip="127.0.0.100/8", address=f"127.0.0.{own}", peer=f"127.0.0.{other}",
            sync_address=f"127.0.1.{own}", sync_peer=f"127.0.1.{other}", interface="lo", port=port,
            ca=str(files.ca), certificate=str(files.certificate), key=str(files.key),
        )  # fmt: skip
        self.words: asyncio.Queue[tuple[str, Word]] = asyncio.Queue()
        self.name = name
        self.link = Link(
            pair, lambda: WORD, lambda *heard: self.words.put_nowait(heard), self.answer
        )

    async def answer(self, what: str, given: dict[str, Any], is_peer: bool) -> dict[str, Any]:
        if what == "no":
            raise LinkError("not this")
        return {"who": self.name, "what": what, "is_peer": is_peer, **given}

    async def heard_over(self) -> set[str]:
        """Networks over which words come, when they have come over two."""
        found: set[str] = set()
        async with asyncio.timeout(WAIT_S):
            while len(found) < 2:
                found.add((await self.words.get())[0])
        return found


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    hosts = [(name, f"127.0.0.{number}", f"127.0.1.{number}") for number, name in ((11, "p1"), (12, "p2"))]  # fmt: skip
    make_certificates(tmp_path / "keys", hosts, NOW)
    return tmp_path / "keys"


@asynccontextmanager
async def running(*ends: End) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(each.link.run()) for each in ends]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_words_come_over_both_networks_and_questions_are_answered(keys: Path) -> None:
    """A refusal says why; a node that has gone is told of with its networks, and is found again."""
    (port,) = free_ports(1)
    one, two = End(keys, "p1", 11, 12, port), End(keys, "p2", 12, 11, port)
    with pytest.raises(LinkError, match="not connected yet"):
        await one.link.ask("x")
    async with running(one):
        async with running(two):
            assert await one.heard_over() == {"sync", "service"}
            assert await two.heard_over() == {"sync", "service"}
            assert await one.link.ask("x", y=1) == {
                "who": "p2",
                "what": "x",
                "is_peer": True,
                "y": 1,
            }
            with pytest.raises(LinkError, match="not this"):
                await two.link.ask("no")
        await until(lambda: len(one.link.doubts) == 2, "no doubt")
        with pytest.raises(LinkError, match=r"network: .*; .* network: "):
            await one.link.ask("x")
        again = End(keys, "p2", 12, 11, port)
        async with running(again):
            assert await again.heard_over() == {"sync", "service"}
            assert (await again.link.ask("x"))["who"] == "p1"


async def test_who_has_no_key_of_the_group_is_not_heard(keys: Path, tmp_path: Path) -> None:
    """Neither with a certificate of another issuer nor with none; and whoever is not believed by us is not asked."""
    (port,) = free_ports(1)
    make_certificates(tmp_path / "others", [("p2", "127.0.0.12", "127.0.1.12")], NOW)
    one, stranger = End(keys, "p1", 11, 12, port), End(tmp_path / "others", "p2", 12, 11, port)
    async with running(one, stranger):
        for each in (one, stranger):  # first that nobody listens yet
            doubts = each.link.doubts
            await until(lambda found=doubts: "certificate is not believed" in found.get("sync", ""), str(doubts))  # type: ignore[misc]  # fmt: skip
        assert one.words.empty()
        assert stranger.words.empty()
        naked = ssl.create_default_context(cafile=str(keys / "ca.pem"))
        with pytest.raises(LinkError):
            await ask_node("127.0.0.11", port, naked, "x")


async def test_a_third_machine_may_ask_and_is_no_node(keys: Path) -> None:
    """With a key of the group: its questions are answered, a word of it is not taken for the other node's."""
    (port,) = free_ports(1)
    one = End(keys, "p1", 11, 12, port)
    files = files_of(keys, "p2")
    _, tls = group_contexts(str(files.ca), str(files.certificate), str(files.key))
    async with running(one):
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    answer = await ask_node("127.0.0.11", port, tls, "x")
                    assert answer == {"who": "p1", "what": "x", "is_peer": False}
                    break
                except LinkError:
                    await asyncio.sleep(0.01)  # it does not listen yet
        # Comes from 127.0.0.1, which is neither of the two.
        reader, writer = await asyncio.open_connection("127.0.0.11", port, ssl=tls, server_hostname="127.0.0.11", local_addr=("127.0.0.1", 0))  # fmt: skip
        writer.write(b'{"word":{"state":"primary","holds":true,"since":9,"well":true,"health":"well","version":"1","digest":"","settings":""}}\n')  # fmt: skip
        writer.write(b'{"ask":"x","number":7}\n')
        assert b'"number":7' in await asyncio.wait_for(reader.readline(), WAIT_S)
        assert one.words.empty()
        writer.write(b"no json\n")
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """With the command that makes good ones."""
    with pytest.raises(
        StartError,
        match=r"ca\.pem.*allowed is a file that can, best one that `wsproxy ha certs` made",
    ):
        group_contexts(*(str(tmp_path / name) for name in ("ca.pem", "p1.pem", "p1.key")))


async def test_strangers_take_few_descriptors_and_keep_nobody_out(keys: Path) -> None:
    """Connections of who has no certificate: those above the limit are closed at once, and the other node is heard."""
    (port,) = free_ports(1)
    one, two = End(keys, "p1", 11, 12, port), End(keys, "p2", 12, 11, port)
    async with running(one):
        await until(lambda: listens("127.0.0.11", port), "nobody listens")
        before = len(os.listdir("/proc/self/fd"))
        strangers = [await asyncio.open_connection("127.0.0.11", port, local_addr=("127.0.0.1", 0)) for _ in range(4 * MOST_OF_OTHERS)]  # fmt: skip
        try:
            most = len(os.listdir("/proc/self/fd")) - before
            closed = 0
            for reader, _ in strangers[MOST_OF_OTHERS:]:
                async with asyncio.timeout(WAIT_S):
                    with contextlib.suppress(OSError):
                        closed += await reader.read() == b""
            assert closed == 3 * MOST_OF_OTHERS
            assert most < 6 * MOST_OF_OTHERS
            async with running(two):
                assert await one.heard_over() == {"sync", "service"}
        finally:
            for _, writer in strangers:
                writer.close()


def listens(address: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), WAIT_S):
        return True
    return False


async def test_question_has_a_limit(keys: Path) -> None:
    """A key of the group is no leave to fill the agent's memory."""
    (port,) = free_ports(1)
    one = End(keys, "p1", 11, 12, port)
    files = files_of(keys, "p2")
    _, tls = group_contexts(str(files.ca), str(files.certificate), str(files.key))
    async with running(one):
        await until(lambda: listens("127.0.0.11", port), "nobody listens")
        reader, writer = await asyncio.open_connection("127.0.0.11", port, ssl=tls, server_hostname="127.0.0.11")  # fmt: skip
        writer.write(b"x" * (4 * MOST_QUESTION_BYTES))
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
        writer.close()


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.11", port)) == 0


async def test_connections_whose_end_was_lost_keep_nobody_out(keys: Path) -> None:
    """A network that is cut again and again leaves some: the other node has gone on, and this one has heard of no end."""
    (port,) = free_ports(1)
    one, two = End(keys, "p1", 11, 12, port), End(keys, "p2", 12, 11, port)
    files = files_of(keys, "p2")
    _, tls = group_contexts(str(files.ca), str(files.certificate), str(files.key))
    line = msgspec.json.encode({"word": WORD}) + b"\n"
    left = []
    async with running(one):
        await until(lambda: is_open(port), "it does not listen")
        for _ in range(MOST_OF_PEER):
            _, writer = await asyncio.open_connection("127.0.0.11", port, ssl=tls, server_hostname="127.0.0.11", local_addr=("127.0.0.12", 0))  # fmt: skip
            writer.write(line)
            await writer.drain()
            left.append(writer)
        async with asyncio.timeout(WAIT_S):
            for _ in left:
                await one.words.get()
        async with running(two):
            assert await one.heard_over() == {"service", "sync"}
    for writer in left:
        writer.transport.abort()
