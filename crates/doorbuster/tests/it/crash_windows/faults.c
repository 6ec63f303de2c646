/* Faults that a test injects into a running server. The server loads this library before the C
 * library. The library steps the wall clock, makes syncs slow, makes syncs, reads or writes fail,
 * and makes the disk full. It also counts file locks. The test sets the faults in a page of memory
 * that the test and the server share; see faults.rs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LOADED, WALL_AHEAD_MS, SYNC_DELAY_MS, SYNC_FAILS_ONCE, SYNCS_DONE, SYNCS_FAILED, SYNCS_AFTER, SYNC_LINGER_MS, LOG_SYNCED,
    LOCKS, DISK_FULL, MAIN_SYNC_FAILS_ONCE, MAIN_SYNCS_FAILED, MAIN_SYNCS_AFTER, WRITES_FAIL, READS_FAIL, WORDS
};

static _Atomic int64_t nothing[WORDS];
static _Atomic int64_t *page = nothing;
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_fcntl)(int, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_pread64)(int, void *, size_t, off64_t);

__attribute__((constructor)) static void begin(void) {
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_fcntl = dlsym(RTLD_NEXT, "fcntl64");
    if (!real_fcntl) real_fcntl = dlsym(RTLD_NEXT, "fcntl");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    real_read = dlsym(RTLD_NEXT, "read");
    real_pread64 = dlsym(RTLD_NEXT, "pread64");
    const char *name = getenv("FAULTS");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, WORDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) return;
    page = mapped;
    page[LOADED] = 1;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int outcome = real_clock_gettime(clock, time);
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ahead = page[WALL_AHEAD_MS];
        time->tv_sec += ahead / 1000;
        time->tv_nsec += ahead % 1000 * 1000000;
        if (time->tv_nsec >= 1000000000) { time->tv_sec++; time->tv_nsec -= 1000000000; }
        if (time->tv_nsec < 0) { time->tv_sec--; time->tv_nsec += 1000000000; }
    }
    return outcome;
}

static void pause_ms(int64_t ms) {
    struct timespec pause = { ms / 1000, ms % 1000 * 1000000 };
    if (ms > 0) nanosleep(&pause, NULL);
}

/* Waits for the time that the shared page contains. The test may shorten this time to end the
 * delay of a sync. */
static void pause_by(int word) {
    struct timespec begun, now;
    real_clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        real_clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t waited = (now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000;
        int64_t left = page[word] - waited;
        if (left <= 0) return;
        pause_ms(left < 2 ? left : 2);
    }
}

static int is_named(int file, const char *end) {
    char link[64], name[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, sizeof name), most = strlen(end);
    return length > most && memcmp(name + length - most, end, most) == 0;
}

static int is_log(int file) { return is_named(file, "-wal"); }
static int is_main(int file) { return is_named(file, ".sqlite3"); }

/* Returns true if this fault is set and the file belongs to the store. */
static int fails(int word, int file) { return page[word] && (is_log(file) || is_main(file)); }

/* On a full disk, the bytes of a store file can be overwritten, but the file cannot grow. */
static int has_no_space(int file, off64_t from, size_t bytes) {
    struct stat now;
    if (!fails(DISK_FULL, file)) return 0;
    return fstat(file, &now) == 0 && from + (off64_t)bytes > now.st_size;
}

ssize_t write(int file, const void *from, size_t bytes) {
    if (!real_write) real_write = dlsym(RTLD_NEXT, "write");
    if (fails(WRITES_FAIL, file)) {
        errno = EIO;
        return -1;
    }
    if (page[DISK_FULL] && has_no_space(file, lseek(file, 0, SEEK_CUR), bytes)) {
        errno = ENOSPC;
        return -1;
    }
    return real_write(file, from, bytes);
}

ssize_t pwrite64(int file, const void *from, size_t bytes, off64_t at) {
    if (!real_pwrite64) real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    if (fails(WRITES_FAIL, file)) {
        errno = EIO;
        return -1;
    }
    if (has_no_space(file, at, bytes)) {
        errno = ENOSPC;
        return -1;
    }
    return real_pwrite64(file, from, bytes, at);
}

ssize_t pwrite(int file, const void *from, size_t bytes, off_t at) { return pwrite64(file, from, bytes, at); }

ssize_t read(int file, void *into, size_t bytes) {
    if (!real_read) real_read = dlsym(RTLD_NEXT, "read");
    if (fails(READS_FAIL, file)) {
        errno = EIO;
        return -1;
    }
    return real_read(file, into, bytes);
}

ssize_t pread64(int file, void *into, size_t bytes, off64_t at) {
    if (!real_pread64) real_pread64 = dlsym(RTLD_NEXT, "pread64");
    if (fails(READS_FAIL, file)) {
        errno = EIO;
        return -1;
    }
    return real_pread64(file, into, bytes, at);
}

ssize_t pread(int file, void *into, size_t bytes, off_t at) { return pread64(file, into, bytes, at); }

/* Returns whether this sync of the store's main file must fail. Also counts each sync that comes
 * after a failed sync. The count includes a sync whose delay has not ended. */
static int main_sync_fails(void) {
    if (page[MAIN_SYNCS_FAILED] > 0) page[MAIN_SYNCS_AFTER]++;
    if (!page[MAIN_SYNC_FAILS_ONCE]) return 0;
    page[MAIN_SYNC_FAILS_ONCE] = 0;
    return 1;
}

static int sync_file(int (*real)(int), int file) {
    struct stat now;
    int64_t bytes = fstat(file, &now) == 0 ? now.st_size : 0;
    int main_fails = is_main(file) && main_sync_fails();
    pause_by(SYNC_DELAY_MS);
    if (main_fails) {
        page[MAIN_SYNCS_FAILED]++;
        errno = EIO;
        return -1;
    }
    if (page[SYNCS_FAILED] > 0) page[SYNCS_AFTER]++;
    /* A kernel reports the error once. The next sync succeeds, but without the lost pages. */
    if (page[SYNC_FAILS_ONCE]) {
        page[SYNC_FAILS_ONCE] = 0;
        page[SYNCS_FAILED]++;
        errno = EIO;
        return -1;
    }
    int outcome = real(file);
    if (outcome == 0 && is_log(file)) page[LOG_SYNCED] = bytes;
    if (outcome == 0) page[SYNCS_DONE]++;
    pause_by(SYNC_LINGER_MS);
    return outcome;
}

int fsync(int file) { return sync_file(real_fsync, file); }
int fdatasync(int file) { return sync_file(real_fdatasync, file); }

/* SQLite locks a file before each read or write, so the number of locks shows reads and writes. */
static int control(int file, int command, void *with) {
    if (!real_fcntl) real_fcntl = dlsym(RTLD_NEXT, "fcntl64");
    if (!real_fcntl) real_fcntl = dlsym(RTLD_NEXT, "fcntl");
    if (command == F_SETLK) page[LOCKS]++;
    return real_fcntl(file, command, with);
}

int fcntl(int file, int command, ...) {
    va_list list;
    va_start(list, command);
    void *with = va_arg(list, void *);
    va_end(list);
    return control(file, command, with);
}

int fcntl64(int file, int command, ...) {
    va_list list;
    va_start(list, command);
    void *with = va_arg(list, void *);
    va_end(list);
    return control(file, command, with);
}
