/* Preloaded into a process: its wall clock is set, and its disk becomes slow or stands still, while it runs.
 *
 * $WORLD_FILE holds two native 64-bit numbers, which the test changes at any time: nanoseconds that the wall clock is ahead,
 * and nanoseconds that each write and sync below the folder $WORLD_ROOT takes longer. The monotonic clock stays what it is,
 * as it does when a real clock is set.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define BILLION 1000000000LL
#define SLICE 5000000LL /* nanoseconds after which it is asked whether the disk is still slow */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const volatile int64_t *world;
static const char *root;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("WORLD_FILE");
    int fd = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *found = mmap(NULL, 2 * sizeof *world, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    root = getenv("WORLD_ROOT");
    if (found != MAP_FAILED) world = found;
}

static void shift(struct timespec *when, int64_t by) {
    int64_t total = (int64_t)when->tv_sec * BILLION + when->tv_nsec + by;
    when->tv_sec = total / BILLION;
    when->tv_nsec = total % BILLION;
}

int clock_gettime(clockid_t kind, struct timespec *when) {
    int result = (int)syscall(SYS_clock_gettime, kind, when);
    if (result == 0 && world != NULL && (kind == CLOCK_REALTIME || kind == CLOCK_REALTIME_COARSE)) shift(when, world[0]);
    return result;
}

int gettimeofday(struct timeval *when, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    when->tv_sec = now.tv_sec;
    when->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *when) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (when != NULL) *when = now.tv_sec;
    return now.tv_sec;
}

/* Waits until a moment of the wall clock: the kernel knows nothing of ours. */
int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    struct timespec real = *until;
    if (world != NULL) shift(&real, -world[0]);
    return REAL(sem_timedwait)(semaphore, &real);
}

static void drag(int fd) {
    char link[64], path[PATH_MAX];
    if (world == NULL || root == NULL || world[1] <= 0) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    if (strncmp(path, root, strlen(root)) != 0) return;
    struct timespec pause = {0, SLICE};
    for (int64_t waited = 0; waited < world[1]; waited += SLICE) nanosleep(&pause, NULL);
}

#define SLOW(kind, name, arguments, values) \
    kind name arguments {                   \
        drag(fd);                           \
        return REAL(name) values;           \
    }
SLOW(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
SLOW(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t place), (fd, data, size, place))
SLOW(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t place), (fd, data, size, place))
SLOW(int, fsync, (int fd), (fd))
SLOW(int, fdatasync, (int fd), (fd))
