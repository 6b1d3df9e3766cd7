import socket
from collections.abc import Callable

from wsproxy._fast.net.poller import Channel, Poller
from wsproxy._fast.net.stream import Stream
from wsproxy._fast.net.tls_socket import TlsTransport
from wsproxy._fast.net.tls_terms import Terms

PAUSE_S: float

class Door(Channel):
    def again(self) -> None: ...
    def close(self) -> None: ...

class TlsDoor(Door):
    def __init__(
        self, poller: Poller, sock: socket.socket, make: Callable[[], Stream], terms: Terms
    ) -> None: ...

def listen(
    poller: Poller, sock: socket.socket, make: Callable[[], Stream], terms: Terms | None = None
) -> Door: ...
def accept(poller: Poller, sock: socket.socket, take: Callable[[int], None]) -> Door: ...
def adopt(
    poller: Poller, fd: int, stream: Stream, terms: Terms, most_s: float = ...
) -> TlsTransport: ...
