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

    static inline int ws_accept(int fd) {
        return accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
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

    /* The address of one end as text (INET6_ADDRSTRLEN bytes) and its port; -1: it has none, or is no IP address. */
    static inline int ws_name(int fd, int of_peer, char *text) {
        struct sockaddr_storage name;
        socklen_t size = sizeof(name);
        if ((of_peer ? getpeername : getsockname)(fd, (struct sockaddr *)&name, &size) != 0) return -1;
        if (name.ss_family == AF_INET) {
            struct sockaddr_in *in = (struct sockaddr_in *)&name;
            ws_ipv4_text((const unsigned char *)&in->sin_addr, text);
            return ntohs(in->sin_port);
        }
        if (name.ss_family == AF_INET6) {
            struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&name;
            if (inet_ntop(AF_INET6, &in6->sin6_addr, text, INET6_ADDRSTRLEN) == NULL) return -1;
            return ntohs(in6->sin6_port);
        }
        return -1;
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
    int ws_accept(int fd)
    int ws_name(int fd, bint of_peer, char* text)
    int c_close "close"(int fd)
    int c_shutdown "shutdown"(int fd, int how)
