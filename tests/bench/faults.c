/* A file system that fails when told to: preloaded, the n-th operation on files below a folder does not do
   what it should. Operations are those by which data get to disk and under their name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static int countdown = -1, fault, seen, forever;

/* Arm: fail the n-th operation from now (and all later ones if `all`) with errno `code`; code 0 is a short write. */
void faults_arm(const char *where, int n, int code, int all) {
  snprintf(folder, sizeof folder, "%s", where);
  countdown = n, fault = code, forever = all, seen = 0;
}
int faults_seen(void) { return seen; }

static int below(const char *path) { return folder[0] && path && strstr(path, folder) == path; }

static int below_fd(int fd) {
  char link[64], path[PATH_MAX];
  if (!folder[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return below(path);
}

static int fails(int relevant) {
  if (!relevant) return 0;
  seen++;
  if (countdown < 0) return 0;
  if (countdown > 0 && --countdown == 0) return 1;
  return forever && countdown == 0;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t n) {
  REAL(ssize_t, write, int, const void *, size_t);
  if (!fails(below_fd(fd))) return real(fd, data, n);
  if (n > 1) real(fd, data, n / 2); /* a full disk takes some of it */
  if (fault == 0) return n > 1 ? (ssize_t)(n / 2) : real(fd, data, n);
  errno = fault;
  return -1;
}
ssize_t writev(int fd, const struct iovec *parts, int n) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  if (!fails(below_fd(fd)) || fault == 0) return real(fd, parts, n);
  errno = fault;
  return -1;
}
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
  REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
  if (!fails(below_fd(fd)) || fault == 0) return real(fd, data, n, at);
  errno = fault;
  return -1;
}
int fsync(int fd) {
  REAL(int, fsync, int);
  if (!fails(below_fd(fd)) || fault == 0) return real(fd);
  errno = fault;
  return -1;
}
int rename(const char *from, const char *to) {
  REAL(int, rename, const char *, const char *);
  if (!fails(below(to)) || fault == 0) return real(from, to);
  errno = fault;
  return -1;
}
int mkdir(const char *path, mode_t mode) {
  REAL(int, mkdir, const char *, mode_t);
  if (!fails(below(path)) || fault == 0) return real(path, mode);
  errno = fault;
  return -1;
}
int truncate64(const char *path, off64_t size) {
  REAL(int, truncate64, const char *, off64_t);
  if (!fails(below(path)) || fault == 0) return real(path, size);
  errno = fault;
  return -1;
}
int truncate(const char *path, off_t size) {
  REAL(int, truncate, const char *, off_t);
  if (!fails(below(path)) || fault == 0) return real(path, size);
  errno = fault;
  return -1;
}
int open64(const char *path, int flags, ...) {
  REAL(int, open64, const char *, int, ...);
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  va_end(more);
  if (!(flags & O_CREAT) || !fails(below(path)) || fault == 0) return real(path, flags, mode);
  errno = fault;
  return -1;
}
