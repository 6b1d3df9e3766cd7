"""
The Date field of answers that come without one: ours, and those of servers that send none (RFC 9110 6.6.1).

Driven by ``upstream`` for a server's answer, by ``dataplane`` for local ones. Asks the clock only when called: nearly every
server sends its own Date.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdio.h>
    #include <time.h>

    /* The line for these seconds since 1970; strftime would ask the locale for the names. */
    static inline void ws_put_date(char out[64], time_t seconds) {
        static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
        static const char months[12][4] = {
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
        };
        struct tm t;
        gmtime_r(&seconds, &t);
        snprintf(out, 64, "Date: %s, %02d %s %04d %02d:%02d:%02d GMT\\r\\n", days[t.tm_wday % 7], t.tm_mday,
                 months[t.tm_mon % 12], t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
    }

    static inline int64_t ws_seconds(void) { return (int64_t)time(NULL); }
    """
    void ws_put_date(char* out, int64_t seconds) noexcept nogil
    int64_t ws_seconds() noexcept nogil

cdef char line[64]
cdef int64_t made_for = -1


cdef const char* date_line_now() noexcept nogil:
    global made_for
    cdef int64_t seconds = ws_seconds()
    if seconds != made_for:
        ws_put_date(line, seconds)
        made_for = seconds
    return line


def date_line() -> str:
    """The Date field for now, with CR LF."""
    return date_line_now()[:DATE_LINE].decode("ascii")


def date_line_of(int64_t seconds) -> bytes:
    """The Date field for these seconds since 1970, years 1 to 9999; for tests."""
    cdef char out[64]
    ws_put_date(out, seconds)
    return out[:DATE_LINE]
