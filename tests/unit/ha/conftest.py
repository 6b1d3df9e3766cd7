"""One etcd for a module's tests, each of which has a prefix of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from tests.support.etcd import EtcdProcess, running_etcd
from wsproxy.ha.store.etcd import EtcdStore
from wsproxy.ha.store.gateway import Gateway

_numbers = count()

# A busy machine answers late; nothing here measures time.
PATIENT_S = 10.0


@pytest.fixture(scope="session")
def etcd() -> Iterator[EtcdProcess]:
    with running_etcd() as servers:
        yield servers[0]


@pytest.fixture
def prefix() -> str:
    return f"/test{next(_numbers)}/"


@pytest.fixture
async def etcd_store(etcd: EtcdProcess) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(Gateway([etcd.url], try_s=PATIENT_S))
    yield store
    await store.close()
