// Stands in for the kernel's vTPM proxy while a hook runs, so that the hook can be measured where there is none.
//
//     hook-without-kernel RECORD HOOK ARGUMENT...
//
// Runs the hook as it is. Its VTPM_PROXY_IOC_NEW_DEV on whatever is at /dev/vtpmx is answered with one end of a socket
// pair (seccomp_unotify(2)), and the device is there in /sys/class, which must be a tmpfs, when the call returns;
// shown-as-sysfs.so, which lies beside this program, has the hook take it for sysfs. The other end stays open for as
// long as supervisor or worker keep theirs. A line with what it took, in nanoseconds, is appended to RECORD: until the
// hook asked for the device (0 where it did not), from the answer to the hook's end, and the whole.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vtpm_proxy.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    fprintf(stderr, "hook-without-kernel: cannot %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void have_sysfs_shown(void) {
    char path[4096];
    ssize_t count = readlink("/proc/self/exe", path, sizeof path);
    static const char name[] = "shown-as-sysfs.so";
    if (count < 0 || count + sizeof name > sizeof path) fail("find this program");
    while (count > 0 && path[count - 1] != '/') count--;
    strcpy(path + count, name);
    if (access(path, R_OK) != 0 || setenv("LD_PRELOAD", path, 1) != 0) fail("find shown-as-sysfs.so");
}

static int listen_for_ioctl(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VTPM_PROXY_IOC_NEW_DEV, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) fail("watch the hook (seccomp)");
    return listener;
}

static void write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0 || write(file, text, strlen(text)) < 0) fail("write below /sys/class");
    close(file);
}

static char directories[2][64];

// What the kernel does when it has registered the TPM.
static void show_in_sysfs(uint32_t number) {
    static const char *const classes[] = {"tpm", "tpmrm"};
    for (int i = 0; i < 2; i++) {
        char path[80], text[32];
        snprintf(directories[i], sizeof directories[i], "/sys/class/%s/%s%u", classes[i], classes[i], number);
        if (mkdir(directories[i], 0755) != 0 && errno != EEXIST) fail("make a directory below /sys/class");
        snprintf(path, sizeof path, "%s/dev", directories[i]);
        snprintf(text, sizeof text, "254:%u\n", number + (i == 1 ? 65536 : 0));
        write_file(path, text);
    }
}

// Answers the ioctl; returns our end of the device.
static int answer(int listener, uint64_t *asked, uint64_t *answered) {
    struct seccomp_notif request;
    struct seccomp_notif_resp response;
    memset(&request, 0, sizeof request);
    memset(&response, 0, sizeof response);
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) return -1;
    *asked = now();
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("make a device");
    uint32_t number = request.pid % 30000 + 1;
    show_in_sysfs(number);
    struct seccomp_notif_addfd given = {.id = request.id, .srcfd = (uint32_t)ends[0]};
    int theirs = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &given);
    if (theirs < 0) fail("hand the device over");
    struct vtpm_proxy_new_dev device = {
        .flags = VTPM_PROXY_FLAG_TPM2, .tpm_num = number, .fd = (uint32_t)theirs, .major = 254, .minor = number};
    struct iovec from = {&device, sizeof device};
    struct iovec to = {(void *)(uintptr_t)request.data.args[2], sizeof device};
    if (process_vm_writev((pid_t)request.pid, &from, 1, &to, 1, 0) != sizeof device) fail("tell the hook of the device");
    response.id = request.id;
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) != 0) fail("answer the hook");
    close(ends[0]);
    *answered = now();
    return ends[1];
}

// Keeps our end until supervisor and worker are gone, in a process that nobody waits for.
static void hold(int device) {
    if (fork() != 0) return;
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++) dup2(null, i);
    struct pollfd end = {.fd = device, .events = 0};
    while (poll(&end, 1, -1) < 0 && errno == EINTR) {}
    for (int i = 0; i < 2; i++) {
        char path[80];
        snprintf(path, sizeof path, "%s/dev", directories[i]);
        unlink(path);
        rmdir(directories[i]);
    }
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: hook-without-kernel RECORD HOOK ARGUMENT...\n");
        return 2;
    }
    // The child tells when it started, and the number of its listener.
    struct shared {
        volatile uint64_t start;
        volatile int listener;
    } *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int gate[2];
    if (shared == MAP_FAILED || pipe2(gate, O_CLOEXEC) != 0) fail("start");
    int resume[2];
    if (pipe2(resume, O_CLOEXEC) != 0) fail("start");
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        have_sysfs_shown();
        shared->listener = listen_for_ioctl();
        char byte = 0;
        if (write(gate[1], &byte, 1) != 1 || read(resume[0], &byte, 1) != 1) _exit(1);
        shared->start = now();
        execv(argv[2], argv + 2);
        fail("run the hook");
    }
    char byte = 0;
    close(gate[1]);
    if (read(gate[0], &byte, 1) != 1) fail("watch the hook");
    int process = (int)syscall(SYS_pidfd_open, child, 0);
    int listener = (int)syscall(SYS_pidfd_getfd, process, shared->listener, 0);
    if (process < 0 || listener < 0) fail("watch the hook (pidfd_getfd)");
    if (write(resume[1], &byte, 1) != 1) fail("start the hook");

    uint64_t asked = 0, answered = 0;
    int device = -1;
    for (;;) {
        struct pollfd set[2] = {{.fd = process, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
        if (poll(set, 2, -1) < 0 && errno != EINTR) fail("wait for the hook");
        if (set[1].revents & POLLIN) device = answer(listener, &asked, &answered);
        if (set[0].revents & POLLIN) break;
    }
    uint64_t end = now();
    int status = 0;
    waitpid(child, &status, 0);
    if (device >= 0) hold(device);

    char line[200];
    int result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    int length = snprintf(line, sizeof line, "%s %d %llu %llu %llu\n", argc > 3 ? argv[3] : "-", result,
        (unsigned long long)(asked ? asked - shared->start : 0), (unsigned long long)(asked ? end - answered : 0),
        (unsigned long long)(end - shared->start));
    int record = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (record < 0 || write(record, line, (size_t)length) != length) fail("write the record");
    return result;
}
