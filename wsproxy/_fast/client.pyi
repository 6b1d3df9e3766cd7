from typing_extensions import disjoint_base

from wsproxy._fast.engine import Engine
from wsproxy._fast.exchange import Exchange

@disjoint_base
class Client(Exchange):
    def __new__(cls, engine: Engine) -> Client: ...
