// lg: bounded TLS load generator (loopback only).
//  lg half  HOST PORT N HOLDSEC           open N conns, send ClientHello, wait for reply, print
//                                         READY, hold until stdin EOF or HOLDSEC
//  lg flood HOST PORT N CONC MAXSEC       N abandoned hellos (connect, CH, wait reply, RST)
//  lg full  HOST PORT N CONC MAXSEC VER RESUME REQ
//                                         full handshakes (VER 12|13; RESUME 0|1; REQ 0 = until
//                                         handshake proven complete (ticket in 1.3), 1 = one GET,
//                                         close, 2 = one GET)
//  lg legit HOST PORT RATE SECS           slow-rate sequential full handshakes, latency percentiles
//                                         (sources 127.0.1.x)
// Every hello of half and flood has its own random, session id and X25519 share.
// LG_TLS12=1: TLS 1.2 hellos.
// LG_HELLO=FILE: a recorded ClientHello record (a browser's) instead of OpenSSL's.
// LG_ECHO=1: a HelloRetryRequest is answered by a second hello with its cookie (counted as
// retried=).
#define _GNU_SOURCE
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <sys/resource.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <signal.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
static struct sockaddr_in dst;
static unsigned srcn = 0;
static int manysrc = 1;
static unsigned srcbase = 0x7f000002u;

static int conn_nb(int blocking) {
    int fd = socket(AF_INET, SOCK_STREAM | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0) {
        perror("socket");
        exit(1);
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    if (manysrc) {
        setsockopt(fd, IPPROTO_IP, 24 /*IP_BIND_ADDRESS_NO_PORT*/, &one, sizeof one);
        struct sockaddr_in s = {.sin_family = AF_INET};
        s.sin_addr.s_addr = htonl(srcbase + (srcn++ & 7));
        bind(fd, (void *)&s, sizeof s);
    }
    if (connect(fd, (void *)&dst, sizeof dst) < 0 && errno != EINPROGRESS) {
        perror("connect");
        close(fd);
        return -1;
    }
    return fd;
}

static unsigned char ch[16640];
static int chlen, share_at = -1, retried;

static int g2(const unsigned char *p) { return p[0] << 8 | p[1]; }

static void p2(unsigned char *p, int v) {
    p[0] = v >> 8;
    p[1] = v;
}

// offset of the extensions' length
static int ext_block(const unsigned char *h) {
    int o = 5 + 4 + 2 + 32;
    o += 1 + h[o];
    o += 2 + g2(h + o);
    o += 1 + h[o];
    return o;
}

static void find_share(void) {
    int o = ext_block(ch), end = o + 2 + g2(ch + o);
    share_at = -1;
    for (o += 2; o + 4 <= end; o += 4 + g2(ch + o + 2))
        if (g2(ch + o) == 51) {
            int e = o + 4 + g2(ch + o + 2);
            for (int q = o + 6; q + 4 <= e; q += 4 + g2(ch + q + 2))
                if (g2(ch + q) == 29 && g2(ch + q + 2) == 32) share_at = q + 4;
        }
}

static unsigned long long rs = 88172645463325252ull;

static unsigned char rb(void) {
    rs ^= rs << 13;
    rs ^= rs >> 7;
    rs ^= rs << 17;
    return rs >> 32;
}

static void fresh(void) {
    for (int i = 11; i < 43; i++) ch[i] = rb();
    for (int i = 0; i < ch[43]; i++) ch[44 + i] = rb();
    if (share_at > 0)
        for (int i = 0; i < 32; i++) ch[share_at + i] = rb();
}

// the hello that was sent first by whoever has this seed
static void fresh_again(unsigned long long seed) {
    unsigned long long later = rs;
    rs = seed;
    fresh();
    rs = later;
}

// a HelloRetryRequest's cookie into a second hello; 0 if r is none
static int echo_hello(const unsigned char *r, int n, unsigned char *out) {
    static const unsigned char hrr[8] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11};
    if (n < 60 || r[0] != 22 || r[5] != 2 || memcmp(r + 11, hrr, 8)) return 0;
    int o = 43;
    o += 1 + r[o];
    o += 3;
    int end = o + 2 + g2(r + o);
    for (o += 2; o + 4 <= end && end <= n; o += 4 + g2(r + o + 2))
        if (g2(r + o) == 44) {
            int c = 4 + g2(r + o + 2), at = ext_block(ch), tail = at + 2 + g2(ch + at);
            // the cookie goes before the last extension, which has to stay last where it is
            // pre_shared_key
            memcpy(out, ch, chlen);
            int q = at + 2, last = q;
            for (; q < tail; q += 4 + g2(ch + q + 2)) last = q;
            memcpy(out + last, r + o, c);
            memcpy(out + last + c, ch + last, chlen - last);
            p2(out + at, g2(ch + at) + c);
            p2(out + 3, g2(ch + 3) + c);
            int b = (ch[6] << 16 | g2(ch + 7)) + c;
            out[6] = b >> 16;
            p2(out + 7, b);
            return chlen + c;
        }
    return 0;
}

static SSL_CTX *mkctx(int ver) {
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    if (!c) exit(2);
    int v = ver == 12 ? TLS1_2_VERSION : TLS1_3_VERSION;
    if (ver == 12)
        SSL_CTX_set_max_proto_version(c, v);
    else
        SSL_CTX_set_min_proto_version(c, v);
    SSL_CTX_set_verify(c, SSL_VERIFY_NONE, 0);
    SSL_CTX_set1_groups_list(c, "X25519:P-256");
    return c;
}

static void mkhello(void) {
    const char *f = getenv("LG_HELLO");
    if (f) {
        FILE *x = fopen(f, "rb");
        if (!x || (chlen = fread(ch, 1, sizeof ch, x)) < 100 || ch[0] != 22) {
            fprintf(stderr, "no hello in %s\n", f);
            exit(3);
        }
        fclose(x);
        find_share();
        return;
    }
    SSL_CTX *c = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set1_groups_list(c, "X25519:P-256:X448:P-521:P-384");
    if (getenv("LG_TLS12")) SSL_CTX_set_max_proto_version(c, TLS1_2_VERSION);
    SSL *s = SSL_new(c);
    BIO *r = BIO_new(BIO_s_mem()), *w = BIO_new(BIO_s_mem());
    SSL_set_bio(s, r, w);
    SSL_set_tlsext_host_name(s, "localhost");
    SSL_set_connect_state(s);
    SSL_do_handshake(s);
    chlen = BIO_read(w, ch, sizeof ch);
    SSL_free(s);
    SSL_CTX_free(c);
    if (chlen < 100) exit(3);
    find_share();
}

static int cmpd(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

typedef struct {
    int fd;
    int st;
    SSL *ssl;
    double t0, lat;
    int got;
    int done;
    unsigned long long seed;
} C;

static int half(int N, double hold) {
    int echo = getenv("LG_ECHO") != 0;
    mkhello();
    int ep = epoll_create1(0);
    C *c = calloc(N, sizeof *c);
    int opened = 0, ans = 0, inflight = 0, fail = 0;
    long bytes = 0;
    double t0 = now();
    struct epoll_event ev[256];
    char buf[65536];
    double dl = t0 + 60;
    while (ans + fail < N && now() < dl) {
        while (opened < N && inflight < 64) {
            C *k = &c[opened++];
            k->fd = conn_nb(0);
            if (k->fd < 0) {
                fail++;
                continue;
            }
            struct epoll_event e = {EPOLLOUT, {.ptr = k}};
            epoll_ctl(ep, EPOLL_CTL_ADD, k->fd, &e);
            inflight++;
        }
        int n = epoll_wait(ep, ev, 256, 1000);
        for (int i = 0; i < n; i++) {
            C *k = ev[i].data.ptr;
            if (k->st == 0) {
                k->seed = rs;
                fresh();
                if (send(k->fd, ch, chlen, MSG_NOSIGNAL) != chlen) {
                    fail++;
                    inflight--;
                    close(k->fd);
                    k->st = 9;
                    continue;
                }
                k->st = 1;
                struct epoll_event e = {EPOLLIN, {.ptr = k}};
                epoll_ctl(ep, EPOLL_CTL_MOD, k->fd, &e);
            } else {
                ssize_t r = recv(k->fd, buf, sizeof buf, 0);
                if (r <= 0 || ((k->st == 1 || k->st == 3) && buf[0] != 22)) {
                    if (k->st == 1 || k->st == 3) {
                        fail++;
                        inflight--;
                    } else {
                        fail++;
                    }
                    epoll_ctl(ep, EPOLL_CTL_DEL, k->fd, 0);
                    k->st = 9;
                    continue;
                }
                bytes += r;
                k->got += r;
                unsigned char h2[17000];
                int n2;
                if (k->st == 1 && echo &&
                    (fresh_again(k->seed), n2 = echo_hello((void *)buf, r, h2)) > 0) {
                    retried++;
                    k->st = 3;
                    if (send(k->fd, h2, n2, MSG_NOSIGNAL) != n2) {
                        fail++;
                        inflight--;
                        close(k->fd);
                        k->st = 9;
                    }
                    continue;
                }
                if (k->st == 1 || k->st == 3) {
                    k->st = 2;
                    ans++;
                    inflight--;
                }
            }
        }
    }
    double t1 = now();
    printf("READY answered=%d fail=%d retried=%d secs=%.3f avgbytes=%.0f chlen=%d\n", ans, fail,
           retried, t1 - t0, ans ? (double)bytes / ans : 0, chlen);
    fflush(stdout);
    dl = now() + hold;
    int lost = 0;
    while (now() < dl) {
        struct pollfd p = {0, POLLIN, 0};
        if (poll(&p, 1, 200) > 0) {
            char x[8];
            if (read(0, x, 8) <= 0) break;
        }
        int n = epoll_wait(ep, ev, 256, 0);
        for (int i = 0; i < n; i++) {
            C *k = ev[i].data.ptr;
            ssize_t r = recv(k->fd, buf, sizeof buf, 0);
            if (r <= 0) {
                lost++;
                epoll_ctl(ep, EPOLL_CTL_DEL, k->fd, 0);
            }
        }
    }
    printf("DONE lost=%d\n", lost);
    return 0;
}

static int flood(int N, int conc, double maxs) {
    int echo = getenv("LG_ECHO") != 0;
    mkhello();
    int ep = epoll_create1(0);
    C *c = calloc(conc, sizeof *c);
    int opened = 0, ans = 0, fail = 0, live = 0;
    double t0 = now(), dl = t0 + maxs;
    struct epoll_event ev[256];
    char buf[65536];
    double *lat = malloc(sizeof(double) * (N + 1));
    for (int i = 0; i < conc; i++) c[i].fd = -1;
#define OPEN(k)                                                                                    \
    do {                                                                                           \
        if (opened < N && now() < dl) {                                                            \
            (k)->fd = conn_nb(0);                                                                  \
            opened++;                                                                              \
            if ((k)->fd >= 0) {                                                                    \
                (k)->st = 0;                                                                       \
                (k)->t0 = now();                                                                   \
                live++;                                                                            \
                struct epoll_event e = {EPOLLOUT, {.ptr = (k)}};                                   \
                epoll_ctl(ep, EPOLL_CTL_ADD, (k)->fd, &e);                                         \
            } else                                                                                 \
                fail++;                                                                            \
        }                                                                                          \
    } while (0)
    for (int i = 0; i < conc; i++) OPEN(&c[i]);
    while (live > 0 && now() < dl + 3) {
        int n = epoll_wait(ep, ev, 256, 500);
        for (int i = 0; i < n; i++) {
            C *k = ev[i].data.ptr;
            if (k->st == 0) {
                k->seed = rs;
                fresh();
                if (send(k->fd, ch, chlen, MSG_NOSIGNAL) != chlen) {
                    fail++;
                    close(k->fd);
                    live--;
                    OPEN(k);
                    continue;
                }
                k->st = 1;
                struct epoll_event e = {EPOLLIN, {.ptr = k}};
                epoll_ctl(ep, EPOLL_CTL_MOD, k->fd, &e);
            } else {
                ssize_t r = recv(k->fd, buf, sizeof buf, 0);
                unsigned char h2[17000];
                int n2;
                if (r > 0 && k->st == 1 && echo &&
                    (fresh_again(k->seed), n2 = echo_hello((void *)buf, r, h2)) > 0 &&
                    send(k->fd, h2, n2, MSG_NOSIGNAL) == n2) {
                    retried++;
                    k->st = 3;
                    continue;
                }
                if (r <= 0 || buf[0] != 22)
                    fail++;
                else {
                    lat[ans] = now() - k->t0;
                    ans++;
                }
                close(k->fd);
                live--;
                OPEN(k);
            }
        }
    }
    double t = now() - t0;
    qsort(lat, ans, sizeof *lat, cmpd);
    printf("answered=%d fail=%d retried=%d secs=%.3f rate=%.1f p50ms=%.2f p99ms=%.2f\n", ans, fail,
           retried, t, ans / t, ans ? lat[ans / 2] * 1e3 : 0,
           ans ? lat[(int)(ans * .99)] * 1e3 : 0);
    return 0;
}

static SSL_SESSION *sess;
static int want_resume;
static int exidx;

static int newcb(SSL *s, SSL_SESSION *x) {
    C *k = SSL_get_ex_data(s, exidx);
    if (k) k->done = 1;
    if (want_resume) {
        if (!sess) {
            sess = x;
            return 1;
        }
    }
    return 0;
}

static int full(int N, int conc, double maxs, int ver, int resume, int req) {
    SSL_CTX *ctx = mkctx(ver);
    exidx = SSL_get_ex_new_index(0, 0, 0, 0, 0);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, newcb);
    if (!resume && ver == 12) SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    want_resume = resume;
    const char *rq = req == 2 ? "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
                              : "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    char buf[65536];
    signal(SIGPIPE, SIG_IGN);
    // prime one session, blocking
    if (resume) {
        for (int tries = 0; tries < 5 && !sess; tries++) {
            int fd = conn_nb(1);
            SSL *s = SSL_new(ctx);
            C k0 = {0};
            SSL_set_ex_data(s, exidx, &k0);
            SSL_set_fd(s, fd);
            SSL_set_tlsext_host_name(s, "localhost");
            struct timeval tv = {3, 0};
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
            if (SSL_connect(s) == 1) {
                SSL_write(s, rq, strlen(rq));
                SSL_read(s, buf, sizeof buf);
                SSL_read(s, buf, sizeof buf);
            }
            SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
            SSL_free(s);
            close(fd);
        }
        if (!sess) {
            printf("nosession\n");
            return 1;
        }
    }
    int ep = epoll_create1(0);
    C *c = calloc(conc, sizeof *c);
    int opened = 0, ok = 0, fail = 0, live = 0, reused = 0;
    double t0 = now(), dl = t0 + maxs;
    struct epoll_event ev[256];
    double *lat = malloc(sizeof(double) * (N + 1));
    char cs[64] = "";
#define OPENF(k)                                                                                   \
    do {                                                                                           \
        if (opened < N && now() < dl) {                                                            \
            (k)->fd = conn_nb(0);                                                                  \
            opened++;                                                                              \
            (k)->st = 0;                                                                           \
            (k)->done = 0;                                                                         \
            (k)->got = 0;                                                                          \
            (k)->t0 = now();                                                                       \
            (k)->ssl = SSL_new(ctx);                                                               \
            SSL_set_ex_data((k)->ssl, exidx, (k));                                                 \
            SSL_set_fd((k)->ssl, (k)->fd);                                                         \
            SSL_set_tlsext_host_name((k)->ssl, "localhost");                                       \
            if (sess) {                                                                            \
                SSL_SESSION *d = SSL_SESSION_dup(sess);                                            \
                SSL_set_session((k)->ssl, d);                                                      \
                SSL_SESSION_free(d);                                                               \
            }                                                                                      \
            SSL_set_connect_state((k)->ssl);                                                       \
            live++;                                                                                \
            struct epoll_event e = {EPOLLOUT | EPOLLIN | EPOLLET, {.ptr = (k)}};                   \
            epoll_ctl(ep, EPOLL_CTL_ADD, (k)->fd, &e);                                             \
        }                                                                                          \
    } while (0)
    for (int i = 0; i < conc; i++) OPENF(&c[i]);
    while (live > 0 && now() < dl + 3) {
        int n = epoll_wait(ep, ev, 256, 500);
        for (int i = 0; i < n; i++) {
            C *k = ev[i].data.ptr;
            int fin = 0;
            if (k->st == 0) {
                int r = SSL_do_handshake(k->ssl);
                if (r == 1) {
                    k->lat = now() - k->t0;
                    if (SSL_session_reused(k->ssl)) reused++;
                    if (!cs[0])
                        snprintf(cs, 64, "%s/%s", SSL_get_version(k->ssl), SSL_get_cipher(k->ssl));
                    k->st = 1;
                    if (req) {
                        SSL_write(k->ssl, rq, strlen(rq));
                    } else if (ver == 12)
                        fin = 1;
                } else {
                    int e = SSL_get_error(k->ssl, r);
                    if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) {
                        if (fail == 0) ERR_print_errors_fp(stderr);
                        ERR_clear_error();
                        fin = 2;
                    }
                }
            }
            if (k->st == 1 && !fin) {
                for (;;) {
                    int r = SSL_read(k->ssl, buf, sizeof buf);
                    if (r > 0) {
                        k->got += r;
                        continue;
                    }
                    int e = SSL_get_error(k->ssl, r);
                    if (e == SSL_ERROR_WANT_READ) {
                        if (req == 0 && k->done) fin = 1;
                        if (req == 2 && k->got) fin = 1;
                        break;
                    }
                    fin = (req && k->got) || (!req && k->done) ? 1 : 2;
                    ERR_clear_error();
                    break;
                }
            }
            if (fin) {
                if (fin == 1)
                    lat[ok++] = k->lat;
                else
                    fail++;
                SSL_set_shutdown(k->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
                SSL_free(k->ssl);
                close(k->fd);
                live--;
                OPENF(k);
            }
        }
    }
    double t = now() - t0;
    qsort(lat, ok, sizeof *lat, cmpd);
    printf("ok=%d fail=%d reused=%d secs=%.3f rate=%.1f p50ms=%.2f p99ms=%.2f %s\n", ok, fail,
           reused, t, ok / t, ok ? lat[ok / 2] * 1e3 : 0, ok ? lat[(int)(ok * .99)] * 1e3 : 0, cs);
    return 0;
}

static int legit(double rate, double secs) {
    srcbase = 0x7f000102u;
    SSL_CTX *ctx = mkctx(13);
    double t0 = now(), nx = t0;
    int ok = 0, fail = 0;
    double *lat = malloc(sizeof(double) * 100000);
    signal(SIGPIPE, SIG_IGN);
    while (now() < t0 + secs) {
        double d = nx - now();
        if (d > 0) usleep(d * 1e6);
        nx += 1 / rate;
        if (nx < now()) nx = now();
        double a = now();
        int fd = conn_nb(1);
        if (fd < 0) {
            fail++;
            continue;
        }
        struct timeval tv = {5, 0};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
        SSL *s = SSL_new(ctx);
        SSL_set_fd(s, fd);
        SSL_set_tlsext_host_name(s, "localhost");
        const char *rq = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        char b[4096];
        if (SSL_connect(s) == 1 && (getenv("LG_NOREQ") || (SSL_write(s, rq, strlen(rq)) > 0 &&
                                                           SSL_read(s, b, sizeof b) > 0)))
            lat[ok++] = now() - a;
        else
            fail++;
        ERR_clear_error();
        SSL_set_shutdown(s, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(s);
        close(fd);
    }
    qsort(lat, ok, sizeof *lat, cmpd);
    printf("ok=%d fail=%d p50ms=%.2f p99ms=%.2f maxms=%.2f\n", ok, fail, ok ? lat[ok / 2] * 1e3 : 0,
           ok ? lat[(int)(ok * .99)] * 1e3 : 0, ok ? lat[ok - 1] * 1e3 : 0);
    return 0;
}

int main(int ac, char **av) {
    if (ac < 5) {
        fprintf(stderr, "usage\n");
        return 1;
    }
    struct rlimit rl = {60000, 60000};
    if (setrlimit(RLIMIT_NOFILE, &rl)) {
        struct rlimit g;
        getrlimit(RLIMIT_NOFILE, &g);
        g.rlim_cur = g.rlim_max;
        setrlimit(RLIMIT_NOFILE, &g);
    }
    dst.sin_family = AF_INET;
    dst.sin_port = htons(atoi(av[3]));
    inet_pton(AF_INET, av[2], &dst.sin_addr);
    if ((ntohl(dst.sin_addr.s_addr) >> 24) != 127) {
        fprintf(stderr, "loopback only\n");
        return 1;
    }
    if (!strcmp(av[1], "half")) return half(atoi(av[4]), atof(av[5]));
    if (!strcmp(av[1], "flood")) return flood(atoi(av[4]), atoi(av[5]), atof(av[6]));
    if (!strcmp(av[1], "full"))
        return full(atoi(av[4]), atoi(av[5]), atof(av[6]), atoi(av[7]), atoi(av[8]), atoi(av[9]));
    if (!strcmp(av[1], "legit")) return legit(atof(av[4]), atof(av[5]));
    return 1;
}
