# Functions of the TLS library that Python's ssl module has loaded, and what is inside that module's objects.

from libc.stdint cimport uint64_t

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

cpdef bint is_used() noexcept
cpdef bint use(bint wanted) noexcept

cdef void* bio_in(object memory_bio) noexcept
cdef void* connection_in(object tls, object context, object source) noexcept
