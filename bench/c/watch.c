// N watchers of an event stream, and the least that can serve them.
// watch SOCKET N FIRES NEEDLE   Opens N streams, says "ready", then one line for each event that holds NEEDLE: microseconds
//                               from the first watcher that had it to the last, and from GO, a line on stdin, to the last.
// watch serve SOCKET            Streams to all who ask; whoever asks for /fire makes it write one event to each of them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_un at = {.sun_family = AF_UNIX};

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int serve(void) {
  static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hi\n\n";
  static char frame[400];
  int size = snprintf(frame, sizeof frame, "id: 1\nevent: credentials.changed\ndata: {\"pad\":\"%0250d\"}\n\n", 0);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0), streams[8192], count = 0;
  unlink(at.sun_path);
  if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) die("listen");
  for (;;) {
    char request[4096];
    int one = accept(listener, 0, 0);
    if (one < 0) die("accept");
    ssize_t got = read(one, request, sizeof request - 1);
    request[got > 0 ? got : 0] = 0;
    if (strncmp(request, "GET /fire", 9)) {
      if (write(one, head, sizeof head - 1) > 0 && count < 8192) streams[count++] = one;
      continue;
    }
    int kept = 0;
    for (int i = 0; i < count; i++) {
      if (write(streams[i], frame, size) == size) streams[kept++] = streams[i];
      else close(streams[i]);
    }
    count = kept;
    if (write(one, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38) < 0) die("answer");
    close(one);
  }
}

int main(int argc, char **argv) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_IGN);
  int serves = argc == 3 && !strcmp(argv[1], "serve");
  if (!serves && argc != 5) return 2;
  strncpy(at.sun_path, argv[serves ? 2 : 1], sizeof at.sun_path - 1);
  if (serves) return serve();
  int n = atoi(argv[2]), fires = atoi(argv[3]), ep = epoll_create1(0);
  static char buffer[65536];
  static const char ask[] = "GET /v1/events HTTP/1.1\r\nHost: authd\r\n\r\n";
  int *had = calloc(n, sizeof(int)), *fds = malloc(n * sizeof(int));
  for (int i = 0; i < n; i++) {
    fds[i] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fds[i], (void *)&at, sizeof at)) die("connect");
    if (write(fds[i], ask, sizeof ask - 1) < 0 || read(fds[i], buffer, sizeof buffer) <= 0) die("stream");
    fcntl(fds[i], F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &event);
  }
  puts("ready");
  fflush(stdout);
  for (int fire = 1; fire <= fires; fire++) {
    int count = 0;
    uint64_t first = 0, last = 0;
    if (!fgets(buffer, sizeof buffer, stdin)) return 1;
    uint64_t go = now(), limit = go + 10000000000ull;
    struct epoll_event events[512];
    while (count < n && now() < limit) {
      int ready = epoll_wait(ep, events, 512, 1000);
      for (int k = 0; k < ready; k++) {
        int i = events[k].data.u32;
        ssize_t got = read(fds[i], buffer, sizeof buffer - 1);
        if (got == 0) return 3;
        if (got < 0) continue;
        buffer[got] = 0;
        if (had[i] == fire || !strstr(buffer, argv[4])) continue;
        had[i] = fire;
        last = now();
        if (count++ == 0) first = last;
      }
    }
    if (count < n) fprintf(stderr, "only %d of %d\n", count, n);
    printf("%.1f %.1f\n", (last - first) / 1e3, (last - go) / 1e3);
    fflush(stdout);
  }
  return 0;
}
