/*
 * The smallest honest proxy: what relaying costs at least on this machine, to compare the others with.
 *
 *     floor PORT UPLOAD_BYTES ANSWER_BYTES keep|close SERVER_PORT...
 *
 * It reads nothing of a request or an answer but where the head ends: how long the bodies are it is told. So it does none of the
 * duties (README.md, "Equal duties"), and is only right for clients that send the next request after the answer. epoll, level
 * triggered; one pipe, another one only while a socket does not take what is in the first; server connections are used again, the
 * last one first. Listens on 127.0.0.1, asks 127.0.0.1. Built by wsproxy.bench.floor.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FIRST_READ = 16384,   /* more would copy what could go through the pipe: 256 KiB cost an upload 1.18 times as much */
    PIPE_BYTES = 1048576, /* what an unprivileged process gets */
    EVENTS = 512,
    MOST_FDS = 65536,
};

typedef struct End End;
typedef struct Pipe Pipe;

struct Pipe {
    int exit, entry;
    size_t held;
    Pipe *next;
};

/* One connection. `left` is what is still to come from it of the body under way. */
struct End {
    int fd;
    unsigned interest;
    int is_client, is_busy, in_head;
    End *peer;
    long left;
    Pipe *pipe;  /* with bytes for the peer */
    char *kept;  /* bytes for this end, or of a head that is not whole, where there are any */
    size_t kept_bytes;
};

static int epoll, listener;
static long upload_bytes, answer_bytes;
static int closes;
static int servers[64], server_count, turn;
static End *ends[MOST_FDS];
static int idle[MOST_FDS], idle_count;
static Pipe *pipes;
static char scratch[FIRST_READ];

static void fail(const char *what) { perror(what); exit(1); }

static void listen_to(End *end, unsigned interest) {
    struct epoll_event event = {.events = interest, .data.ptr = end};
    if (end->interest == interest) return;
    end->interest = interest;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, end->fd, &event) < 0) fail("epoll_ctl");
}

static End *opened(int fd, int is_client) {
    int one = 1;
    End *end = ends[fd];
    struct epoll_event event = {.events = EPOLLIN};
    if (!end && !(end = ends[fd] = calloc(1, sizeof *end))) fail("calloc");
    memset(end, 0, sizeof *end);
    end->fd = fd;
    end->is_client = is_client;
    end->in_head = 1;
    end->interest = EPOLLIN;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    event.data.ptr = end;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
    return end;
}

static void drop(End *end) {
    Pipe *pipe = end->pipe;
    if (end->fd < 0) return;
    close(end->fd);
    end->fd = -1;
    free(end->kept);
    end->kept = NULL;
    if (pipe) { /* with bytes that nobody wants */
        close(pipe->exit);
        close(pipe->entry);
        free(pipe);
        end->pipe = NULL;
    }
    if (end->peer) {
        End *peer = end->peer;
        end->peer = peer->peer = NULL;
        drop(peer);
    }
}

static Pipe *take_pipe(void) {
    Pipe *pipe = pipes;
    int both[2];
    if (pipe) {
        pipes = pipe->next;
        return pipe;
    }
    if (!(pipe = calloc(1, sizeof *pipe)) || pipe2(both, O_NONBLOCK | O_CLOEXEC) < 0) fail("pipe2");
    fcntl(both[1], F_SETPIPE_SZ, PIPE_BYTES);
    pipe->exit = both[0];
    pipe->entry = both[1];
    return pipe;
}

static void keep(End *end, const char *bytes, size_t count) {
    if (!(end->kept = realloc(end->kept, end->kept_bytes + count))) fail("realloc");
    memcpy(end->kept + end->kept_bytes, bytes, count);
    end->kept_bytes += count;
}

/* 0: sent or kept, -1: the connection is gone */
static int give(End *end, const char *bytes, size_t count) {
    ssize_t sent = send(end->fd, bytes, count, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return -1;
    if (sent < 0) sent = 0;
    if ((size_t)sent < count) keep(end, bytes + sent, count - sent);
    return 0;
}

static End *take_server(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd;
    if (idle_count) return ends[idle[--idle_count]];
    address.sin_port = htons(servers[turn++ % server_count]);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || fd >= MOST_FDS) fail("socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) { /* loopback: there or refused at once */
        close(fd);
        return NULL;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return opened(fd, 0);
}

static void forget_idle(End *server) {
    for (int i = 0; i < idle_count; i++)
        if (idle[i] == server->fd) {
            memmove(idle + i, idle + i + 1, (--idle_count - i) * sizeof *idle);
            break;
        }
}

/* The client asked to close: the server's connection is kept all the same, and the answer says what will be done. */
static void edit(int is_client, char *head, size_t length) {
    static const char close_it[] = "Connection: close", keep_it[] = "Connection: keep-alive";
    char *at;
    if (is_client && (at = memmem(head, length, close_it, sizeof close_it - 1))) *at = 'X';
    if (!is_client && (at = memmem(head, length, keep_it, sizeof keep_it - 1))) memcpy(at + 12, "close     ", 10);
}

static void answered(End *server) {
    End *client = server->peer;
    server->peer = client->peer = NULL;
    server->in_head = client->in_head = 1;
    server->is_busy = client->is_busy = 0;
    listen_to(server, EPOLLIN);
    idle[idle_count++] = server->fd;
    if (closes) drop(client);
    else listen_to(client, EPOLLIN);
}

/* All that `from` has to say now, as far as its peer takes it. */
static void relay(End *from) {
    End *to = from->peer;
    while (1) {
        if (to->kept_bytes) {
            ssize_t sent = send(to->fd, to->kept, to->kept_bytes, MSG_NOSIGNAL);
            if (sent < 0 && errno != EAGAIN) { drop(from); return; }
            if (sent > 0) memmove(to->kept, to->kept + sent, to->kept_bytes -= sent);
            if (to->kept_bytes) break;
            free(to->kept);
            to->kept = NULL;
        }
        if (from->pipe) {
            ssize_t moved = splice(from->pipe->exit, NULL, to->fd, NULL, from->pipe->held, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
            if (moved < 0 && errno != EAGAIN) { drop(from); return; }
            if (moved > 0) from->pipe->held -= moved;
            if (from->pipe->held) {
                if (moved > 0) continue;
                break;
            }
            from->pipe->next = pipes;
            pipes = from->pipe;
            from->pipe = NULL;
        }
        if (!from->left) {
            if (from->is_client) {
                listen_to(to, EPOLLIN);
                listen_to(from, EPOLLIN); /* for its end */
            } else answered(from);
            return;
        }
        from->pipe = take_pipe();
        ssize_t moved = splice(from->fd, NULL, from->pipe->entry, NULL,
                               from->left < PIPE_BYTES ? from->left : PIPE_BYTES, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (moved <= 0) {
            from->pipe->next = pipes;
            pipes = from->pipe;
            from->pipe = NULL;
            if (moved < 0 && errno == EAGAIN) {
                listen_to(from, EPOLLIN);
                listen_to(to, EPOLLIN);
            } else drop(from);
            return;
        }
        from->left -= moved;
        from->pipe->held = moved;
    }
    listen_to(from, 0); /* `to` is full */
    listen_to(to, EPOLLOUT);
}

static void read_head(End *from) {
    long body = from->is_client ? upload_bytes : answer_bytes;
    ssize_t count = recv(from->fd, scratch + from->kept_bytes, FIRST_READ - from->kept_bytes, 0);
    char *end;
    size_t head;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) { drop(from); return; }
    if (from->kept_bytes) { /* the beginning came alone */
        memcpy(scratch, from->kept, from->kept_bytes);
        count += from->kept_bytes;
        free(from->kept);
        from->kept = NULL;
        from->kept_bytes = 0;
    }
    if (!(end = memmem(scratch, count, "\r\n\r\n", 4))) {
        if (count == FIRST_READ) drop(from);
        else keep(from, scratch, count);
        return;
    }
    head = end + 4 - scratch;
    if (closes) edit(from->is_client, scratch, head);
    from->in_head = 0;
    from->left = body - (long)(count - head);
    if (from->left < 0) { drop(from); return; } /* not what we were told */
    if (from->is_client) {
        End *server = take_server();
        if (!server) { drop(from); return; }
        from->peer = server;
        server->peer = from;
        from->is_busy = server->is_busy = 1;
    }
    if (give(from->peer, scratch, count) < 0) { drop(from); return; }
    if (from->left || from->peer->kept_bytes) relay(from);
    else if (!from->is_client) answered(from);
}

static void on_event(End *end, unsigned events) {
    if (end->fd < 0) return; /* dropped by an event of the same round */
    if (events & (EPOLLERR | EPOLLHUP)) {
        if (!end->is_client && !end->is_busy) forget_idle(end);
        drop(end);
    } else if (events & EPOLLOUT) relay(end->peer);
    else if (!end->is_busy && end->is_client) read_head(end);
    else if (!end->is_busy) { /* an idle server connection says something, or ends */
        forget_idle(end);
        drop(end);
    } else if (end->in_head) read_head(end);
    else if (end->left) relay(end);
    else drop(end); /* the client left, or sends ahead */
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MOST_FDS) close(fd);
        else opened(fd, 1);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[EVENTS], accepting = {.events = EPOLLIN, .data.ptr = NULL};
    int one = 1;
    if (argc < 6 || argc > 5 + 64) {
        fprintf(stderr, "usage: floor PORT UPLOAD_BYTES ANSWER_BYTES keep|close SERVER_PORT...\n");
        return 2;
    }
    address.sin_port = htons(atoi(argv[1]));
    upload_bytes = atol(argv[2]);
    answer_bytes = atol(argv[3]);
    closes = !strcmp(argv[4], "close");
    for (int i = 5; i < argc; i++) servers[server_count++] = atoi(argv[i]);
    signal(SIGPIPE, SIG_IGN);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) fail("listen");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &accepting) < 0) fail("epoll_ctl");
    while (1) {
        int count = epoll_wait(epoll, events, EVENTS, -1), accepts = 0;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) on_event(events[i].data.ptr, events[i].events);
            else accepts = 1;
        }
        if (accepts) accept_all(); /* last: a number that is used again must not get an event of the one before */
    }
}
