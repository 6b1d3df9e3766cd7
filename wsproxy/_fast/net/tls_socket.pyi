from wsproxy._fast.net.poller import PlainTransport

class TlsTransport(PlainTransport):
    def tell_client(self) -> tuple[str | None, bytes, bytes | None]: ...
