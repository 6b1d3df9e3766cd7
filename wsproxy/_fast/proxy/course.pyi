from typing_extensions import disjoint_base

from wsproxy._fast.proxy.engine import Engine
from wsproxy._fast.proxy.exchange import Exchange

@disjoint_base
class Course(Exchange):
    def __new__(cls, engine: Engine) -> Course: ...
