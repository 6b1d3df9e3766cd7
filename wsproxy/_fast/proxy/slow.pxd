# Who is asked where the fast path knows no answer, and who is told what it decides: one typed method a question.


cdef class Slow:
    # Of a connection.
    cpdef client_refused(self, str peer)
    cpdef bytes private_tls_lines(self, object transport)
    # Of an exchange: `exchange` is the `Downstream` that asks.
    cpdef begin_explained(self, object exchange)
    cpdef noticed(self, object found, bint completes, bint takes_back)
    cpdef connect(self, object exchange)
    cpdef send_kept(self, object exchange)
    cpdef no_server(self, object exchange, bint full)
    cpdef bint refused(self, object exchange, int status) except -1
    cpdef upstream_failed(self, object exchange, int kind, int error, bint reused)
    cpdef answer_cut(self, object exchange, int kind, int error)
    cpdef answer_began(self, object exchange, int status)
    cpdef server_up(self, object exchange, int status, long long down_ms)
    cpdef tries_over(self, object exchange, object ledger)
    cpdef has_room(self, object exchange)
    # It answers from here on.
    cpdef refuse(self, object exchange, int error)
    cpdef last_hop(self, object exchange, bint is_options)
    cpdef health(self, object exchange, bint ok)
    cpdef no_route(self, object exchange, bytes method, bytes target, bytes host, int port, bytes path)
    cpdef edge(self, object exchange, int act, int table, bytes method, bytes target)
    cpdef page(self, object exchange, int table, int status)
    cpdef too_large(self, object exchange)
    cpdef timed_out(self, object exchange)


cdef class Listener:
    cpdef picked(self, object exchange, long long number, str server, bint by_affinity)
    cpdef checked(self, object exchange, object chosen)
    cpdef decided(self, object exchange, object asked, object chosen, bytes head)
    cpdef sent(self, object exchange, bytes head, bint reused)
    cpdef answered(self, object exchange, bytes head)
    cpdef over(self, object exchange, long long number, str server, bint by_affinity)
