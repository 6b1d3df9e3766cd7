"""A real etcd with users: a token is got, got again where it does not hold any more, and what a role does not let is not done."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.etcd import EtcdProcess, needs_etcd, running_etcd
from tests.support.etcd_users import add_user, enable, grant, password_file, user_of
from wsproxy.config.etcd_user import EtcdUser
from wsproxy.ha.store.base import Put, StoreAwayError
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway
from wsproxy.ha.store.token import Token

pytestmark = needs_etcd

PATIENT_S = 20.0


@pytest.fixture(scope="module")
def guarded() -> Iterator[EtcdProcess]:
    """Members may do all below /w/, a guest may read /w/board/."""

    async def prepare(url: str) -> None:
        gateway = Gateway([url], try_s=PATIENT_S)
        await add_user(gateway, "member", "READWRITE", "/w/")
        await add_user(gateway, "guest", "READ", "/w/board/")
        await enable(gateway)
        await gateway.close()

    with running_etcd() as [server]:
        asyncio.run(prepare(server.url))
        yield server


class Stores:
    """Of any user, at that server or by way of a relay."""

    def __init__(self, server: EtcdProcess, folder: Path) -> None:
        self.folder = folder
        self.server = server
        self._open: list[Gateway] = []

    def gateway(self, user: EtcdUser | None, *urls: str) -> Gateway:
        made = Gateway(urls or [self.server.url], try_s=PATIENT_S, token=Token(user))
        self._open.append(made)
        return made

    def of(self, name: str, *urls: str) -> EtcdStore:
        return EtcdStore(self.gateway(user_of(self.folder, name), *urls))

    async def close(self) -> None:
        for each in self._open:
            await each.close()


@pytest_asyncio.fixture
async def stores(guarded: EtcdProcess, tmp_path: Path) -> AsyncIterator[Stores]:
    made = Stores(guarded, tmp_path)
    yield made
    await made.close()


async def test_a_guest_reads_and_watches_and_writes_nothing(stores: Stores) -> None:
    """Not with a put, a transaction, a deletion, nor by ending the lease that a member's keys are on."""
    member = stores.of("member")
    guest, gateway = stores.of("guest"), stores.gateway(user_of(stores.folder, "guest"))
    lease = await member.grant(600)
    revision = await member.put(Put("/w/board/a", b"1", lease))
    assert (await guest.read("/w/board/")).entries["/w/board/a"].value == b"1"
    async with asyncio.timeout(60), contextlib.aclosing(guest.watch("/w/board/", revision)) as words:  # fmt: skip
        assert await anext(words) is None
        await member.put(Put("/w/board/b", b"2"))
        told = await anext(words)
        assert told is not None
        assert told.changes[0][0] == "/w/board/b"
    with pytest.raises(StoreAwayError, match="permission denied"):
        await guest.put(Put("/w/board/a", b"3"))
    with pytest.raises(StoreAwayError, match="permission denied"):
        await guest.swap([], [Put("/w/board/a", b"3")])
    with pytest.raises(StoreAwayError, match="permission denied"):
        await gateway.ask("/v3/kv/deleterange", {"key": "L3cvYm9hcmQvYQ=="})
    with pytest.raises(StoreAwayError, match="permission denied"):
        await gateway.ask("/v3/lease/revoke", {"ID": str(lease)})
    with pytest.raises(StoreAwayError, match="permission denied"):
        await guest.read("/w/seats/")
    with pytest.raises(StoreAwayError, match="permission denied"):
        async for _ in guest.watch("/w/seats/", revision):
            pass
    assert (await member.read("/w/board/")).entries["/w/board/a"].value == b"1"


async def test_a_token_that_does_not_hold_any_more(stores: Stores) -> None:
    """Roles were changed: the next question has another token, and so has a watch that begins."""
    member, guest = stores.of("member"), stores.of("guest")
    await member.put(Put("/w/board/c", b"1"))
    await guest.read("/w/board/")
    root = stores.gateway(user_of(stores.folder, "root"))
    for number in range(2):
        await grant(root, "guest", "READ", f"/w/more{number}/")
        if number:
            revision = await member.put(Put("/w/board/c", b"2"))
            async with asyncio.timeout(60), contextlib.aclosing(guest.watch("/w/board/", revision - 1)) as words:  # fmt: skip
                assert await anext(words) is None
        else:
            assert "/w/board/c" in (await guest.read("/w/board/")).entries


async def test_a_server_that_forgot_all_tokens(stores: Stores) -> None:
    """As one that was started again has: the same store goes on, and an endless watch as well."""
    with running_etcd() as [server]:
        plain = Gateway([server.url], try_s=PATIENT_S)
        await add_user(plain, "member", "READWRITE", "/w/")
        await enable(plain)
        await plain.close()
        member = stores.of("member", server.url)
        revision = await member.put(Put("/w/a", b"1"))
        server.end()
        server.launch()
        server.wait()
        assert (await member.read("/w/")).revision == revision
        await member.put(Put("/w/b", b"2"))


async def test_a_connection_that_ends_in_place_of_an_answer(stores: Stores) -> None:
    """Of a server as etcd 3.4.23 may be, where it does not know a token: one is asked for, and the question asked again, once."""
    tokens = iter(("old.1", "new.2", "new.3"))
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(head.partition("content-length:")[2].split()[0]))
                token = head.partition("authorization:")[2].partition("\r\n")[0].strip()
                asked.append(token or "who")
                if token and token != "new.2":
                    break
                answer = b'{"header": {"revision": "7"}}' if token else f'{{"token": "{next(tokens)}"}}'.encode()  # fmt: skip
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)  # fmt: skip
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        store = stores.of("member", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await store.put(Put("/w/a", b"1")) == 7
        assert asked == ["who", "old.1", "who", "new.2"]
        await stores.close()


async def test_a_wrong_password_is_told_and_asked_for_seldom(stores: Stores) -> None:
    """Each costs etcd a tenth of a second: the second question is refused here."""
    file = password_file(stores.folder, "member", "wrong")
    store = stores.of("member")
    file.write_text("wrong\n")
    loop = asyncio.get_running_loop()
    with pytest.raises(StoreAwayError, match=r"authentication failed.*user member"):
        await store.grant(5)
    stores.server.signal(signal.SIGSTOP)
    try:
        began = loop.time()
        with pytest.raises(StoreAwayError, match=r"authentication failed.*user member"):
            await store.grant(5)
        assert loop.time() - began < PATIENT_S / 2
    finally:
        stores.server.signal(signal.SIGCONT)


async def test_no_user_where_one_is_needed(stores: Stores) -> None:
    """It says what is missing."""
    store = EtcdStore(stores.gateway(None))
    with pytest.raises(StoreAwayError, match=r"user name is empty.*password_file"):
        await store.put(Put("/w/a", b"1"))


async def test_a_password_file_that_others_may_read(stores: Stores) -> None:
    """Nothing is asked."""
    store = stores.of("member")
    (stores.folder / "member.password").chmod(0o644)
    with pytest.raises(StoreAwayError, match=r"mode 0644; allowed is 0600"):
        await store.put(Put("/w/a", b"1"))


async def test_users_before_they_are_enabled(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:  # fmt: skip
    """So all proxies can have them first: they go without, and with one as soon as etcd asks for it."""
    with running_etcd() as [server]:
        plain = Gateway([server.url], try_s=PATIENT_S)
        await add_user(plain, "member", "READWRITE", "/w/")
        member = stores.of("member", server.url)
        await member.put(Put("/w/a", b"1"))
        assert any("asks for no user" in each for each in caplog.messages)
        await enable(plain)
        await member.put(Put("/w/a", b"2"))
        with pytest.raises(StoreAwayError, match="user name is empty"):
            await EtcdStore(plain).put(Put("/w/a", b"3"))
        await plain.close()
