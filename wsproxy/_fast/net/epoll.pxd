# What a Poller asks of the kernel: an epoll set, new connections, the addresses of both ends.

from libc.stdint cimport uint32_t

cdef extern from *:
    """
    #include <arpa/inet.h>
    #include <errno.h>
    #include <netinet/in.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <unistd.h>

    static inline int ws_epoll_ctl(int set, int op, int fd, uint32_t events, void *data) {
        struct epoll_event event;
        event.events = events;
        event.data.ptr = data;
        return epoll_ctl(set, op, fd, &event);
    }

    typedef struct sockaddr_storage ws_address;

    static inline int ws_accept(int fd, ws_address *peer) {
        socklen_t size = sizeof(*peer);
        return accept4(fd, (struct sockaddr *)peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }

    /* What inet_ntop writes of an IPv4 address, which prints it by a format: 900 instructions, twice a connection. */
    static inline void ws_ipv4_text(const unsigned char *address, char *text) {
        for (int i = 0; i < 4; i++) {
            int number = address[i];
            if (i) *text++ = '.';
            if (number >= 100) *text++ = '0' + number / 100;
            if (number >= 10) *text++ = '0' + number / 10 % 10;
            *text++ = '0' + number % 10;
        }
        *text = 0;
    }

    /* An address as text (INET6_ADDRSTRLEN bytes), and its port; -1: it is no IP address. IPv4 is told as IPv4 also where a
       socket takes both. */
    static inline int ws_text(const ws_address *name, char *text) {
        if (name->ss_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)name;
            ws_ipv4_text((const unsigned char *)&in->sin_addr, text);
            return ntohs(in->sin_port);
        }
        if (name->ss_family == AF_INET6) {
            const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)name;
            if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
                ws_ipv4_text((const unsigned char *)&in6->sin6_addr + 12, text);
            } else if (inet_ntop(AF_INET6, &in6->sin6_addr, text, INET6_ADDRSTRLEN) == NULL) {
                return -1;
            }
            return ntohs(in6->sin6_port);
        }
        return -1;
    }

    /* That of one end of a socket; -1: it has none, too. */
    static inline int ws_name(int fd, int of_peer, char *text) {
        ws_address name;
        socklen_t size = sizeof(name);
        if ((of_peer ? getpeername : getsockname)(fd, (struct sockaddr *)&name, &size) != 0) return -1;
        return ws_text(&name, text);
    }

    /* Whether all connections of a listening socket have its own address: it is bound to one, not to any, in either way to
       write that, and the kernel gives it none that were for somebody else (systemd's Transparent=, TPROXY). */
    static inline int ws_is_bound_to_one(int fd) {
        ws_address name;
        struct in6_addr *in6 = &((struct sockaddr_in6 *)&name)->sin6_addr;
        socklen_t size = sizeof(name);
        int is_transparent = 0;
        socklen_t flag_size = sizeof(is_transparent);
        if (getsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &is_transparent, &flag_size) != 0 || is_transparent) return 0;
        if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) return 0;
        if (name.ss_family == AF_INET) return ((struct sockaddr_in *)&name)->sin_addr.s_addr != INADDR_ANY;
        if (name.ss_family != AF_INET6 || IN6_IS_ADDR_UNSPECIFIED(in6)) return 0;
        return !IN6_IS_ADDR_V4MAPPED(in6) || in6->s6_addr32[3] != INADDR_ANY;
    }
    """
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum:
        EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
        MSG_NOSIGNAL, MSG_DONTWAIT, MSG_TRUNC, SHUT_RDWR, SHUT_WR, INET6_ADDRSTRLEN
    int epoll_create1(int flags)
    int epoll_wait(int set, epoll_event* events, int most, int timeout) nogil
    int ws_epoll_ctl(int set, int op, int fd, uint32_t events, void* data)
    ctypedef struct ws_address:
        pass
    int ws_accept(int fd, ws_address* peer)
    int ws_text(const ws_address* name, char* text) noexcept
    int ws_name(int fd, bint of_peer, char* text) noexcept
    bint ws_is_bound_to_one(int fd) noexcept
    int c_close "close"(int fd)
    int c_shutdown "shutdown"(int fd, int how)
