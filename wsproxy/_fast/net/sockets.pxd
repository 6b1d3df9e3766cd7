# What a Stream asks of the kernel about its socket, and how it sends.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/sock_diag.h>
    #include <linux/sockios.h>
    #include <linux/tcp.h>
    #include <netinet/in.h>
    #include <poll.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/ioctl.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <sys/uio.h>
    #include <unistd.h>

    /* Without what libc does around each call at which a thread may be cancelled: two locked instructions, and none of ours
       is. Sanitizers know libc's own. */
    static inline ssize_t ws_recv(int fd, void *data, size_t room, int flags) {
    #if WSPROXY_CHECKED
        return recv(fd, data, room, flags);
    #else
        return syscall(SYS_recvfrom, fd, data, room, flags, NULL, NULL);
    #endif
    }

    static inline ssize_t ws_send(int fd, const void *data, size_t length, int flags) {
    #if WSPROXY_CHECKED
        return send(fd, data, length, flags);
    #else
        return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
    #endif
    }

    /* Bytes sent of both parts; -1 nothing can be sent now; -2 the connection is broken; -3 by what is told once. */
    static inline ssize_t ws_send2(int fd, const char *a, size_t a_len, const char *b, size_t b_len, int more) {
        int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
        ssize_t sent;
        do {
            if (b_len == 0) {
                sent = ws_send(fd, a, a_len, flags);
            } else if (a_len == 0) {
                sent = ws_send(fd, b, b_len, flags);
            } else {
                struct iovec parts[2] = {{(void *)a, a_len}, {(void *)b, b_len}};
                struct msghdr message = {0};
                message.msg_iov = parts;
                message.msg_iovlen = 2;
                sent = sendmsg(fd, &message, flags);
            }
        } while (sent < 0 && errno == EINTR);
        if (sent >= 0) return sent;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS) return -1;
        return errno == EPIPE ? -2 : -3;
    }

    /* Whether nothing has arrived and the peer has not closed. */
    static inline int ws_is_quiet(int fd) {
        char byte;
        return ws_recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    }

    #ifndef POLLRDHUP
    #define POLLRDHUP 0x2000  /* Linux; the header hides it from who does not ask for GNU's names */
    #endif

    /* Whether the peer has ended its direction or reset the connection, whatever lies unread before that. */
    static inline int ws_hung_up(int fd) {
        struct pollfd asked = {fd, POLLRDHUP, 0};
        return poll(&asked, 1, 0) > 0 && asked.revents & (POLLRDHUP | POLLERR | POLLHUP);
    }

    /* Bytes in the kernel that the peer has not confirmed. */
    static inline ssize_t ws_unacknowledged(int fd) {
        int count;
        return ioctl(fd, SIOCOUTQ, &count) == 0 ? count : 0;
    }

    /* Bytes that the kernel takes of what is sent now; 0 where it does not say. */
    static inline ssize_t ws_send_room(int fd) {
        uint32_t memory[SK_MEMINFO_VARS];
        socklen_t size = sizeof(memory);
        socklen_t needed = sizeof(memory[0]) * (SK_MEMINFO_WMEM_QUEUED + 1);
        if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) != 0 || size < needed) return 0;
        return (ssize_t)memory[SK_MEMINFO_SNDBUF] - (ssize_t)memory[SK_MEMINFO_WMEM_QUEUED];
    }

    /* Bytes that the peer has confirmed so far, and that came from it; 0 where the kernel does not say. */
    static inline int64_t ws_acknowledged(int fd, int64_t *received) {
        struct tcp_info info;
        socklen_t size = sizeof(info);
        size_t needed = offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received);
        *received = 0;
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < needed) return 0;
        *received = (int64_t)info.tcpi_bytes_received;
        return (int64_t)info.tcpi_bytes_acked;
    }

    /* Bytes that the kernel took since the connection began; -1 where it does not say. */
    static inline int64_t ws_accepted(int fd) {
        struct tcp_info info;
        socklen_t size = sizeof(info);
        size_t needed = offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof(info.tcpi_bytes_retrans);
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < needed) return -1;
        return (int64_t)(info.tcpi_bytes_sent - info.tcpi_bytes_retrans) + info.tcpi_notsent_bytes;
    }

    /* The next close sends a reset instead of an end. */
    static inline void ws_reset_on_close(int fd) {
        struct linger now = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    }

    /* It counts as readable once so many bytes are there, or its end; 1: as ever. At once where they are there already. */
    static inline void ws_readable_from(int fd, int count) {
        setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &count, sizeof(count));
    }
    """
    Py_ssize_t ws_recv(int fd, void* data, size_t room, int flags) noexcept nogil
    Py_ssize_t ws_send(int fd, const void* data, size_t length, int flags) noexcept nogil
    Py_ssize_t ws_send2(int fd, const char* a, size_t a_len, const char* b, size_t b_len, bint more) nogil
    bint ws_is_quiet(int fd) noexcept nogil
    bint ws_hung_up(int fd) noexcept nogil
    Py_ssize_t ws_unacknowledged(int fd) noexcept nogil
    Py_ssize_t ws_send_room(int fd) noexcept nogil
    int64_t ws_acknowledged(int fd, int64_t* received) noexcept nogil
    int64_t ws_accepted(int fd) noexcept nogil
    void ws_reset_on_close(int fd) noexcept nogil
    void ws_readable_from(int fd, int count) noexcept nogil
