/* Preloaded into a process: writes down what it does to the files below the folder $TRACE_ROOT, in order, to $TRACE_FILE.
 *
 * Each entry is a line of words, of which a write's is followed by its bytes:
 *   open FD CREATED PATH | close FD | write FD OFFSET SIZE | cut FD SIZE | sync FD | rename OLD NEW | unlink PATH
 *   folder PATH
 * Paths are taken as they are given, so the process has to use absolute ones without blanks.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char watched[FILES];
static int trace = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void put(const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = REAL(write)(trace, data, size);
        if (done <= 0) abort();
        data += done;
        size -= (size_t)done;
    }
}

static void note(const void *data, size_t size, const char *form, ...) {
    char line[8192];
    va_list more;
    va_start(more, form);
    int length = vsnprintf(line, sizeof line, form, more);
    va_end(more);
    if (trace < 0) trace = REAL(open)(getenv("TRACE_FILE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    put(line, (size_t)length);
    if (size > 0) put(data, size);
}

static int below(const char *path) {
    const char *root = getenv("TRACE_ROOT");
    return root != NULL && strncmp(path, root, strlen(root)) == 0;
}

static int known(int fd) { return fd >= 0 && fd < FILES && watched[fd]; }

static int opened(const char *name, int folder, const char *path, int flags, mode_t mode) {
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, name);
    int watch = below(path) || (folder != AT_FDCWD && known(folder));
    if (!watch) return real(folder, path, flags, mode);
    pthread_mutex_lock(&lock);
    int created = access(path, F_OK) != 0;
    int fd = real(folder, path, flags, mode);
    if (fd >= 0 && fd < FILES) {
        watched[fd] = 1;
        note(NULL, 0, "open %d %d %s\n", fd, created, path);
        if (flags & O_TRUNC) note(NULL, 0, "cut %d 0\n", fd);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define OPEN(name, at)                                         \
    int name(const char *path, int flags, ...) {               \
        va_list more;                                          \
        va_start(more, flags);                                 \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                          \
        return opened(at, AT_FDCWD, path, flags, mode);        \
    }
OPEN(open, "openat")
OPEN(open64, "openat64")

#define OPENAT(name)                                           \
    int name(int folder, const char *path, int flags, ...) {   \
        va_list more;                                          \
        va_start(more, flags);                                 \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                          \
        return opened(#name, folder, path, flags, mode);       \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int fd) {
    if (!known(fd)) return REAL(close)(fd);
    pthread_mutex_lock(&lock);
    watched[fd] = 0;
    note(NULL, 0, "close %d\n", fd);
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    if (!known(fd)) return REAL(write)(fd, data, size);
    pthread_mutex_lock(&lock);
    off_t place = lseek(fd, 0, SEEK_CUR);
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0) note(data, (size_t)done, "write %d %lld %zd\n", fd, (long long)place, done);
    pthread_mutex_unlock(&lock);
    return done;
}

#define PWRITE(name, kind)                                                                          \
    ssize_t name(int fd, const void *data, size_t size, kind place) {                               \
        if (!known(fd)) return REAL(name)(fd, data, size, place);                                   \
        pthread_mutex_lock(&lock);                                                                  \
        ssize_t done = REAL(name)(fd, data, size, place);                                           \
        if (done > 0) note(data, (size_t)done, "write %d %lld %zd\n", fd, (long long)place, done);  \
        pthread_mutex_unlock(&lock);                                                                \
        return done;                                                                                \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define ON_FILE(name, arguments, values, ...)             \
    int name arguments {                                  \
        if (!known(fd)) return REAL(name) values;         \
        pthread_mutex_lock(&lock);                        \
        int result = REAL(name) values;                   \
        if (result == 0) note(NULL, 0, __VA_ARGS__);      \
        pthread_mutex_unlock(&lock);                      \
        return result;                                    \
    }
ON_FILE(ftruncate, (int fd, off_t size), (fd, size), "cut %d %lld\n", fd, (long long)size)
ON_FILE(ftruncate64, (int fd, off64_t size), (fd, size), "cut %d %lld\n", fd, (long long)size)
ON_FILE(fsync, (int fd), (fd), "sync %d\n", fd)
ON_FILE(fdatasync, (int fd), (fd), "sync %d\n", fd)

#define ON_NAME(name, arguments, values, ...)             \
    int name arguments {                                  \
        if (!below(path)) return REAL(name) values;       \
        pthread_mutex_lock(&lock);                        \
        int result = REAL(name) values;                   \
        if (result == 0) note(NULL, 0, __VA_ARGS__);      \
        pthread_mutex_unlock(&lock);                      \
        return result;                                    \
    }
ON_NAME(rename, (const char *path, const char *other), (path, other), "rename %s %s\n", path, other)
ON_NAME(unlink, (const char *path), (path), "unlink %s\n", path)
ON_NAME(mkdir, (const char *path, mode_t mode), (path, mode), "folder %s\n", path)
