import asyncio

from wsproxy._fast.net.stream import Stream
from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.pool import Pool

class Upstream(Stream):
    pool: Pool
    reused: bool
    exchanges: int
    def __new__(cls, engine: Engine, pool: Pool) -> Upstream: ...
    def park(self) -> None: ...

class UpstreamProtocol(Upstream, asyncio.BufferedProtocol):
    def __new__(cls, engine: Engine, pool: Pool) -> UpstreamProtocol: ...
    def eof_received(self) -> bool: ...
