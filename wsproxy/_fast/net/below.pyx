"""
A file or folder below a folder, found and opened: nothing outside is ever reached, whoever changes links meanwhile.

Used by ``dataplane.file_paths``, in a thread. One call, and none of it under the interpreter's lock: a dozen system calls,
each of which gave the lock away and waited for it again, took a busy worker seconds where thousands asked for files at once.
Must not know what may be served.

Links are followed as long as they lead to what is below the folder. Race-free without openat2(2), which sandboxes often lack:
the path is resolved and checked, then each folder on the way is opened without following links. Where one was put there in
between, the file is not found.
"""

from libc.errno cimport EACCES, ENAMETOOLONG, ENOENT, errno
from libc.stdint cimport int64_t
from libc.string cimport memchr, memcpy, strlen, strncmp

cdef extern from "<sys/stat.h>" nogil:
    struct ws_timespec "timespec":
        long tv_sec
        long tv_nsec
    struct ws_stat "stat":
        unsigned int st_mode
        long st_size
        ws_timespec st_mtim
    int S_ISREG(unsigned int mode)
    int S_ISDIR(unsigned int mode)
    int c_fstat "fstat"(int fd, ws_stat* found)
    int c_fstatat "fstatat"(int folder, const char* name, ws_stat* found, int flags)

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <fcntl.h>
    #include <stdlib.h>
    #include <unistd.h>
    """
    enum:
        AT_SYMLINK_NOFOLLOW
        O_PATH, O_DIRECTORY, O_NOFOLLOW, O_CLOEXEC, O_RDONLY, O_NONBLOCK, O_NOCTTY
    int c_open "open"(const char* path, int flags) nogil
    int c_openat "openat"(int folder, const char* name, int flags) nogil
    int c_close "close"(int fd) nogil
    char* c_realpath "realpath"(const char* path, char* resolved) nogil

cdef enum:
    FOLDER = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    # O_NONBLOCK: what became a FIFO in between must not hold up a thread.
    FILE_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC

cdef struct Found:
    char base[4096]
    char wanted[4096]
    char path[4096]     # resolved
    int parent          # the folder that it lies in, open
    char* last          # its name there, in `path`


cdef int join(Found* found, const char* path, Py_ssize_t length) noexcept nogil:
    """``base`` and ``path`` become ``wanted``; an errno."""
    cdef size_t base_len = strlen(found.base)
    if base_len + 1 + length + 1 > MOST_PATH:
        return ENAMETOOLONG
    memcpy(found.wanted, found.base, base_len)
    found.wanted[base_len] = c"/"
    memcpy(found.wanted + base_len + 1, path, length)
    found.wanted[base_len + 1 + length] = 0
    return 0


cdef int walk(Found* found, const char* root, const char* path, Py_ssize_t length) noexcept nogil:
    """The folder that what the path leads to lies in, open, and its name there; an errno."""
    cdef size_t base_len
    cdef char* at
    cdef char* slash
    cdef int folder, deeper, error
    if c_realpath(root, found.base) == NULL:
        return errno
    error = join(found, path, length)
    if error:
        return error
    if c_realpath(found.wanted, found.path) == NULL:
        return errno
    base_len = strlen(found.base)
    if base_len == 1:
        base_len = 0  # the root of all
    if strncmp(found.base, found.path, base_len) != 0 or found.path[base_len] not in (c"/", 0):
        return ENOENT  # outside
    at = found.path + base_len
    while at[0] == c"/":
        at += 1
    folder = c_open(found.base, FOLDER)
    if folder < 0:
        return errno
    while True:
        slash = <char*>memchr(at, c"/", strlen(at))
        if slash == NULL:
            break
        slash[0] = 0
        deeper = c_openat(folder, at, FOLDER)
        error = errno
        c_close(folder)
        if deeper < 0:
            return error
        folder = deeper
        at = slash + 1
    found.parent = folder
    found.last = at
    return 0


cdef int open_found(Found* found, ws_stat* status) noexcept nogil:
    """The regular file, open for reading; else less than 0: an errno."""
    cdef int file = -1
    cdef int error = 0
    # First looked at: opening a device may do something.
    if c_fstatat(found.parent, found.last, status, AT_SYMLINK_NOFOLLOW) < 0:
        error = errno
    elif not S_ISREG(status.st_mode):
        error = EACCES
    else:
        file = c_openat(found.parent, found.last, FILE_FLAGS)
        error = errno
    c_close(found.parent)
    if file < 0:
        return -error
    if c_fstat(file, status) < 0 or not S_ISREG(status.st_mode):
        c_close(file)
        return -EACCES
    return file


def open_below(bytes root not None, bytes path not None) -> tuple[int, int, int]:
    """
    The regular file with this path below ``root``, open for reading: its descriptor, size and time of change in ns.

    Where it cannot be opened the first is an errno, negative: also EACCES for what is no regular file, ENOENT for what lies
    outside. # I/O.
    """
    cdef Found found
    cdef ws_stat status
    cdef const char* root_text = root
    cdef const char* text = path
    cdef Py_ssize_t length = len(path)
    cdef int file
    if has_nul(root) or has_nul(path):
        return -ENOENT, 0, 0
    with nogil:
        file = -walk(&found, root_text, text, length)
        if file == 0:
            if found.last[0] == 0:  # the root itself
                c_close(found.parent)
                file = -EACCES
            else:
                file = open_found(&found, &status)
    if file < 0:
        return file, 0, 0
    return file, status.st_size, <int64_t>status.st_mtim.tv_sec * 1_000_000_000 + status.st_mtim.tv_nsec


def has_folder_below(bytes root not None, bytes path not None) -> int:
    """1: the path leads to a folder; 0: it does not; less than 0: an errno, nothing was found out. # I/O."""
    cdef Found found
    cdef ws_stat status
    cdef const char* root_text = root
    cdef const char* text = path
    cdef Py_ssize_t length = len(path)
    cdef int answer
    if has_nul(root) or has_nul(path):
        return 0
    with nogil:
        answer = -walk(&found, root_text, text, length)
        if answer == 0:
            if found.last[0] == 0:
                answer = 1
            elif c_fstatat(found.parent, found.last, &status, AT_SYMLINK_NOFOLLOW) < 0:
                answer = -errno
            else:
                answer = 1 if S_ISDIR(status.st_mode) else 0
            c_close(found.parent)
    return answer


cdef bint has_nul(bytes text) noexcept:
    return memchr(<const char*>text, 0, len(text)) != NULL
