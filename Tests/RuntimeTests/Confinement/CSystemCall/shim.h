// syscall(2) and dprintf(3), which are variadic, for a fixture that makes calls that the project's own modules have no names for.
#pragma once
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline long csystemcall(long number, long a, long b, long c, long d, long e, long f) {
    return syscall(number, a, b, c, d, e, f);
}

static inline int csystemprint(int descriptor, const char *text) { return dprintf(descriptor, "%s", text); }
