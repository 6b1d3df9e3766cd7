"""
What the TLS connections of one listener begin by: the context, and which certificate is shown to whom.

Made by ``dataplane.listener_tls``, read by ``tls_socket`` for each connection. The context is Python's own, with all that is
in it; only the choice by server name is made here, by a function that OpenSSL calls: the ssl module's own one takes what it
finds in a connection for an object of Python's, which no connection of ``tls_socket`` has. Must not look into files.
"""

import logging

cimport cython
from wsproxy._fast.net.libssl cimport (
    SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_OK,
    context_in, openssl,
)
from wsproxy._fast.net.stream cimport complain


log = logging.getLogger("wsproxy.tls")


def tell_failed(reason not None) -> None:
    """A line of the log: why a client's handshake failed."""
    log.info("TLS with a client failed: %s", reason)


cdef class Certificates:
    """Contexts by the names of their certificates; a new object where files changed, so that nobody sees half of it."""

    def __init__(self, dict by_name not None, object first not None):
        self.by_name = by_name
        self.first = first

    cpdef object find(self, object server_name):
        """The context for this server name: exact, then one-level wildcard, else the first certificate."""
        cdef str name, parent
        if not server_name:
            return self.first
        name = (<str?>server_name).lower().rstrip(".")
        found = self.by_name.get(name)
        if found is None:
            _, dot, parent = name.partition(".")
            if dot:
                found = self.by_name.get("*." + parent)
        return self.first if found is None else found


@cython.no_gc_clear  # `place` is the context's as long as OpenSSL may call
cdef class Terms:
    """Of one listener. Raises: ValueError where the context's inside cannot be told."""

    def __init__(self, object context not None, Certificates certificates=None, object answer_plain=None):
        self.context = context
        self.certificates = certificates
        self.answer_plain = answer_plain
        self.place = context_in(context)
        if self.place == NULL:
            raise ValueError("found a context of another kind; allowed is one of the ssl module's own")
        if certificates is not None:
            openssl.context_ctrl(self.place, SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG, 0, <void*>self)
            openssl.context_callback_ctrl(self.place, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, <void (*)() noexcept>choose)

    def __dealloc__(self):
        if self.place != NULL and self.certificates is not None:
            openssl.context_callback_ctrl(self.place, SSL_CTRL_SET_TLSEXT_SERVERNAME_CB, NULL)


cdef int choose(void* tls, int* alert, void* terms) noexcept:
    """The client has said a server name, or has not: from now on the connection has the context for it."""
    cdef const char* said = openssl.get_server_name(tls, 0)
    cdef object name = None
    cdef void* place
    try:
        if said != NULL:
            try:
                name = said.decode("ascii")
            except UnicodeDecodeError:
                pass  # RFC 6066 3 demands it: as one that is not known
        place = context_in((<Terms>terms).certificates.find(name))
        if place != NULL and openssl.set_context(tls, place) != NULL:
            return SSL_TLSEXT_ERR_OK
    except BaseException:
        complain("internal error with a server name; the connection is dropped", ())
    return SSL_TLSEXT_ERR_ALERT_FATAL
