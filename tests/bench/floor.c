/* floor COUNT SLOTS COMMAND: run COMMAND COUNT times, SLOTS at once, with nothing but posix_spawn and waitpid.
   What no tool that starts processes can beat. Exit 1 if one of them failed. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: floor COUNT SLOTS COMMAND [ARGUMENT...]\n");
        return 2;
    }
    long left = atol(argv[1]), slots = atol(argv[2]), running = 0;
    int failed = 0;
    while (left > 0 || running > 0) {
        if (left > 0 && running < slots) {
            pid_t pid;
            int error = posix_spawn(&pid, argv[3], NULL, NULL, argv + 3, environ);
            if (error) {
                fprintf(stderr, "floor: %s: %s\n", argv[3], strerror(error));
                return 1;
            }
            left--;
            running++;
            continue;
        }
        int status;
        if (waitpid(-1, &status, 0) < 0) {
            if (errno == EINTR) continue;
            perror("floor: waitpid");
            return 1;
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failed = 1;
        running--;
    }
    return failed;
}
