import asyncio

from wsproxy._fast.engine import Engine, Pool
from wsproxy._fast.stream import Stream

class Upstream(Stream):
    pool: Pool
    reused: bool
    exchanges: int
    def __new__(cls, engine: Engine, pool: Pool) -> Upstream: ...
    def park(self) -> None: ...

class UpstreamProtocol(Upstream, asyncio.BufferedProtocol):
    def __new__(cls, engine: Engine, pool: Pool) -> UpstreamProtocol: ...
    def eof_received(self) -> bool: ...
