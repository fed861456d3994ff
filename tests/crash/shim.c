/* Kills a server at a chosen call that changes the files of its data folder; loaded into every process of it.
 *
 *     cc -shared -fPIC -O2 -o shim.so shim.c -ldl
 *     LD_PRELOAD=shim.so CRASH_CONTROL=<file> CRASH_DATA=<data folder, absolute> reddb serve ...
 *
 * The control file is mapped by every process and by the driver; tests/crash/sweep_control.py has the same layout. Each
 * call on a regular file, a folder or a name below the data folder takes the next number, over all processes, and the
 * next number of its cell: what kind of call it is, and on which kind of file. When the number that the driver chose
 * comes up, the call is not made, or only the first half of the bytes is written, or it is made; then SIGKILL goes to
 * the process group (the whole server), or to this process alone.
 *
 * Only calls that change files are counted, for a death between two of them leaves the same files as one right before
 * the second. Creating a file or a folder needs no number for that reason: a call that is counted follows. What the C
 * library writes from its own buffers (faiss's graphs) is counted at fwrite. Shared memory is a memfd, which ends with
 * the server, so stores into it leave nothing to find.
 *
 * A shim can also lie, so that the driver can be shown to notice: see enum lie.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { WRITE, SYNC, SYNC_FOLDER, RENAME, REMOVE, REMOVE_FOLDER, TRUNCATE, ALLOCATE, KINDS };
enum target { LOG, MANIFEST, SEGMENT, CATALOG, OTHER, TARGETS };
enum moment { BEFORE, MIDDLE, AFTER };
enum victim { EVERYONE, MYSELF };
enum role { SUPERVISOR, CORE, BUILDER };
enum lie { HONEST, TORN_LOG, NO_RENAME, NO_CATALOG };

#define CELLS (KINDS * TARGETS)
#define ANY_CELL (-1)
#define NEXT (-1)
#define TORN_BYTES 24

struct control {
    int32_t cell; /* that strike_at counts in, or ANY_CELL */
    int32_t moment;
    int32_t victim;
    int32_t lie;
    int64_t strike_at; /* 0: never, NEXT: at once */
    _Atomic int64_t taken; /* by the call that is due; it may take a while until it has struck */
    _Atomic int64_t calls;
    _Atomic int64_t struck; /* 1 + cell, 0 while nothing was struck */
    _Atomic int64_t role; /* of the process that made the call that was struck */
    _Atomic int64_t pid;  /* and its number */
    _Atomic int64_t lies;
    _Atomic int64_t by_cell[CELLS];
};

static struct control *control;
static const char *data;
static size_t data_length;
static enum role role;

/* By the words of the command line, which end with a 0 each. */
static enum role my_role(void) {
    char words[PATH_MAX];
    int descriptor = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(descriptor, words, sizeof words);
    close(descriptor);
    if (length > 0 && memmem(words, (size_t)length, "reddb.server.core", 18))
        return CORE;
    if (length > 0 && memmem(words, (size_t)length, "reddb.server.builder", 21))
        return BUILDER;
    return SUPERVISOR;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CRASH_CONTROL");
    data = getenv("CRASH_DATA");
    if (path == NULL || data == NULL)
        return;
    data_length = strlen(data);
    role = my_role();
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    close(descriptor);
    if (mapped != MAP_FAILED)
        control = mapped;
}

/* --- what a call is about -------------------------------------------------------------------------------- */

static int is_ours(const char *path) {
    return strncmp(path, data, data_length) == 0 && (path[data_length] == '/' || path[data_length] == 0);
}

static enum target target_of(const char *path) {
    const char *inside = path + data_length;
    if (strstr(inside, "/wal"))
        return LOG;
    if (strstr(inside, "/MANIFEST"))
        return MANIFEST;
    if (strstr(inside, "/segments"))
        return SEGMENT;
    if (strstr(inside, "/catalog"))
        return CATALOG;
    return OTHER;
}

static int path_of(int descriptor, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

/* A cell, or -1 for a descriptor that is of no interest. */
static int cell_of_descriptor(enum kind kind, int descriptor) {
    char path[PATH_MAX];
    struct stat status;
    int saved = errno, cell = -1;
    if (control != NULL && fstat(descriptor, &status) == 0) {
        int is_folder = S_ISDIR(status.st_mode);
        if ((is_folder || S_ISREG(status.st_mode)) && path_of(descriptor, path) && is_ours(path))
            cell = (is_folder && kind == SYNC ? SYNC_FOLDER : kind) * TARGETS + target_of(path);
    }
    errno = saved;
    return cell;
}

static int cell_of_path(enum kind kind, int folder, const char *name) {
    char path[2 * PATH_MAX];
    int saved = errno, cell = -1;
    if (control == NULL)
        return -1;
    if (name[0] == '/')
        snprintf(path, sizeof path, "%s", name);
    else if (folder != AT_FDCWD && path_of(folder, path))
        snprintf(path + strlen(path), sizeof path - strlen(path), "/%s", name);
    else
        path[0] = 0;
    if (is_ours(path))
        cell = kind * TARGETS + target_of(path);
    errno = saved;
    return cell;
}

/* --- the strike ------------------------------------------------------------------------------------------ */

/* Count the call; whether it is the one. */
static int is_due(int cell) {
    if (cell < 0)
        return 0;
    int64_t all = atomic_fetch_add(&control->calls, 1) + 1;
    int64_t in_cell = atomic_fetch_add(&control->by_cell[cell], 1) + 1;
    int64_t strike_at = control->strike_at;
    int64_t number = control->cell == ANY_CELL ? all : control->cell == cell ? in_cell : 0;
    return strike_at != 0 && (strike_at == NEXT || strike_at == number) && !atomic_exchange(&control->taken, 1);
}

static void strike(int cell) {
    atomic_store(&control->role, role);
    atomic_store(&control->pid, getpid());
    atomic_store(&control->struck, 1 + cell);
    kill(control->victim == EVERYONE ? 0 : getpid(), SIGKILL);
    for (;;)
        pause();
}

static int lies(enum lie lie, int cell, enum target target) {
    if (cell < 0 || control->lie != (int)lie || cell % TARGETS != (int)target)
        return 0;
    atomic_fetch_add(&control->lies, 1);
    return 1;
}

#define REAL(result, name, ...)                                                                                       \
    static result (*real)(__VA_ARGS__);                                                                               \
    if (real == NULL)                                                                                                 \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

/* Make the call with the strike around it; `half` is made instead of it if death comes in the middle. */
#define COUNTED(result, cell, call, half)                                                                             \
    do {                                                                                                              \
        int the_cell = (cell);                                                                                        \
        if (!is_due(the_cell))                                                                                        \
            return (call);                                                                                            \
        if (control->moment == MIDDLE) {                                                                              \
            half;                                                                                                     \
        }                                                                                                             \
        if (control->moment == AFTER) {                                                                               \
            result ignored = (call);                                                                                  \
            (void)ignored;                                                                                            \
        }                                                                                                             \
        strike(the_cell);                                                                                             \
        __builtin_unreachable();                                                                                      \
    } while (0)

#define NO_HALF (void)0

/* --- writes ---------------------------------------------------------------------------------------------- */

ssize_t write(int descriptor, const void *bytes, size_t count) {
    REAL(ssize_t, "write", int, const void *, size_t);
    int cell = cell_of_descriptor(WRITE, descriptor);
    if (lies(NO_CATALOG, cell, CATALOG))
        return (ssize_t)count;
    COUNTED(ssize_t, cell, real(descriptor, bytes, count), (void)!real(descriptor, bytes, count / 2));
}

static ssize_t counted_pwrite(ssize_t (*real)(int, const void *, size_t, off64_t), int descriptor, const void *bytes,
                              size_t count, off64_t offset) {
    int cell = cell_of_descriptor(WRITE, descriptor);
    if (lies(NO_CATALOG, cell, CATALOG))
        return (ssize_t)count;
    COUNTED(ssize_t, cell, real(descriptor, bytes, count, offset), (void)!real(descriptor, bytes, count / 2, offset));
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off64_t);
    return counted_pwrite(real, descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return counted_pwrite(real, descriptor, bytes, count, offset);
}

/* Write the first `count` bytes of the parts, at the file's own position if the offset is negative. */
static void write_some(int descriptor, const struct iovec *parts, int number, size_t count, off64_t offset) {
    for (int part = 0; part < number && count > 0; part++) {
        struct iovec piece = {parts[part].iov_base, parts[part].iov_len < count ? parts[part].iov_len : count};
        static ssize_t (*real)(int, const struct iovec *, int, off64_t, int);
        if (real == NULL)
            real = (ssize_t(*)(int, const struct iovec *, int, off64_t, int))dlsym(RTLD_NEXT, "pwritev64v2");
        if (piece.iov_len > 0 && real(descriptor, &piece, 1, offset, 0) != (ssize_t)piece.iov_len)
            return;
        count -= piece.iov_len;
        offset += offset < 0 ? 0 : (off64_t)piece.iov_len;
    }
}

static size_t bytes_of(const struct iovec *parts, int number) {
    size_t bytes = 0;
    for (int part = 0; part < number; part++)
        bytes += parts[part].iov_len;
    return bytes;
}

/* `call` writes all parts; the offset is -1 where it has none. */
#define COUNTED_PARTS(call, offset)                                                                                   \
    do {                                                                                                              \
        int parts_cell = cell_of_descriptor(WRITE, descriptor);                                                       \
        size_t bytes = parts_cell < 0 ? 0 : bytes_of(parts, number);                                                  \
        if (bytes > 2 * TORN_BYTES && lies(TORN_LOG, parts_cell, LOG)) {                                              \
            write_some(descriptor, parts, number, bytes - TORN_BYTES, offset);                                        \
            return (ssize_t)bytes;                                                                                    \
        }                                                                                                             \
        COUNTED(ssize_t, parts_cell, call, write_some(descriptor, parts, number, bytes / 2, offset));                 \
    } while (0)

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    COUNTED_PARTS(real(descriptor, parts, number), -1);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int number, off_t offset) {
    REAL(ssize_t, "pwritev", int, const struct iovec *, int, off_t);
    COUNTED_PARTS(real(descriptor, parts, number, offset), offset);
}

ssize_t pwritev64(int descriptor, const struct iovec *parts, int number, off64_t offset) {
    REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
    COUNTED_PARTS(real(descriptor, parts, number, offset), offset);
}

ssize_t pwritev2(int descriptor, const struct iovec *parts, int number, off_t offset, int flags) {
    REAL(ssize_t, "pwritev2", int, const struct iovec *, int, off_t, int);
    COUNTED_PARTS(real(descriptor, parts, number, offset, flags), offset);
}

ssize_t pwritev64v2(int descriptor, const struct iovec *parts, int number, off64_t offset, int flags) {
    REAL(ssize_t, "pwritev64v2", int, const struct iovec *, int, off64_t, int);
    COUNTED_PARTS(real(descriptor, parts, number, offset, flags), offset);
}

/* The stream is emptied around a strike, so that the file holds what a system call would have left. */
size_t fwrite(const void *bytes, size_t size, size_t number, FILE *stream) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    int cell = cell_of_descriptor(WRITE, fileno(stream));
    if (!is_due(cell))
        return real(bytes, size, number, stream);
    size_t some = control->moment == BEFORE ? 0 : control->moment == MIDDLE ? size * number / 2 : size * number;
    real(bytes, 1, some, stream);
    fflush(stream);
    strike(cell);
    return 0;
}

/* --- syncs, sizes, names --------------------------------------------------------------------------------- */

int fdatasync(int descriptor) {
    REAL(int, "fdatasync", int);
    COUNTED(int, cell_of_descriptor(SYNC, descriptor), real(descriptor), NO_HALF);
}

int fsync(int descriptor) {
    REAL(int, "fsync", int);
    COUNTED(int, cell_of_descriptor(SYNC, descriptor), real(descriptor), NO_HALF);
}

int ftruncate(int descriptor, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    COUNTED(int, cell_of_descriptor(TRUNCATE, descriptor), real(descriptor, size), NO_HALF);
}

int ftruncate64(int descriptor, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    COUNTED(int, cell_of_descriptor(TRUNCATE, descriptor), real(descriptor, size), NO_HALF);
}

int posix_fallocate(int descriptor, off_t offset, off_t size) {
    REAL(int, "posix_fallocate", int, off_t, off_t);
    COUNTED(int, cell_of_descriptor(ALLOCATE, descriptor), real(descriptor, offset, size), NO_HALF);
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t size) {
    REAL(int, "posix_fallocate64", int, off64_t, off64_t);
    COUNTED(int, cell_of_descriptor(ALLOCATE, descriptor), real(descriptor, offset, size), NO_HALF);
}

int rename(const char *old, const char *new) {
    REAL(int, "rename", const char *, const char *);
    int cell = cell_of_path(RENAME, AT_FDCWD, new);
    if (lies(NO_RENAME, cell, MANIFEST))
        return 0;
    COUNTED(int, cell, real(old, new), NO_HALF);
}

int renameat(int old_folder, const char *old, int new_folder, const char *new) {
    REAL(int, "renameat", int, const char *, int, const char *);
    int cell = cell_of_path(RENAME, new_folder, new);
    if (lies(NO_RENAME, cell, MANIFEST))
        return 0;
    COUNTED(int, cell, real(old_folder, old, new_folder, new), NO_HALF);
}

int renameat2(int old_folder, const char *old, int new_folder, const char *new, unsigned flags) {
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned);
    COUNTED(int, cell_of_path(RENAME, new_folder, new), real(old_folder, old, new_folder, new, flags), NO_HALF);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    COUNTED(int, cell_of_path(REMOVE, AT_FDCWD, path), real(path), NO_HALF);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    enum kind kind = flags & AT_REMOVEDIR ? REMOVE_FOLDER : REMOVE;
    COUNTED(int, cell_of_path(kind, folder, path), real(folder, path, flags), NO_HALF);
}

int rmdir(const char *path) {
    REAL(int, "rmdir", const char *);
    COUNTED(int, cell_of_path(REMOVE_FOLDER, AT_FDCWD, path), real(path), NO_HALF);
}
