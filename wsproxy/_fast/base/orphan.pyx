"""
How a process ends whose parent has ended: by itself, and in the end by the kernel.

In C, because a handler in Python does not run in a process that hangs: that is one call which does not return.
Driven by ``process.fork``.
"""

from libc.signal cimport SIG_DFL, SIGALRM, SIGCONT, SIGTERM, signal
from posix.signal cimport SA_RESTART, kill, sigaction, sigaction_t, sigemptyset
from posix.types cimport pid_t
from posix.unistd cimport alarm, getpid, getppid

cdef pid_t _parent = 0
cdef unsigned int _most_s = 0
cdef bint _is_ending = False


cdef void _on_continue(int number) noexcept nogil:
    # Only what a signal handler may do (signal-safety(7)); none of it touches errno here.
    global _is_ending
    if _is_ending or getppid() == _parent:
        return  # somebody says SIGCONT
    _is_ending = True
    alarm(_most_s)
    kill(getpid(), SIGTERM)


def end_orphaned(parent: int, most_s: int) -> None:
    """
    At a SIGCONT that finds the parent gone: SIGTERM for this process, and SIGALRM, which kills it, ``most_s`` later.

    SIGCONT, because a stopped process acts on no other, and because it is harmless when anybody else sends it.
    """
    global _parent, _most_s
    cdef sigaction_t action
    _parent = parent
    _most_s = most_s
    signal(SIGALRM, SIG_DFL)  # it may have been ignored by whoever started us
    action.sa_handler = _on_continue
    action.sa_flags = SA_RESTART
    sigemptyset(&action.sa_mask)
    sigaction(SIGCONT, &action, NULL)
