from typing_extensions import disjoint_base

from wsproxy._fast.client import Client
from wsproxy._fast.engine import Engine

@disjoint_base
class Intake(Client):
    def __new__(cls, engine: Engine) -> Intake: ...
