"""
A worker's answer to an operator who asks what it does just now, or ends one of its requests; and the end of tunnels.

Driven by the sweep, where ``Board`` has a question, and by a worker that is replaced (``dataplane.leave``). Walks over
all connections, which takes a moment with very many: asked by people only, or at the end.
"""

from operator import itemgetter

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport strlen
from posix.unistd cimport getpid
from wsproxy._fast.base.atomics cimport ws_load64, ws_store64
from wsproxy._fast.base.clock cimport ws_now_ms
from wsproxy._fast.net.stream cimport Stream, drop_faulty
from wsproxy._fast.proxy.downstream cimport Downstream
from wsproxy._fast.proxy.engine cimport Engine
from wsproxy._fast.proxy.exchange cimport ANSWERING, CLOSED, IDLE, LINGERING, RELAYING, TUNNELLING
from wsproxy._fast.proxy.linger cimport Lingering
from wsproxy._fast.state.board cimport (
    ANSWERED, CONNECTING, MOST_ROWS, OWN_ANSWER, PEER_BYTES, QUEUED, SENT, TUNNEL, Board, BoardPage, RunningRow, Stage,
)
from wsproxy._fast.state.changes cimport NAME_BYTES, TEXT_BYTES, copy_text, visible_start
from wsproxy._fast.tell.ended cimport ENDED_KD, OPERATOR, cause_of


cdef bint is_running(Downstream exchange) noexcept:
    return exchange.phase != IDLE and exchange.phase != LINGERING and exchange.phase != CLOSED


cdef Stage stage_of(Downstream exchange) noexcept:
    if exchange.phase == TUNNELLING:
        return TUNNEL
    if exchange.phase == ANSWERING:
        return OWN_ANSWER
    if exchange.phase == RELAYING:
        return ANSWERED if exchange.response_started else SENT
    return QUEUED if exchange.choice.place != 0 else CONNECTING


cdef int write_row(RunningRow* row, Downstream exchange, int64_t now_ms) except -1:
    cdef Py_ssize_t length
    cdef const char* asked = exchange.find_asked(&length)
    cdef int server = exchange.choice.server
    cdef bytes peer = exchange.peer or b""
    row.number = <uint32_t>exchange.number
    row.stage = stage_of(exchange)
    row.age_ms = max(now_ms - exchange.began_ms, 0) if exchange.began_ms else -1
    row.cluster[0] = row.server[0] = 0
    if exchange.service is not None and row.age_ms >= 0:
        copy_text(row.cluster, NAME_BYTES, exchange.service.cluster.names[0], strlen(exchange.service.cluster.names[0]))
        if server >= 0:
            copy_text(
                row.server, NAME_BYTES, exchange.service.cluster.names[server + 1],
                strlen(exchange.service.cluster.names[server + 1]),
            )
    copy_text(row.asked, TEXT_BYTES, asked, visible_start(asked, length))
    copy_text(row.peer, PEER_BYTES, peer, len(peer))
    return 0


def answer_board(Engine engine not None, Board board not None) -> None:
    """Answers the question that is there: the oldest requests, and whether one was ended."""
    cdef BoardPage* page = board.page(engine.worker_id)
    cdef int64_t number = ws_load64(&board.question.number)
    cdef int64_t now_ms = ws_now_ms()
    cdef int64_t kill = ws_load64(&board.question.kill) if ws_load64(&board.question.kill_with) == number else 0
    cdef Stream stream
    cdef Downstream exchange
    cdef list found = []
    ws_store64(&page.answered, 0)
    page.pid = getpid()
    page.killed = 0
    for stream in engine.streams():
        if stream.closing or not isinstance(stream, Lingering):
            continue
        exchange = (<Lingering>stream).exchange
        if exchange is None or not is_running(exchange):
            continue
        if kill == (<int64_t>page.pid << 32 | <uint32_t>exchange.number):
            page.killed = 1
            exchange.ended_by(cause_of(OPERATOR, exchange.waits_for()))
            try:
                exchange.drop()
            except Exception:
                drop_faulty(stream, "internal error as a request was killed; the connection is dropped")
            continue
        found.append((exchange.began_ms or now_ms, exchange.number, exchange))
    found.sort(key=itemgetter(0, 1))
    page.total = len(found)
    page.count = 0
    for row in found[:MOST_ROWS]:
        write_row(&page.rows[page.count], row[2], now_ms)
        page.count += 1
    ws_store64(&page.answered, number)


def end_tunnels(Engine engine not None, Py_ssize_t kept) -> int:
    """Ends the oldest tunnels until no more than ``kept`` are left, which is how many are; what was received is delivered."""
    cdef Stream stream
    cdef Downstream exchange
    cdef list found = []
    for stream in engine.streams():
        if not stream.closing and isinstance(stream, Lingering):
            exchange = (<Lingering>stream).exchange
            if exchange is not None and exchange.phase == TUNNELLING:
                found.append((exchange.began_ms, exchange.number, stream))
    found.sort(key=itemgetter(0, 1))
    for row in found[:max(len(found) - kept, 0)]:
        stream = row[2]
        (<Lingering>stream).exchange.ended_by(ENDED_KD)
        try:
            (<Downstream>(<Lingering>stream).exchange).close_tunnel()
        except Exception:
            drop_faulty(stream, "internal error as a tunnel was ended; the connection is dropped")
    return min(len(found), kept)
