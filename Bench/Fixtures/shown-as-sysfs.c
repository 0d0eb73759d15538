// To be loaded into a hook before the C library: its /sys/class/tpm, which is a tmpfs here, is said to be sysfs. A hook gives
// up at once where it is not, as it is hidden from a command of `vtpmctl run`.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

int fstatfs(int number, struct statfs *status) {
    int (*original)(int, struct statfs *) = (int (*)(int, struct statfs *))dlsym(RTLD_NEXT, "fstatfs");
    int result = original(number, status);
    if (result != 0 || status->f_type != TMPFS_MAGIC) return result;
    char link[40], path[40] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", number);
    if (readlink(link, path, sizeof path - 1) > 0 && strcmp(path, "/sys/class/tpm") == 0) status->f_type = SYSFS_MAGIC;
    return 0;
}
