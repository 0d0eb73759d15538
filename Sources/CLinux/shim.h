// Names of Linux that Swift's Glibc module does not show: it is built without _GNU_SOURCE, leaves some headers out,
// and the importer skips variadic functions, function-like macros and macros that hold an expression.
// Functions of glibc are declared; system calls without a wrapper in glibc 2.36, and variadic functions, are
// one-line inlines; macros become constants of the same name behind `clinux_`.
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/dm-ioctl.h>
#include <linux/filter.h>
#include <linux/fsverity.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <linux/vtpm_proxy.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

// sys/xattr.h is in no module of Swift's.
extern ssize_t getxattr(const char *, const char *, void *, size_t);
extern ssize_t fgetxattr(int, const char *, void *, size_t);
extern int fsetxattr(int, const char *, const void *, size_t, int);

// Hidden by glibc without _GNU_SOURCE.
extern int accept4(int, struct sockaddr *, socklen_t *, int);
extern int personality(unsigned long);
extern int close_range(unsigned int, unsigned int, int);
extern int pidfd_open(pid_t, unsigned int);
extern int pidfd_send_signal(int, int, siginfo_t *, unsigned int);
extern int pipe2(int[2], int);
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *, int);
extern int setns(int, int);
extern int setgroups(size_t, const gid_t *);
extern int getgroups(int, gid_t *);
extern int setresgid(gid_t, gid_t, gid_t);
extern int setresuid(uid_t, uid_t, uid_t);
extern int getresgid(gid_t *, gid_t *, gid_t *);
extern int getresuid(uid_t *, uid_t *, uid_t *);
extern int malloc_trim(size_t);
extern int mlock2(const void *, size_t, unsigned int);
extern int unshare(int);
extern char **environ;
extern int renameat2(int, const char *, int, const char *, unsigned int);
extern int fsopen(const char *, unsigned int);
extern int fsconfig(int, unsigned int, const char *, const void *, int);
extern int fsmount(int, unsigned int, unsigned int);
extern int move_mount(int, const char *, int, const char *, unsigned int);
extern int open_tree(int, const char *, unsigned int);
extern int setfsuid(uid_t);   // sys/fsuid.h
extern int setfsgid(gid_t);

static const int clinux_at_empty_path = 0x1000;            // AT_EMPTY_PATH, fcntl.h
static const int clinux_o_path = 010000000;                // O_PATH, fcntl.h
static const int clinux_f_ofd_setlk = 37;                  // F_OFD_SETLK, fcntl.h
static const int clinux_f_ofd_setlkw = 38;                 // F_OFD_SETLKW
static const int clinux_clone_newns = 0x00020000;          // CLONE_NEWNS, sched.h
static const int clinux_clone_newcgroup = 0x02000000;      // CLONE_NEWCGROUP
static const int clinux_clone_newuts = 0x04000000;         // CLONE_NEWUTS
static const int clinux_clone_newipc = 0x08000000;         // CLONE_NEWIPC
static const int clinux_clone_newpid = 0x20000000;         // CLONE_NEWPID
static const int clinux_clone_newnet = 0x40000000;         // CLONE_NEWNET
static const int clinux_mcl_onfault = 4;                   // MCL_ONFAULT, sys/mman.h
static const unsigned int clinux_mlock_onfault = 1;        // MLOCK_ONFAULT
static const short clinux_posix_spawn_setsid = 0x80;       // POSIX_SPAWN_SETSID, spawn.h

static const int clinux_map_droppable = 0x08;              // MAP_DROPPABLE, linux/mman.h since 6.11
static const int clinux_madv_soft_offline = 101;           // MADV_SOFT_OFFLINE, asm-generic/mman-common.h
static const int clinux_tcgets2 = (int)0x802c542aU;        // TCGETS2, asm-generic/ioctls.h: a macro with a sizeof
static const int clinux_vtpm_proxy_ioc_type = 0xa1;        // the type of all requests in linux/vtpm_proxy.h

static const int clinux_pr_set_mdwe = 65;                  // PR_SET_MDWE, linux/prctl.h since 6.3
static const unsigned long clinux_pr_mdwe_refuse_exec_gain = 1;   // PR_MDWE_REFUSE_EXEC_GAIN

// sys/mount.h cannot be included beside linux/stat.h's and the Glibc module's own copy of it.
static const unsigned int clinux_fsopen_cloexec = 0x1;             // FSOPEN_CLOEXEC
static const unsigned int clinux_fsmount_cloexec = 0x1;            // FSMOUNT_CLOEXEC
static const unsigned int clinux_fsconfig_set_string = 1;          // FSCONFIG_SET_STRING
static const unsigned int clinux_fsconfig_cmd_create = 6;          // FSCONFIG_CMD_CREATE
static const unsigned long clinux_dm_table_status = DM_TABLE_STATUS;
static const unsigned int clinux_dm_buffer_full_flag = DM_BUFFER_FULL_FLAG;
static const unsigned int clinux_dm_status_table_flag = DM_STATUS_TABLE_FLAG;
static const unsigned long clinux_fs_ioc_measure_verity = FS_IOC_MEASURE_VERITY;
static const unsigned int clinux_mount_attr_rdonly = 0x1;          // MOUNT_ATTR_RDONLY
static const unsigned int clinux_mount_attr_nosuid = 0x2;          // MOUNT_ATTR_NOSUID
static const unsigned int clinux_mount_attr_nodev = 0x4;           // MOUNT_ATTR_NODEV
static const unsigned int clinux_mount_attr_noexec = 0x8;          // MOUNT_ATTR_NOEXEC
static const unsigned int clinux_move_mount_f_empty_path = 0x4;    // MOVE_MOUNT_F_EMPTY_PATH
static const unsigned int clinux_move_mount_t_empty_path = 0x40;   // MOVE_MOUNT_T_EMPTY_PATH
static const unsigned int clinux_rename_noreplace = 0x1;            // RENAME_NOREPLACE
static const unsigned int clinux_rename_exchange = 0x2;             // RENAME_EXCHANGE
static const unsigned int clinux_open_tree_clone = 0x1;            // OPEN_TREE_CLONE
static const unsigned int clinux_at_recursive = 0x8000;            // AT_RECURSIVE
static const unsigned int clinux_open_tree_cloexec = 02000000;     // OPEN_TREE_CLOEXEC

// "structure not supported" to the importer, because of the sizeof in _IOWR.
static const unsigned long clinux_vtpm_proxy_ioc_new_dev = VTPM_PROXY_IOC_NEW_DEV;

static inline int clinux_openat2(int directory, const char *path, const struct open_how *how) {
    return (int)syscall(SYS_openat2, directory, path, how, sizeof *how);
}
static inline int clinux_faccessat2(int directory, const char *path, int mode, int flags) {
    return (int)syscall(SYS_faccessat2, directory, path, mode, flags);
}
static inline int clinux_statx(int directory, const char *path, int flags, unsigned int mask, struct statx *out) {
    return (int)syscall(SYS_statx, directory, path, flags, mask, out);
}
static inline int clinux_bpf(int command, union bpf_attr *attributes, unsigned int size) {
    return (int)syscall(SYS_bpf, command, attributes, size);
}
static inline int clinux_prctl(int option, unsigned long argument) {
    return prctl(option, argument, 0UL, 0UL, 0UL);
}
static inline int clinux_personality(unsigned long persona) { return personality(persona); }
static inline int clinux_nice_value(void) { return getpriority(PRIO_PROCESS, 0); }
static inline int clinux_set_nice_value(int value) { return setpriority(PRIO_PROCESS, 0, value); }
// IOPRIO_WHO_PROCESS is 1; linux/ioprio.h came with Linux 5.15.
static inline int clinux_ioprio(pid_t process) { return (int)syscall(SYS_ioprio_get, 1, process); }
static inline int clinux_reset_ioprio(void) { return (int)syscall(SYS_ioprio_set, 1, 0, 0); }
static inline int clinux_pivot_root(const char *new_root, const char *put_old) {
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

// fork(2) into a cgroup of version 2, with a pidfd of the child: glibc's wrapper of clone3 is its own.
static inline pid_t clinux_fork_into_cgroup(int cgroup, int *pidfd) {
    struct clone_args arguments = {.flags = CLONE_PIDFD | CLONE_INTO_CGROUP, .pidfd = (unsigned long)pidfd,
                                   .exit_signal = SIGCHLD, .cgroup = (unsigned)cgroup};
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

// A timer that sends a signal to the calling thread: glibc hides the field for the thread, and its timer_t need not be the
// kernel's number. timer_create(2); CLOCK_BOOTTIME is Deadline's clock.
static inline int clinux_timer_create(int signal, int *timer) {
    struct sigevent event = {.sigev_signo = signal, .sigev_notify = SIGEV_THREAD_ID};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    return (int)syscall(SYS_timer_create, CLOCK_BOOTTIME, &event, timer);
}
static inline int clinux_timer_settime(int timer, const struct itimerspec *time) {
    return (int)syscall(SYS_timer_settime, timer, 0, time, NULL);
}
static inline int clinux_timer_delete(int timer) { return (int)syscall(SYS_timer_delete, timer); }

// fork(2), which the importer refuses.
static inline pid_t clinux_fork(void) { return fork(); }

// environ(7) is a variable that any thread could change, which the importer refuses.
static inline char **clinux_environment(void) { return environ; }

// capabilities(7): glibc has no wrapper, and the macro for the version is a cast to the importer.
static inline int clinux_capset(const struct __user_cap_data_struct data[2]) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capset, &header, data);
}
static inline int clinux_capget(struct __user_cap_data_struct data[2]) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    return (int)syscall(SYS_capget, &header, data);
}

// memfd_create(2). The flags are in linux/memfd.h, the second one since 6.3.
extern int memfd_create(const char *, unsigned int);
static const unsigned int clinux_mfd_cloexec = 0x1;        // MFD_CLOEXEC
static const unsigned int clinux_mfd_noexec_seal = 0x8;    // MFD_NOEXEC_SEAL

// seccomp(2), SECCOMP_SET_MODE_FILTER
static inline int clinux_seccomp_filter(const void *instructions, unsigned short count) {
    struct sock_fprog program = { count, (struct sock_filter *)instructions };
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

// landlock(7). Headers older than the running kernel know less than it can deny, so the rights are numbers of our own.
struct clinux_landlock_ruleset {
    __u64 handled_access_fs;
    __u64 handled_access_net;   // Landlock ABI 4
    __u64 scoped;               // Landlock ABI 6
};
static inline int clinux_landlock_version(void) {
    return (int)syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
}
static inline int clinux_landlock_create(const struct clinux_landlock_ruleset *ruleset, size_t size) {
    return (int)syscall(SYS_landlock_create_ruleset, ruleset, size, 0);
}
static inline int clinux_landlock_allow(int ruleset, const struct landlock_path_beneath_attr *rule) {
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0);
}
static inline int clinux_landlock_restrict(int ruleset) { return (int)syscall(SYS_landlock_restrict_self, ruleset, 0); }

// Where the program's own file is in memory: GNU ld's name for its first byte, the ELF header's.
extern const char __executable_start[];
static inline const void *clinux_program_start(void) { return __executable_start; }

// unix(7): struct ucred is hidden without _GNU_SOURCE.
struct clinux_ucred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

// systemd/sd-bus-protocol.h, which need not be there: libsystemd is loaded while the program runs.
struct clinux_sd_bus_error {
    const char *name;
    const char *message;
    int need_free;
};

// cmsg(3): function-like macros.
static inline size_t clinux_cmsg_space(size_t length) { return CMSG_SPACE(length); }
static inline size_t clinux_cmsg_len(size_t length) { return CMSG_LEN(length); }
static inline struct cmsghdr *clinux_cmsg_firsthdr(struct msghdr *message) { return CMSG_FIRSTHDR(message); }
static inline struct cmsghdr *clinux_cmsg_nxthdr(struct msghdr *message, struct cmsghdr *header) {
    return CMSG_NXTHDR(message, header);
}
static inline unsigned char *clinux_cmsg_data(struct cmsghdr *header) { return CMSG_DATA(header); }

// makedev(3): function-like macros. Minor numbers of /dev/tpmrmN start at 65536, beyond the old 8 bits.
static inline dev_t clinux_makedev(unsigned int major_number, unsigned int minor_number) {
    return makedev(major_number, minor_number);
}
static inline unsigned int clinux_major(dev_t device) { return major(device); }
static inline unsigned int clinux_minor(dev_t device) { return minor(device); }

static const long clinux_st_rdonly = 1;   // ST_RDONLY, sys/statvfs.h
static const long clinux_st_nodev = 4;   // ST_NODEV

// Linux 6.17 writes past the 32 bytes that BPF_PROG_QUERY asks with: the whole union has to be given.
_Static_assert(sizeof(union bpf_attr) >= 128, "linux/bpf.h is too old for BPF_PROG_QUERY");
