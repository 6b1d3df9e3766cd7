import socket
from collections.abc import Callable

from wsproxy._fast.net.poller import Door, PlainTransport, Poller
from wsproxy._fast.net.stream import Stream
from wsproxy._fast.net.tls_terms import Terms

class TlsTransport(PlainTransport):
    def tell_client(self) -> tuple[str | None, bytes, bytes | None]: ...

class TlsDoor(Door):
    def __init__(
        self, poller: Poller, sock: socket.socket, make: Callable[[], Stream], terms: Terms
    ) -> None: ...

def listen(
    poller: Poller, sock: socket.socket, make: Callable[[], Stream], terms: Terms
) -> TlsDoor: ...
def adopt(
    poller: Poller, fd: int, stream: Stream, terms: Terms, most_s: float = ...
) -> TlsTransport | None: ...
