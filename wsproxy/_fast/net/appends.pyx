"""
Whole lines, put to the end of a file to which other processes append as well.

Driven by the thread of ``logs.file``. All of it is done without the interpreter's lock: taken anew behind each of these calls it
would be waited for by requests, and between two blocks of lines the interpreter is no longer in the processor's cache.
"""

from libc.errno cimport EINTR, EIO, errno

cdef extern from *:
    """
    #include <errno.h>
    #include <sys/file.h>
    #include <sys/stat.h>
    #include <time.h>
    #include <unistd.h>

    /* Whether no other process writes meanwhile; waits for `wait_ms` at most, and looks every half a millisecond. */
    static int ws_lock_file(int fd, int wait_ms) {
        const struct timespec step = {0, 500000};
        struct timespec now;
        int64_t until_ms = 0, now_ms;
        while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno == EINTR) continue;
            if (errno != EWOULDBLOCK) return 0;  /* a file system without locks */
            clock_gettime(CLOCK_MONOTONIC, &now);
            now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
            if (until_ms == 0) until_ms = now_ms + wait_ms;
            if (now_ms > until_ms) return 0;
            nanosleep(&step, NULL);
        }
        return 1;
    }

    static void ws_unlock_file(int fd) {
        int error = errno;
        flock(fd, LOCK_UN);
        errno = error;
    }

    /* 1: the file's last byte ends no line; 0; -1: errno. */
    static int ws_ends_torn(int fd, int reader) {
        struct stat found;
        ssize_t count;
        char last;
        if (fstat(fd, &found) != 0) return -1;
        if (found.st_size <= 0) return 0;
        do {
            count = pread(reader, &last, 1, found.st_size - 1);
        } while (count < 0 && errno == EINTR);
        return count < 0 ? -1 : count == 1 && last != '\\n';
    }

    static int ws_is_file(const char *path, int fd) {
        struct stat there, ours;
        return stat(path, &there) == 0 && fstat(fd, &ours) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino;
    }
    """
    bint ws_lock_file(int fd, int wait_ms) nogil
    void ws_unlock_file(int fd) nogil
    int ws_ends_torn(int fd, int reader) nogil
    bint ws_is_file(const char* path, int fd) nogil
    Py_ssize_t write(int fd, const void* data, size_t length) nogil


cdef Py_ssize_t write_all(int fd, const char* data, Py_ssize_t length, int* error) noexcept nogil:
    """How many of these bytes the file took; ``error``: why no more."""
    cdef Py_ssize_t done = 0
    cdef Py_ssize_t count
    while done < length:
        count = write(fd, data + done, length - done)
        if count > 0:
            done += count
        elif count == 0 or errno != EINTR:
            error[0] = errno if count < 0 else EIO
            break
    return done


def append_lines(int fd, int reader, bytes lines not None, bint is_torn, int wait_ms):
    """
    Bytes of these lines that the file took, errno or 0, and whether the last that we wrote was amid a line. # I/O.

    ``reader``: a descriptor that reads the same file; -1: it is none, or not to be read. While the file's lock (flock) is held, how
    the file ends says whether a new line begins with one; without the lock another process may be amid its write, and only what
    we know ourselves counts (``is_torn``). ``wait_ms``: for the lock.
    """
    cdef const char* data = lines
    cdef Py_ssize_t length = len(lines)
    cdef Py_ssize_t done = 0
    cdef int error = 0
    cdef int ends
    cdef bint is_locked
    with nogil:
        is_locked = reader >= 0 and ws_lock_file(fd, wait_ms)
        ends = ws_ends_torn(fd, reader) if is_locked else is_torn
        if ends < 0:
            error = errno
        elif ends and write_all(fd, "\n", 1, &error):
            is_torn = False
        if error == 0:
            done = write_all(fd, data, length, &error)
            if done:
                is_torn = data[done - 1] != c"\n"
        if is_locked:
            ws_unlock_file(fd)
    return done, error, is_torn


def lock_file(int fd, int wait_ms) -> bool:
    """Whether no other process writes to the file meanwhile (flock(2)); waits so long at most. # I/O."""
    cdef bint is_locked
    with nogil:
        is_locked = ws_lock_file(fd, wait_ms)
    return is_locked


def is_file(bytes path not None, int fd) -> bool:
    """Whether this file stands under the name. # I/O."""
    cdef const char* name = path
    cdef bint found
    with nogil:
        found = ws_is_file(name, fd)
    return found
