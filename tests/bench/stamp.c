/* stamp FILE NUMBER SECONDS: sleep, then append a line to FILE: the parent's pid, NUMBER, and in nanoseconds since the epoch
   when this process began and when it ended. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(int argc, char **argv) {
    long long begun = now();
    if (argc != 4) return 2;
    double seconds = atof(argv[3]);
    struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&rest, NULL);
    int fd = open(argv[1], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return 1;
    char line[128];
    int length = snprintf(line, sizeof line, "%d %s %lld %lld\n", (int)getppid(), argv[2], begun, now());
    return write(fd, line, length) == length ? 0 : 1;
}
