import CLinux
import Glibc

extension SystemCallFilter {
    /// Has what only an attacker does end the process.
    ///
    /// That is nothing that a library falls back from, only what is worth something to somebody who has taken the process
    /// over. docs/threat-model.md has the reason for each. To be called last: what is allowed stays allowed.
    mutating func killAttacks() {
        // Other programs and processes.
        kill("execve", "execveat", "fork", "vfork", "clone", "clone3")
        kill("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp")
        kill("pidfd_open", "pidfd_getfd", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
        kill("rt_sigreturn")
        kill("migrate_pages", "move_pages")
        // Other users.
        kill("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups")
        kill("capset", "setrlimit", "personality")
        kill("prlimit64", where: !.isNull(2))
        // Memory that others have too, or that code is put into.
        kill("memfd_create", "memfd_secret", "remap_file_pages", "shmget", "shmat", "shmctl", "vmsplice")
        // Namespaces and mounts.
        kill("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "mount_setattr", "open_tree")
        kill("open_tree_attr")
        kill("move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "open_by_handle_at", "name_to_handle_at")
        // Large parts of the kernel, with faults of their own.
        kill("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register")
        kill("add_key", "request_key", "keyctl", "fanotify_init", "modify_ldt", "iopl", "ioperm")
        // The host.
        kill("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon")
        kill("swapoff")
        kill("acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "sethostname", "setdomainname")
        kill("settimeofday", "clock_settime", "adjtimex", "clock_adjtime")
        // The network.
        kill("bind", "listen", "socketpair", "accept")
        // Files: names, owners and modes, which nothing of ours changes any more.
        kill("creat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "symlink", "symlinkat", "link", "linkat")
        kill("renameat2", "truncate", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown")
        kill("fchownat")
        kill("setxattr", "lsetxattr", "fsetxattr", "setxattrat", "utimensat")
        // What a terminal takes for its user's typing, and the vTPM proxy's driver.
        for request in [CInt(TIOCSTI), CInt(TIOCLINUX)] { kill("ioctl", where: .equals(1, request)) }
        kill("ioctl", where: .has(1, clinux_vtpm_proxy_ioc_type << 8, of: 0xff00))
    }

    /// Has what a worker's library may look for not be there.
    ///
    /// Its root is empty. To write is an attacker's.
    mutating func hideFiles() {
        let flags = [CInt(O_WRONLY), CInt(O_RDWR), CInt(O_CREAT), CInt(O_TRUNC)]
        for (call, index) in [("open", 1), ("openat", 2)] as [(String, UInt32)] {
            refuse(call, with: ENOENT, where: .lacks(index, flags.reduce(0, |)))
            for flag in flags { kill(call, where: .has(index, flag)) }
        }
    }

    /// The C library asks whether it prints to a terminal, with a second request from 2.42 on, and is told that it does
    /// not.
    mutating func refuseTerminals() {
        for request in [CInt(TCGETS), clinux_tcgets2] { refuse("ioctl", with: ENOTTY, where: .equals(1, request)) }
    }
}
