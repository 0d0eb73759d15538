// syscall(2), which is variadic, for a fixture that makes calls that the project's own modules have no names for.
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

static inline long csystemcall(long number, long a, long b, long c, long d, long e, long f) {
    return syscall(number, a, b, c, d, e, f);
}
