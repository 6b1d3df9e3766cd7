from typing_extensions import disjoint_base

from wsproxy._fast.net.stream import Stream
from wsproxy._fast.proxy.downstream import Downstream
from wsproxy._fast.proxy.engine import Engine

@disjoint_base
class Lingering(Stream):
    exchange: Downstream
    lingered: int
    @property
    def held(self) -> int: ...
    def __new__(cls, engine: Engine) -> Lingering: ...
