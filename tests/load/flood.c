/* Ask at a constant rate, whatever becomes of it: flood PORT FILE RATE SECONDS CONNECTIONS PATIENT FEW

Each request has its moment beforehand, and its latency counts from that moment, also where it waits for a connection.
FILE holds a whole request. It is sent on CONNECTIONS that stay open, in turn, as by so many clients that ask again
whatever they were told. One in FEW (0: none) is sent on a connection of its own, and one in FEW on one of PATIENT
connections whose clients do what they are told: after a refusal they wait as long as Retry-After says. What finds every
connection waiting for an answer until the end is never sent. One line of JSON says what became of them.
In C, because a request costs a program in Python more than a service that refuses it. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define MOST 65536      /* descriptors */
#define ANSWER 16384    /* bytes; none is longer */
#define AT_ONCE 64      /* requests that are sent before answers are looked for */

enum { KEPT, PATIENT, NEW, KINDS };
static struct one { double due, rested; int kind, have; char *data; } ones[MOST]; /* by descriptor; due 0: nothing is asked */
static struct took { float ms; short status; char kind; } *took;
static double grace = 5.0; /* seconds for what is still unanswered at the end; FLOOD_GRACE in the environment */
static double blocked, *late, *owed; /* owed: moments of requests that wait for a connection */
static struct pool { int fd[MOST], first, count; } idle[KINDS]; /* connections on which nothing is asked */
static int opened;
static long sent, answered, lost, reopened, owed_first, owed_count, late_count;
static int over, port, polled, request_length;
static char request[65536];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void rest(int fd) {
    struct pool *pool = &idle[ones[fd].kind];
    pool->fd[(pool->first + pool->count++) % MOST] = fd;
}

static int dial(int kind) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (fd < 0 || fd >= MOST) { perror("socket"); exit(1); }
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(0x7f000100 + ((opened % 4) << 8) + 1 + opened / 4 % 200); /* 127.0.1-4.1-200 */
    opened++;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (bind(fd, (void *)&from, sizeof from)) { perror("bind"); exit(1); }
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) { perror("connect"); exit(1); }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(polled, EPOLL_CTL_ADD, fd, &event);
    ones[fd].kind = kind;
    ones[fd].have = 0;
    ones[fd].due = ones[fd].rested = 0;
    if (!ones[fd].data) ones[fd].data = malloc(ANSWER + 1);
    return fd;
}

static void ask(int fd, double due) {
    ones[fd].due = due;
    /* A refused send shows as the end of the connection. A connection in the making takes a moment on loopback, and
       longer where the service takes none: that this program is late then is not the machine's fault. */
    double begun = 0;
    while (send(fd, request, request_length, MSG_NOSIGNAL) < 0 && errno == EAGAIN && now() - due < grace)
        if (!begun) begun = now();
    if (begun) blocked += now() - begun;
}

static void on_idle(int kind, double due) {
    struct pool *pool = &idle[kind];
    int fd = pool->fd[pool->first];
    pool->first = (pool->first + 1) % MOST;
    pool->count--;
    ask(fd, due);
}

static void ended(int fd) {
    struct one *one = &ones[fd];
    int was_idle = one->kind != NEW && one->due == 0;
    if (one->due) lost++;
    close(fd); /* epoll forgets it */
    if (one->kind == NEW) return;
    struct pool *pool = &idle[one->kind];
    int again = dial(one->kind);
    reopened++;
    for (int k = 0; was_idle && k < pool->count; k++) {
        int *place = &pool->fd[(pool->first + k) % MOST];
        if (*place == fd) { *place = again; return; }
    }
    rest(again);
}

static void take(int fd) {
    struct one *one = &ones[fd];
    long got = recv(fd, one->data + one->have, ANSWER - one->have, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        ended(fd);
        return;
    }
    one->have += got;
    one->data[one->have] = 0;
    char *end = strstr(one->data, "\r\n\r\n"), *length = strcasestr(one->data, "\r\nContent-Length: ");
    char *after = strcasestr(one->data, "\r\nRetry-After: ");
    if (!end || !length || one->data + one->have < end + 4 + atoi(length + 18)) return;
    int status = atoi(one->data + 9), last = strcasestr(one->data, "\r\nConnection: close") != NULL;
    one->have = 0;
    if (!one->due) { /* nobody asked here: the service had no room for the connection */
        if (last) ended(fd);
        return;
    }
    took[answered++] = (struct took){(now() - one->due) * 1e3, status, one->kind};
    one->due = 0;
    if (last || one->kind == NEW) {
        close(fd);
        if (one->kind == NEW) return;
        fd = dial(one->kind);
        reopened++;
    }
    ones[fd].rested = after ? now() + atoi(after + 15) : 0;
    rest(fd);
}

static void listen_to(int ms) {
    struct epoll_event events[256];
    int count = epoll_wait(polled, events, 256, ms);
    for (int k = 0; k < count; k++) take(events[k].data.fd);
    for (; owed_count && idle[KEPT].count && !over; owed_count--) on_idle(KEPT, owed[owed_first++]);
}

static int by_ms(const void *a, const void *b) {
    float x = ((const struct took *)a)->ms, y = ((const struct took *)b)->ms;
    return (x > y) - (x < y);
}
static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 8) { fprintf(stderr, "flood PORT FILE RATE SECONDS CONNECTIONS PATIENT FEW\n"); return 2; }
    if (getenv("FLOOD_GRACE")) grace = atof(getenv("FLOOD_GRACE"));
    port = atoi(argv[1]);
    FILE *file = fopen(argv[2], "rb");
    if (!file || !(request_length = fread(request, 1, sizeof request, file))) { perror(argv[2]); return 2; }
    double rate = atof(argv[3]), seconds = atof(argv[4]);
    int connections = atoi(argv[5]), patient = atoi(argv[6]), few = atoi(argv[7]);
    long total = rate * seconds;
    if (total < 1) { fprintf(stderr, "flood: nothing to ask\n"); return 2; }
    took = calloc(total, sizeof *took);
    late = calloc(total, sizeof *late);
    owed = calloc(total, sizeof *owed);
    polled = epoll_create1(0);
    for (int k = 0; k < connections + patient; k++) {
        rest(dial(k < connections ? KEPT : PATIENT));
        if (k % 50 == 49) usleep(20000); /* no more than the service's queue of connections holds */
    }
    for (double until = now() + 0.5; now() < until;) listen_to(20); /* those that there was no room for */
    double start = now();
    while (sent < total) {
        double moment = now();
        for (int k = 0; k < AT_ONCE && sent < total && start + sent / rate <= moment; k++, sent++) {
            double due = start + sent / rate;
            late[late_count++] = now() - due;
            struct pool *waited = &idle[PATIENT];
            if (few && sent % few == 0) ask(dial(NEW), due);
            else if (few && sent % few == 1 && waited->count && ones[waited->fd[waited->first]].rested <= due)
                on_idle(PATIENT, due);
            else if (idle[KEPT].count) on_idle(KEPT, due);
            else owed[owed_first + owed_count++] = due;
        }
        listen_to(0);
    }
    double took_seconds = now() - start;
    long good = 0;
    for (long k = 0; k < answered; k++) good += took[k].status < 300;
    over = 1;
    while (answered + lost + owed_count < total && now() < start + took_seconds + grace) listen_to(20);
    qsort(took, answered, sizeof *took, by_ms);
    qsort(late, late_count, sizeof *late, by_value);
    printf("{\"seconds\": %.3f, \"offered\": %ld, \"unsent\": %ld, \"lost\": %ld, \"unanswered\": %ld, \"reopened\": %ld, "
           "\"good\": %ld, \"late_p99_ms\": %.2f, \"blocked_ms\": %.2f, \"rows\": [", took_seconds, total, owed_count, lost,
           total - answered - lost - owed_count, reopened, good, late[(long)(late_count * 0.99)] * 1e3, blocked * 1e3);
    const char *between = "", *names[] = {"kept", "patient", "new"};
    for (int kind = KEPT; kind < KINDS; kind++)
        for (int status = 100; status < 600; status++) {
            long count = 0, seen = 0;
            float p50 = 0, p99 = 0, longest = 0;
            for (long k = 0; k < answered; k++) count += took[k].kind == kind && took[k].status == status;
            for (long k = 0; count && k < answered; k++) {
                if (took[k].kind != kind || took[k].status != status) continue;
                if (seen == count / 2) p50 = took[k].ms;
                if (seen == (long)(count * 0.99)) p99 = took[k].ms;
                if (++seen == count) longest = took[k].ms;
            }
            if (!count) continue;
            printf("%s{\"kind\": \"%s\", \"status\": %d, \"count\": %ld, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"longest_ms\": %.2f}",
                   between, names[kind], status, count, p50, p99, longest);
            between = ", ";
        }
    printf("]}\n");
    return 0;
}
