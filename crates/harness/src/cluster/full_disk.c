/* Simulates a full disk. A server loads this library before the C library. While the number in the
   file named by LAB_FULL_DISK is not 0, the library refuses every write that makes a regular file
   longer. See full_disk.rs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic int64_t never;
static _Atomic int64_t *is_full = &never;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_fallocate)(int, off_t, off_t);

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev");
    real_fallocate = dlsym(RTLD_NEXT, "posix_fallocate");
    const char *name = getenv("LAB_FULL_DISK");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) is_full = mapped;
}

/* Returns whether a write up to `end` would make this file longer while the disk is full. */
static int lacks_space(int file, off_t end) {
    struct stat found;
    return *is_full && fstat(file, &found) == 0 && S_ISREG(found.st_mode) && end > found.st_size;
}

static ssize_t no_space(void) {
    errno = ENOSPC;
    return -1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    /* The server can still write its log, so that the log shows what happened. */
    if (file > STDERR_FILENO && *is_full) {
        off_t at = lseek(file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
        if (at >= 0 && lacks_space(file, at + (off_t)length)) return no_space();
    }
    return real_write(file, bytes, length);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) {
    if (lacks_space(file, at + (off_t)length)) return no_space();
    return real_pwrite(file, bytes, length, at);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    off_t end = at;
    for (int i = 0; i < count; i++) end += (off_t)parts[i].iov_len;
    if (lacks_space(file, end)) return no_space();
    return real_pwritev(file, parts, count, at);
}

int posix_fallocate(int file, off_t at, off_t length) {
    if (lacks_space(file, at + length)) return ENOSPC;
    return real_fallocate(file, at, length);
}

/* Programs that are built for large files call the same functions by these names. */
ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at) {
    return pwrite(file, bytes, length, at);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off_t at) {
    return pwritev(file, parts, count, at);
}
int posix_fallocate64(int file, off_t at, off_t length) {
    return posix_fallocate(file, at, length);
}
