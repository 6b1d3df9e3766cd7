"""
Whole lines, put to the end of a file to which other processes append as well; and blocks of them, on their way to a thread.

Driven by ``logs.file``. The thread that writes does so without the interpreter's lock, and comes back to Python only where it
has something to decide: a file that was moved, a disk that takes nothing. With the lock it would take that from the loop, and
be waited for by requests, several times for each block.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.errno cimport EINTR, EIO, errno
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #include <errno.h>
    #include <pthread.h>
    #include <stdint.h>
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
    int pthread_mutex_init(pthread_mutex_t* mutex, void* attributes) nogil
    int pthread_mutex_destroy(pthread_mutex_t* mutex) nogil
    int pthread_mutex_lock(pthread_mutex_t* mutex) nogil
    int pthread_mutex_unlock(pthread_mutex_t* mutex) nogil
    int pthread_cond_init(pthread_cond_t* condition, void* attributes) nogil
    int pthread_cond_destroy(pthread_cond_t* condition) nogil
    int pthread_cond_signal(pthread_cond_t* condition) nogil
    int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) nogil


cdef enum:
    # Whoever may read a log may lock it, and keep that: each block would wait, and what comes meanwhile would be dropped.
    # After the first one they wait no longer than others' writes take.
    HELD_UP_MS = 5
    # What does not wake the thread waits until so much is there: to wake it costs as much as some dozen lines.
    MOST_ASLEEP = 1 << 20


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


cdef bint begin_append(int fd, int reader, bint* is_torn, bint* is_held_up, int wait_ms, int* error) noexcept nogil:
    """
    Whether the file is locked until ``ws_unlock_file``; without ``error`` a new line begins where it ends (``append_lines``).

    ``is_held_up``: somebody has the lock for longer than a write takes.
    """
    cdef bint is_locked = reader >= 0 and ws_lock_file(fd, min(wait_ms, <int>HELD_UP_MS) if is_held_up[0] else wait_ms)
    cdef int ends = ws_ends_torn(fd, reader) if is_locked else is_torn[0]
    is_held_up[0] = reader >= 0 and not is_locked
    error[0] = 0
    if ends < 0:
        error[0] = errno
    elif ends and write_all(fd, "\n", 1, error):
        is_torn[0] = False
    return is_locked


cdef Py_ssize_t write_lines(int fd, const char* data, Py_ssize_t length, bint* is_torn, int* error) noexcept nogil:
    """How many bytes of these lines the file took."""
    cdef Py_ssize_t done = write_all(fd, data, length, error)
    if done:
        is_torn[0] = data[done - 1] != c"\n"
    return done


def append_lines(int fd, int reader, bytes lines not None, bint is_torn, int wait_ms):
    """
    Bytes of these lines that the file took, errno or 0, and whether the last that we wrote was amid a line. # I/O.

    ``reader``: a descriptor that reads the same file; -1: it is none, or not to be read. While the file's lock (flock) is
    held, how the file ends says whether a new line begins with one; without the lock another process may be amid its write,
    and only what we know ourselves counts (``is_torn``). ``wait_ms``: for the lock.
    """
    cdef const char* data = lines
    cdef Py_ssize_t length = len(lines)
    cdef Py_ssize_t done = 0
    cdef bint is_held_up = False
    cdef bint is_locked
    cdef int error
    with nogil:
        is_locked = begin_append(fd, reader, &is_torn, &is_held_up, wait_ms, &error)
        if not error:
            done = write_lines(fd, data, length, &is_torn, &error)
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


cdef class Blocks:
    """
    Blocks of lines from the loop to the one thread that writes them, in their order.

    A file that is as it was the thread goes on writing to without Python. What is written the loop lets go of when it comes
    with more.
    """

    def __cinit__(self):
        pthread_mutex_init(&self.mutex, NULL)
        pthread_cond_init(&self.is_ready, NULL)

    def __dealloc__(self):
        free_blocks(self.first)
        free_blocks(self.over)
        pthread_cond_destroy(&self.is_ready)
        pthread_mutex_destroy(&self.mutex)

    @property
    def done(self) -> int:
        """Bytes that were written without Python."""
        return self.written

    def put(self, bytes lines not None, bint wakes=True) -> None:
        """Gives these lines to the thread; without ``wakes`` it may sleep on until ``wake``, or MOST_ASLEEP bytes wait."""
        cdef Block* block = <Block*>malloc(sizeof(Block))
        cdef Block* over
        if block == NULL:
            raise MemoryError
        Py_INCREF(lines)
        block.lines = <PyObject*>lines
        block.data = PyBytes_AS_STRING(lines)
        block.length = PyBytes_GET_SIZE(lines)
        block.next = NULL
        pthread_mutex_lock(&self.mutex)
        over = self.over
        self.over = NULL
        if self.first == NULL:
            self.first = block
        else:
            self.last.next = block
        self.last = block
        self.unwoken += block.length
        if wakes or self.unwoken >= MOST_ASLEEP:
            self.unwoken = 0
            pthread_cond_signal(&self.is_ready)
        pthread_mutex_unlock(&self.mutex)
        free_blocks(over)

    def wake(self) -> None:
        """The thread writes what is there."""
        if self.unwoken:
            self.unwoken = 0
            pthread_mutex_lock(&self.mutex)
            pthread_cond_signal(&self.is_ready)
            pthread_mutex_unlock(&self.mutex)

    def ask(self) -> None:
        """The thread comes back to Python with the next block, whatever becomes of the file."""
        self.is_asked = True

    def end(self) -> None:
        """No more blocks come."""
        pthread_mutex_lock(&self.mutex)
        self.is_ended = True
        pthread_cond_signal(&self.is_ready)
        pthread_mutex_unlock(&self.mutex)

    def write(self, bytes path not None, int fd, int reader, bint is_torn, int wait_ms) -> bool:
        """
        Waits for blocks and writes them to this file until Python has something to decide. # I/O.

        False: no more come. Else ``lines`` has a block, ``taken`` how many of its bytes are written, ``error`` errno; with 0
        the file is to be looked for (always with ``fd`` -1), and nothing of it is written. ``is_torn``: as in
        ``append_lines``. Needs no memory.
        """
        cdef const char* name = path
        cdef Block* block
        cdef Py_ssize_t done = 0
        cdef bint is_held_up = self.is_held_up
        cdef bint is_locked
        cdef int error = 0
        self.lines = None
        with nogil:
            while True:
                block = self.take()
                if block == NULL or fd < 0 or self.is_asked or not ws_is_file(name, fd):
                    break
                is_locked = begin_append(fd, reader, &is_torn, &is_held_up, wait_ms, &error)
                if not error:
                    block = self.write_those(block, fd, &is_torn, &done, &error)
                if is_locked:
                    ws_unlock_file(fd)
                if error:
                    break
        self.is_asked = False
        self.is_torn = is_torn
        self.is_held_up = is_held_up
        if block == NULL:
            return False
        self.lines = <bytes>block.lines
        self.taken = done
        self.error = error
        block.next = NULL
        free_blocks(block)
        return True

    cdef Block* take(self) noexcept nogil:
        cdef Block* block
        pthread_mutex_lock(&self.mutex)
        while self.first == NULL and not self.is_ended:
            pthread_cond_wait(&self.is_ready, &self.mutex)
        block = self.first
        if block != NULL:
            self.first = block.next
        pthread_mutex_unlock(&self.mutex)
        return block

    cdef Block* write_those(self, Block* block, int fd, bint* is_torn, Py_ssize_t* done, int* error) noexcept nogil:
        """
        This block and those that are there behind it, MOST_ASLEEP bytes or a block more.

        With ``error`` the block of which ``done`` bytes are written.
        """
        cdef Py_ssize_t left = MOST_ASLEEP
        while block != NULL:
            done[0] = write_lines(fd, block.data, block.length, is_torn, error)
            if error[0]:
                return block
            left -= block.length
            block = self.finish(block, left > 0)
        done[0] = 0
        return NULL

    cdef Block* finish(self, Block* block, bint goes_on) noexcept nogil:
        """It is written; the next one, where that is there and may be written without Python."""
        cdef Block* following = NULL
        pthread_mutex_lock(&self.mutex)
        block.next = self.over
        self.over = block
        self.written += block.length
        if goes_on and not self.is_asked:
            following = self.first
            if following != NULL:
                self.first = following.next
        pthread_mutex_unlock(&self.mutex)
        return following


cdef void free_blocks(Block* block) noexcept:
    cdef Block* following
    while block != NULL:
        following = block.next
        Py_XDECREF(block.lines)
        free(block)
        block = following
