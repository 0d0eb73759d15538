// The C library for Embedded Swift, which comes without the module Glibc: the headers that this project's modules use.
// Built without _GNU_SOURCE, as Swift's own module is, so that what CLinux declares is the same to both.
#pragma once

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What the importer cannot see: a macro, a variable that others can change, and functions with a variable number of arguments.
static inline int *cglibc_errno(void) { return &errno; }
static inline char *const *cglibc_environment(void) {
    extern char **environ;
    return environ;
}
static inline int cglibc_fcntl(int descriptor, int command, long value) { return fcntl(descriptor, command, value); }
static inline int cglibc_openat(int directory, const char *path, int flags, mode_t mode) {
    return openat(directory, path, flags, mode);
}
static inline int cglibc_ioctl(int descriptor, unsigned long request, void *value) {
    return ioctl(descriptor, request, value);
}
