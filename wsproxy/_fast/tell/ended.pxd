# Why an exchange ended, in two letters, and where its time went: what logs, metrics and traces have in common of that.
#
# Noted by `proxy.exchange` and `proxy.account`; written by `access_line`. The letters are HAProxy's, so that who knows its
# logs reads these (its configuration manual, "Session state at disconnection").

from libc.stdint cimport int64_t

cdef enum Cause:
    # Two letters, as HAProxy's "termination state" has them: who or what ended it, and what it was waiting for. The value is
    # the letters themselves; who << 8 | phase. docs/access-log.md explains each, and a test causes each.
    ENDED_WELL = 0x2D2D     # --
    ENDED_LR = 0x4C52       # answered by wsproxy itself, as it should be: no Route, a file, health
    ENDED_CR = 0x4352       # C: the client left
    ENDED_CQ = 0x4351
    ENDED_CC = 0x4343
    ENDED_CH = 0x4348
    ENDED_CD = 0x4344
    ENDED_CL = 0x434C
    ENDED_cR = 0x6352       # c: the client did not go on in time
    ENDED_cD = 0x6344
    ENDED_cL = 0x634C
    ENDED_SC = 0x5343       # S: the server refused, or went away
    ENDED_SH = 0x5348
    ENDED_SD = 0x5344
    ENDED_sQ = 0x7351       # s: the server did not go on in time
    ENDED_sC = 0x7343
    ENDED_sH = 0x7348
    ENDED_sD = 0x7344
    ENDED_PR = 0x5052       # P: wsproxy refused what came
    ENDED_PQ = 0x5051
    ENDED_PH = 0x5048
    ENDED_PD = 0x5044
    ENDED_RC = 0x5243       # R: the machine lacks something: descriptors, ports, memory
    ENDED_KR = 0x4B52       # K: an operator ended it: `wsproxy kill`, the end of the proxy or of its program
    ENDED_KQ = 0x4B51
    ENDED_KC = 0x4B43
    ENDED_KH = 0x4B48
    ENDED_KD = 0x4B44
    ENDED_KL = 0x4B4C
    ENDED_I = 0x492D        # I-: an error in wsproxy

cdef enum Waited:
    # The second letter: what for.
    FOR_REQUEST = 0x52      # R: the rest of the request
    IN_QUEUE = 0x51         # Q
    FOR_CONNECTION = 0x43   # C: to a server
    FOR_HEAD = 0x48         # H: of the answer
    FOR_DATA = 0x44         # D: the rest of the answer, or of a tunnel
    FOR_LAST = 0x4C         # L: the answer was handed over whole, and its last bytes were still to be sent

cdef enum Who:
    # The first letter.
    CLIENT_LEFT = 0x43      # C
    CLIENT_LATE = 0x63      # c
    OPERATOR = 0x4B         # K

# Where its time went, in microseconds; -1: it has not come to that.
cdef struct Spent:
    int64_t receive_us      # from the first byte of the request to its last one; 0: it came in one piece
    int64_t queue_us        # in the queue for a place at a server
    int64_t connect_us      # until the connection that it went over was there; 0: it was warm
    int64_t send_us         # from the head's going to the server to the last of the body
    int64_t first_byte_us   # from its going to the server to the head of the answer
    int64_t answer_us       # from there to the end of the answer


cdef inline Cause cause_of(Who who, Waited phase) noexcept nogil:
    return <Cause>(<int>who << 8 | <int>phase)


cdef inline void forget_spent(Spent* spent) noexcept nogil:
    spent.receive_us = spent.queue_us = spent.connect_us = spent.send_us = spent.first_byte_us = spent.answer_us = -1
