"""
What the fast path asks for and tells to Python: one typed method for each question, so that none is called by its name.

Driven by all of ``proxy``, through ``Engine.slow`` and ``Engine.witness``. ``dataplane.slowpath`` and ``dataplane.witness``
derive from these two and say what each method means. Whoever asks catches what is raised (see ``exchange``).
"""


cdef class Slow:
    """The slow path; ``dataplane.slowpath.SlowPath`` is the one that answers."""

    cpdef client_refused(self, str peer):
        raise NotImplementedError

    cpdef bytes private_tls_lines(self, object transport):
        raise NotImplementedError

    cpdef begin_explained(self, object exchange):
        raise NotImplementedError

    cpdef noticed(self, object found, bint completes, bint takes_back):
        raise NotImplementedError

    cpdef connect(self, object exchange):
        raise NotImplementedError

    cpdef send_kept(self, object exchange):
        raise NotImplementedError

    cpdef no_server(self, object exchange, bint full):
        raise NotImplementedError

    cpdef bint refused(self, object exchange, int status) except -1:
        raise NotImplementedError

    cpdef upstream_failed(self, object exchange, int kind, int error, bint reused):
        raise NotImplementedError

    cpdef answer_cut(self, object exchange, int kind, int error):
        raise NotImplementedError

    cpdef answer_began(self, object exchange, int status):
        raise NotImplementedError

    cpdef server_up(self, object exchange, int status, long long down_ms):
        raise NotImplementedError

    cpdef tries_over(self, object exchange, object ledger):
        raise NotImplementedError

    cpdef has_room(self, object exchange):
        raise NotImplementedError

    cpdef refuse(self, object exchange, int error):
        raise NotImplementedError

    cpdef last_hop(self, object exchange, bint is_options):
        raise NotImplementedError

    cpdef health(self, object exchange, bint ok):
        raise NotImplementedError

    cpdef no_route(self, object exchange, bytes method, bytes target, bytes host, int port, bytes path):
        raise NotImplementedError

    cpdef edge(self, object exchange, int act, int table, bytes method, bytes target):
        raise NotImplementedError

    cpdef page(self, object exchange, int table, int status):
        raise NotImplementedError

    cpdef too_large(self, object exchange):
        raise NotImplementedError

    cpdef timed_out(self, object exchange):
        raise NotImplementedError


cdef class Listener:
    """Who is told what is decided; this one does not care. ``dataplane.witness.Witness`` hears of the slow path, too."""

    cpdef picked(self, object exchange, long long number, str server, bint by_affinity):
        return None

    cpdef checked(self, object exchange, object chosen):
        return None

    cpdef decided(self, object exchange, object asked, object chosen, bytes head):
        return None

    cpdef sent(self, object exchange, bytes head, bint reused):
        return None

    cpdef answered(self, object exchange, bytes head):
        return None

    cpdef over(self, object exchange, long long number, str server, bint by_affinity):
        return None
