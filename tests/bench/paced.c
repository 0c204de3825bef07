// paced: established TLS connections that ask at an even pace (loopback only).
//
//   paced PORT CONNECTIONS PER_SECOND
//
// Prints "established" when all are; then measures for as many seconds as each line of standard
// input says, and prints a line of numbers; the end of the input ends it. Each connection has a
// thread and asks its share of PER_SECOND. Latency counts from the moment that a request was due,
// so that a server which stalls pays for every request that it held up.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char REQUEST[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

// One connection, and what it saw while it was measured.
struct client {
    SSL *ssl;
    double first_due, interval, until;
    double *latencies;
    int done, failed;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void wait_until(double due) {
    double left = due - now();
    if (left <= 0)
        return;
    struct timespec t = {(time_t)left, (long)((left - (time_t)left) * 1e9)};
    nanosleep(&t, NULL);
}

static SSL *connected(SSL_CTX *context, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct timeval patience = {10, 0};
    int one = 1, descriptor = socket(AF_INET, SOCK_STREAM, 0);
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    inet_pton(AF_INET, "127.0.2.2", &source.sin_addr);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (bind(descriptor, (void *)&source, sizeof source) ||
        connect(descriptor, (void *)&address, sizeof address))
        return NULL;
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, descriptor);
    SSL_set_tlsext_host_name(ssl, "localhost");
    return SSL_connect(ssl) == 1 ? ssl : NULL;
}

static int asked(SSL *ssl) {
    char answer[4096];
    return SSL_write(ssl, REQUEST, sizeof REQUEST - 1) > 0 &&
           SSL_read(ssl, answer, sizeof answer) > 0;
}

static void *ask_in_time(void *argument) {
    struct client *client = argument;
    for (double due = client->first_due; due < client->until; due += client->interval) {
        wait_until(due);
        if (!asked(client->ssl)) {
            client->failed++;
            break;
        }
        client->latencies[client->done++] = now() - due;
    }
    return NULL;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct client *clients, int count, double per_second, double seconds) {
    double interval = count / per_second, began = now();
    int each = (int)(seconds / interval) + 2, done = 0, failed = 0;
    double *latencies = calloc((size_t)each * count, sizeof *latencies);
    pthread_t threads[count];
    for (int i = 0; i < count; i++) {
        struct client *one = &clients[i];
        one->first_due = began + i / per_second;
        one->interval = interval;
        one->until = began + seconds;
        one->latencies = calloc(each, sizeof *latencies);
        one->done = one->failed = 0;
        pthread_create(&threads[i], NULL, ask_in_time, one);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        memcpy(latencies + done, clients[i].latencies, clients[i].done * sizeof *latencies);
        done += clients[i].done;
        failed += clients[i].failed;
        free(clients[i].latencies);
    }
    qsort(latencies, done, sizeof *latencies, ascending);
    printf("ok=%d fail=%d p50ms=%.3f p99ms=%.3f\n", done, failed,
           done ? latencies[done / 2] * 1e3 : 0, done ? latencies[(int)(done * .99)] * 1e3 : 0);
    free(latencies);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: paced PORT CONNECTIONS PER_SECOND\n");
        return 2;
    }
    int count = atoi(argv[2]);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    struct client *clients = calloc(count, sizeof *clients);
    char line[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 0; i < count; i++) {
        clients[i].ssl = connected(context, atoi(argv[1]));
        if (!clients[i].ssl || !asked(clients[i].ssl)) {
            printf("refused\n");
            return 1;
        }
    }
    printf("established\n");
    while (fgets(line, sizeof line, stdin))
        measure(clients, count, atof(argv[3]), atof(line));
    return 0;
}
