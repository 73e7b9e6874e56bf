// A stand-in for the C library's calls on files: LD_PRELOAD puts it before the C library, and one chosen call fails.
//
//     FAIL_CALL   pread, read, open, stat, fsync or unlink
//     FAIL_FILE   end of the path of the file
//     FAIL_AT     number of the first call that fails, from 1 (default 1)
//     FAIL_COUNT  number of calls that fail (default 1)
//     FAIL_WITH   errno of the call; 0 for a read that returns no bytes; a signal with a minus before it (default 5, EIO)

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long calls;

static long setting(const char* name, long otherwise) {
  const char* value = getenv(name);
  return value ? atol(value) : otherwise;
}

// Returns whether this call on this path fails, and sets errno.
static int fails(const char* call, const char* path) {
  const char *chosen = getenv("FAIL_CALL"), *file = getenv("FAIL_FILE");
  if (!chosen || !file || strcmp(chosen, call)) return 0;
  size_t length = strlen(path), end = strlen(file);
  if (length < end || strcmp(path + length - end, file)) return 0;
  long call_number = atomic_fetch_add(&calls, 1) + 1, first = setting("FAIL_AT", 1);
  if (call_number < first || call_number >= first + setting("FAIL_COUNT", 1)) return 0;
  errno = (int)setting("FAIL_WITH", EIO);
  if (errno < 0) raise(-errno);
  return 1;
}

static int fails_at(const char* call, int file) {
  char link[32], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pread64(int file, void* bytes, size_t count, off64_t offset) {
  if (fails_at("pread", file)) return errno ? -1 : 0;
  return NEXT(pread64)(file, bytes, count, offset);
}

ssize_t read(int file, void* bytes, size_t count) {
  if (fails_at("read", file)) return errno ? -1 : 0;
  return NEXT(read)(file, bytes, count);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
  va_end(more);
  return fails("open", path) ? -1 : NEXT(open64)(path, flags, mode);
}

int statx(int folder, const char* path, int flags, unsigned mask, struct statx* into) {
  int is_file = path && *path;
  if (is_file ? fails("stat", path) : fails_at("stat", folder)) return -1;
  return NEXT(statx)(folder, path, flags, mask, into);
}

int fsync(int file) { return fails_at("fsync", file) ? -1 : NEXT(fsync)(file); }

int unlink(const char* path) { return fails("unlink", path) ? -1 : NEXT(unlink)(path); }
