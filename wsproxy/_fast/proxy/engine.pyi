from wsproxy._fast.decide.decide import Decider
from wsproxy._fast.decide.view import View
from wsproxy._fast.net.pipe import Pipe
from wsproxy._fast.net.stream import Hub
from wsproxy._fast.proxy.slow import Listener, Slow
from wsproxy._fast.state.client_counts import ClientCounts
from wsproxy._fast.state.meters import Meters
from wsproxy._fast.state.segment import SharedState
from wsproxy._fast.tell.access_line import AccessLog
from wsproxy._fast.tell.trace import Tracer

class Engine(Hub):
    worker_id: int
    view: View
    decider: Decider
    draining: bool
    stopping: bool
    requests: int
    refused_connections: int
    squeezed: int
    lingering: int
    slow: Slow
    witness: Listener
    log_level: int
    def __init__(
        self,
        *,
        worker_id: int,
        view: View,
        slow: Slow | None,
        most_lingering: int = 1024,
        client_counts: ClientCounts | None = None,
        most_of_client: int = 0,
        state: SharedState | None = None,
        pipe: Pipe | None = None,
        meters: Meters | None = None,
    ) -> None: ...
    def take_view(self, view: View) -> None: ...
    def views_in_use(self) -> list[View]: ...
    def log_access(self, access: AccessLog) -> None: ...
    def look_at_lines(self) -> None: ...
    def trace(self, tracer: Tracer) -> None: ...
    @property
    def limits_clients(self) -> bool: ...
    def count(self, word: int, more: int = 1) -> int: ...
    def note_idle(self) -> None: ...
    def take_leave(self, wanted: bool) -> None: ...
    def drain(self) -> int: ...
    def retire(self) -> int: ...
    def count_served(self) -> int: ...
    def close_all(self) -> None: ...
