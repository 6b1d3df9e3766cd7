"""
The TLS library that Python's ssl module itself has loaded: its functions, and what is inside the module's objects.

Used by ``records``, which does without where anything here is not as expected: then all goes through Python, and a request
takes 1.15 times as many instructions. And by ``tls_socket``, which has whole connections by it, where still more is as
expected. Contexts stay Python's. Must not load a TLS library: a second one in the process does not know the first one's
structures.
"""

import _ssl
import ssl

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject

cdef extern from "<dlfcn.h>" nogil:
    enum:
        RTLD_LAZY
        RTLD_NOLOAD
    void* dlopen(const char* name, int flags)
    void* dlsym(void* handle, const char* name)

cdef extern from *:
    """
    /* CPython's objects looked into: PySSLMemoryBIO begins with its BIO, PySSLSocket with Socket, SSL, context. */
    #if PY_VERSION_HEX < 0x030e0000 && !defined(Py_GIL_DISABLED) && !defined(Py_TRACE_REFS) && !defined(PYPY_VERSION)
    #define WS_KNOWN_PYTHON 1
    #else
    #define WS_KNOWN_PYTHON 0
    #endif
    """
    enum:
        WS_KNOWN_PYTHON

cdef Functions libssl
cdef Engine openssl
cdef bint found = False
cdef bint used = False
cdef bint found_engine = False
cdef bint owned = False


cdef enum:
    # OpenSSL 1.1.1 is the oldest that Python 3.11 takes.
    OLDEST = 0x10101000
    # What nobody sets by chance: see `engine_agrees`.
    ODD_TICKETS = 7


cpdef bint is_used() noexcept:
    """Whether connections from now on do without Python."""
    return used


cpdef bint use(bint wanted) noexcept:
    """Whether connections from now on do without Python: where that is wanted, and possible. For tests."""
    global used
    used = wanted and found
    return used


cpdef bint owns() noexcept:
    """Whether TLS of clients is on sockets of our own, in the workers' epoll sets, for listeners made from now on."""
    return owned


cpdef bint own(bint wanted) noexcept:
    """Whether it is: where that is wanted, and possible. For tests."""
    global owned
    owned = wanted and found_engine
    return owned


cpdef str way():
    """How clients' TLS is served: on ``sockets`` of our own, by the event ``loop``, or by that and ``python`` alone."""
    return "sockets" if owned else "loop" if used else "python"


cdef void** words_of(object inside) noexcept:
    """What lies behind the part that all objects have."""
    return <void**>(<char*><PyObject*>inside + sizeof(PyObject))


cdef void* bio_in(object memory_bio) noexcept:
    """Lives as long as the object; NULL: it cannot be told."""
    return words_of(memory_bio)[0] if used and type(memory_bio) is ssl.MemoryBIO else NULL


cdef void* connection_in(object tls, object context, object source) noexcept:
    """The SSL of an ``_ssl._SSLSocket`` made of this context, which reads from this BIO; NULL: it cannot be told."""
    cdef void** words
    cdef void* bio = bio_in(source)
    if bio == NULL or type(tls) is not _ssl._SSLSocket:
        return NULL
    words = words_of(tls)
    if words[0] != NULL or words[2] != <void*><PyObject*>context or libssl.get_rbio(words[1]) != bio:
        return NULL
    return words[1]


cdef void* context_in(object context) noexcept:
    """The SSL_CTX of an ``ssl.SSLContext``; lives as long as the object. NULL: it cannot be told."""
    return words_of(context)[0] if found and isinstance(context, _ssl._SSLContext) else NULL


cdef str last_reason():
    cdef unsigned long error = openssl.peek_last_error()
    cdef const char* words
    cdef object name = None
    if openssl.version_num() >= 0x30000000:
        name = NAMES.get((error >> 23 & 0xFF, error & 0x7FFFFF))
    if name is not None:
        return name
    words = openssl.reason_of(error)
    return f"error {error:x}" if words == NULL else words.decode("ascii", "replace").upper().replace(" ", "_")


cdef void* open_library() except? NULL:
    """What the ssl module was linked with; NULL: it cannot be told."""
    cdef str path
    cdef bytes name
    path = ""
    try:
        path = _ssl.__file__
    except AttributeError:
        pass
    if not path:  # it is a part of the program
        return NULL
    name = path.encode()
    return dlopen(name, RTLD_LAZY | RTLD_NOLOAD)


cdef bint find(void* handle) except -1:
    """Whether all functions are there that records need."""
    if handle == NULL:
        return False
    (<void**>&libssl.read_ex)[0] = dlsym(handle, "SSL_read_ex")
    (<void**>&libssl.write_ex)[0] = dlsym(handle, "SSL_write_ex")
    (<void**>&libssl.pending)[0] = dlsym(handle, "SSL_pending")
    (<void**>&libssl.get_rbio)[0] = dlsym(handle, "SSL_get_rbio")
    (<void**>&libssl.bio_read)[0] = dlsym(handle, "BIO_read")
    (<void**>&libssl.bio_write)[0] = dlsym(handle, "BIO_write")
    (<void**>&libssl.bio_pending)[0] = dlsym(handle, "BIO_ctrl_pending")
    (<void**>&libssl.get_wbio)[0] = dlsym(handle, "SSL_get_wbio")
    (<void**>&libssl.bio_number_written)[0] = dlsym(handle, "BIO_number_written")
    return (
        libssl.read_ex != NULL and libssl.write_ex != NULL and libssl.pending != NULL and libssl.get_rbio != NULL
        and libssl.bio_read != NULL and libssl.bio_write != NULL and libssl.bio_pending != NULL
    )


cdef bint agrees() except -1:
    """Whether the BIO in an object of Python's gives what Python wrote into it."""
    cdef char[8] data
    cdef void* bio
    arrived = ssl.MemoryBIO()
    arrived.write(b"wsproxy")
    bio = words_of(arrived)[0]
    if libssl.bio_pending(bio) != 7 or libssl.bio_read(bio, data, 8) != 7:
        return False
    return data[:7] == b"wsproxy" and arrived.pending == 0


cdef bint set_to(void** place, void* handle, const char* name) noexcept:
    place[0] = dlsym(handle, name)
    return place[0] != NULL


cdef bint find_engine(void* handle) except -1:
    """Whether all functions are there that whole connections need."""
    cdef bint all_there = True
    all_there &= set_to(<void**>&openssl.version_num, handle, "OpenSSL_version_num")
    all_there &= set_to(<void**>&openssl.get_num_tickets, handle, "SSL_CTX_get_num_tickets")
    all_there &= set_to(<void**>&openssl.new, handle, "SSL_new")
    all_there &= set_to(<void**>&openssl.free, handle, "SSL_free")
    all_there &= set_to(<void**>&openssl.set_accept_state, handle, "SSL_set_accept_state")
    all_there &= set_to(<void**>&openssl.set_bio, handle, "SSL_set_bio")
    all_there &= set_to(<void**>&openssl.do_handshake, handle, "SSL_do_handshake")
    all_there &= set_to(<void**>&openssl.shutdown, handle, "SSL_shutdown")
    all_there &= set_to(<void**>&openssl.get_error, handle, "SSL_get_error")
    all_there &= set_to(<void**>&openssl.ctrl, handle, "SSL_ctrl")
    all_there &= set_to(<void**>&openssl.session_reused, handle, "SSL_session_reused")
    all_there &= set_to(<void**>&openssl.get_session, handle, "SSL_get_session")
    all_there &= set_to(<void**>&openssl.session_id, handle, "SSL_SESSION_get_id")
    all_there &= set_to(<void**>&openssl.get_cipher, handle, "SSL_get_current_cipher")
    all_there &= set_to(<void**>&openssl.cipher_standard_name, handle, "SSL_CIPHER_standard_name")
    all_there &= set_to(<void**>&openssl.i2d_certificate, handle, "i2d_X509")
    all_there &= set_to(<void**>&openssl.free_certificate, handle, "X509_free")
    all_there &= set_to(<void**>&openssl.get_server_name, handle, "SSL_get_servername")
    all_there &= set_to(<void**>&openssl.set_context, handle, "SSL_set_SSL_CTX")
    all_there &= set_to(<void**>&openssl.context_ctrl, handle, "SSL_CTX_ctrl")
    all_there &= set_to(<void**>&openssl.context_callback_ctrl, handle, "SSL_CTX_callback_ctrl")
    all_there &= set_to(<void**>&openssl.bio_new_index, handle, "BIO_get_new_index")
    all_there &= set_to(<void**>&openssl.bio_meth_new, handle, "BIO_meth_new")
    all_there &= set_to(<void**>&openssl.bio_meth_set_read, handle, "BIO_meth_set_read")
    all_there &= set_to(<void**>&openssl.bio_meth_set_write, handle, "BIO_meth_set_write")
    all_there &= set_to(<void**>&openssl.bio_meth_set_ctrl, handle, "BIO_meth_set_ctrl")
    all_there &= set_to(<void**>&openssl.bio_new, handle, "BIO_new")
    all_there &= set_to(<void**>&openssl.bio_set_data, handle, "BIO_set_data")
    all_there &= set_to(<void**>&openssl.bio_get_data, handle, "BIO_get_data")
    all_there &= set_to(<void**>&openssl.bio_set_flags, handle, "BIO_set_flags")
    all_there &= set_to(<void**>&openssl.bio_clear_flags, handle, "BIO_clear_flags")
    all_there &= set_to(<void**>&openssl.clear_error, handle, "ERR_clear_error")
    all_there &= set_to(<void**>&openssl.peek_last_error, handle, "ERR_peek_last_error")
    all_there &= set_to(<void**>&openssl.reason_of, handle, "ERR_reason_error_string")
    if not set_to(<void**>&openssl.get_certificate, handle, "SSL_get1_peer_certificate"):  # OpenSSL 3's name
        all_there &= set_to(<void**>&openssl.get_certificate, handle, "SSL_get_peer_certificate")
    return all_there


cdef tuple tell_peer(void* tls):
    cdef const char* cipher = openssl.cipher_standard_name(openssl.get_cipher(tls))
    cdef unsigned int length = 0
    cdef const unsigned char* number = NULL
    cdef void* session = openssl.get_session(tls)
    cdef void* certificate = openssl.get_certificate(tls)
    cdef unsigned char* place
    cdef bytes der = None
    cdef int size
    if session != NULL:
        number = openssl.session_id(session, &length)
    if certificate != NULL:
        try:
            size = openssl.i2d_certificate(certificate, NULL)
            if size > 0:
                der = PyBytes_FromStringAndSize(NULL, size)
                place = <unsigned char*>PyBytes_AS_STRING(der)
                openssl.i2d_certificate(certificate, &place)
        finally:
            openssl.free_certificate(certificate)
    return (
        None if cipher == NULL else cipher.decode("ascii"),
        b"" if length == 0 else PyBytes_FromStringAndSize(<const char*>number, length),
        der,
    )


cdef bint engine_agrees() except -1:
    """Whether this is the ssl module's version, and what Python sets in a context can be read in what was taken for it."""
    cdef void* context
    if openssl.version_num() != <unsigned long>ssl.OPENSSL_VERSION_NUMBER or openssl.version_num() < OLDEST:
        return False
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context = context_in(probe)
    if context == NULL or openssl.get_num_tickets(context) != <size_t>probe.num_tickets:
        return False
    probe.num_tickets = ODD_TICKETS
    return openssl.get_num_tickets(context) == ODD_TICKETS


cdef void* library = open_library() if WS_KNOWN_PYTHON else NULL
# (library, reason): name.
cdef dict MODULE = vars(_ssl)
cdef dict NAMES = MODULE.get("err_codes_to_names", {})
found = find(library) and agrees()
used = found
found_engine = found and find_engine(library) and engine_agrees()
owned = found_engine
