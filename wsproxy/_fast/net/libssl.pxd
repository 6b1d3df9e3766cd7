# Functions of the TLS library that Python's ssl module has loaded, and what is inside that module's objects.

from libc.stdint cimport uint64_t

cdef enum:
    # Values of OpenSSL's headers that its functions give and take; the same in 1.1.1 and 3.
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_ZERO_RETURN = 6
    SSL_CTRL_MODE = 33
    SSL_CTRL_SET_TLSEXT_SERVERNAME_CB = 53
    SSL_CTRL_SET_TLSEXT_SERVERNAME_ARG = 54
    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER = 2
    SSL_MODE_AUTO_RETRY = 4
    SSL_MODE_RELEASE_BUFFERS = 16
    SSL_TLSEXT_ERR_OK = 0
    SSL_TLSEXT_ERR_ALERT_FATAL = 2
    BIO_CTRL_FLUSH = 11
    BIO_FLAGS_READ = 1
    BIO_FLAGS_SHOULD_RETRY = 8
    BIO_FLAGS_ALL_RETRY = 15
    BIO_TYPE_SOURCE_SINK = 0x400

cdef struct Functions:
    int (*read_ex)(void* tls, void* data, size_t room, size_t* count) noexcept
    int (*write_ex)(void* tls, const void* data, size_t length, size_t* count) noexcept
    int (*pending)(const void* tls) noexcept
    void* (*get_rbio)(const void* tls) noexcept
    int (*bio_read)(void* bio, void* data, int room) noexcept
    int (*bio_write)(void* bio, const void* data, int length) noexcept
    size_t (*bio_pending)(void* bio) noexcept
    # NULL: this library has none, and nobody counts.
    void* (*get_wbio)(const void* tls) noexcept
    uint64_t (*bio_number_written)(void* bio) noexcept

cdef Functions libssl

# What connections on sockets of our own need besides: all are there, or `owns` says no.
cdef struct Engine:
    unsigned long (*version_num)() noexcept
    size_t (*get_num_tickets)(const void* context) noexcept
    void* (*new)(void* context) noexcept
    void (*free)(void* tls) noexcept
    void (*set_accept_state)(void* tls) noexcept
    void (*set_bio)(void* tls, void* rbio, void* wbio) noexcept
    int (*do_handshake)(void* tls) noexcept
    int (*shutdown)(void* tls) noexcept
    int (*get_error)(const void* tls, int returned) noexcept
    long (*ctrl)(void* tls, int command, long number, void* place) noexcept
    int (*session_reused)(const void* tls) noexcept
    void* (*get_session)(const void* tls) noexcept
    const unsigned char* (*session_id)(const void* session, unsigned int* length) noexcept
    const void* (*get_cipher)(const void* tls) noexcept
    const char* (*cipher_standard_name)(const void* cipher) noexcept
    void* (*get_certificate)(const void* tls) noexcept
    int (*i2d_certificate)(const void* certificate, unsigned char** place) noexcept
    void (*free_certificate)(void* certificate) noexcept
    const char* (*get_server_name)(const void* tls, int kind) noexcept
    void* (*set_context)(void* tls, void* context) noexcept
    long (*context_ctrl)(void* context, int command, long number, void* place) noexcept
    long (*context_callback_ctrl)(void* context, int command, void (*callback)() noexcept) noexcept
    int (*bio_new_index)() noexcept
    void* (*bio_meth_new)(int kind, const char* name) noexcept
    int (*bio_meth_set_read)(void* method, int (*read)(void* bio, char* data, int room) noexcept) noexcept
    int (*bio_meth_set_write)(void* method, int (*write)(void* bio, const char* data, int length) noexcept) noexcept
    int (*bio_meth_set_ctrl)(void* method, long (*ctrl)(void* bio, int command, long number, void* place) noexcept) noexcept
    void* (*bio_new)(const void* method) noexcept
    void (*bio_set_data)(void* bio, void* data) noexcept
    void* (*bio_get_data)(void* bio) noexcept
    void (*bio_set_flags)(void* bio, int flags) noexcept
    void (*bio_clear_flags)(void* bio, int flags) noexcept
    void (*clear_error)() noexcept
    unsigned long (*peek_last_error)() noexcept
    const char* (*reason_of)(unsigned long error) noexcept

cdef Engine openssl

cpdef bint is_used() noexcept
cpdef bint use(bint wanted) noexcept
cpdef bint owns() noexcept
cpdef bint own(bint wanted) noexcept
cpdef str way()

# What the handshake says of the peer: the cipher's standard name, session id, certificate (DER); None: none.
cdef tuple tell_peer(void* tls)
cdef void* bio_in(object memory_bio) noexcept
cdef void* connection_in(object tls, object context, object source) noexcept
cdef void* context_in(object context) noexcept
# The name of the error that the library noted last, as the ssl module has it.
cdef str last_reason()
