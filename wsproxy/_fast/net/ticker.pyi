from collections.abc import Callable

from wsproxy._fast.net.poller import Channel, Poller

class Ticker(Channel):
    def __init__(self, poller: Poller, every_s: float, call: Callable[[], None]) -> None: ...
    def close(self) -> None: ...
