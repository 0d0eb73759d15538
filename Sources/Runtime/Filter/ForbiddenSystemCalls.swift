import CLinux
import Glibc

extension SystemCallFilter {
    /// Kills the process for system calls that only an attacker makes.
    ///
    /// No library tries them to fall back on something else, and each is useful to somebody who controls the process.
    /// docs/threat-model.md gives the reason for each. Call this last: calls with a rule keep it.
    mutating func killAttacks() {
        // They start other programs or act on other processes.
        kill("execve", "execveat", "fork", "vfork", "clone", "clone3")
        kill("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "kcmp")
        kill("pidfd_open", "pidfd_getfd", "kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
        kill("rt_sigreturn")
        kill("migrate_pages", "move_pages")
        // They change the user, its capabilities and its limits.
        kill("setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups")
        kill("capset", "setrlimit", "personality")
        kill("prlimit64", where: .isNot(2, 0))
        // They share memory with others, or prepare memory for code.
        kill("memfd_create", "memfd_secret", "remap_file_pages", "shmget", "shmat", "shmctl", "vmsplice")
        // They change namespaces and mounts.
        kill("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "mount_setattr", "open_tree")
        kill("open_tree_attr")
        kill("move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "open_by_handle_at", "name_to_handle_at")
        // They reach large subsystems of the kernel, each with vulnerabilities of its own.
        kill("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register")
        kill("add_key", "request_key", "keyctl", "fanotify_init", "modify_ldt", "iopl", "ioperm")
        // They administer the host.
        kill("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon")
        kill("swapoff")
        kill("acct", "quotactl", "quotactl_fd", "syslog", "vhangup", "sethostname", "setdomainname")
        kill("settimeofday", "clock_settime", "adjtimex", "clock_adjtime")
        // They open the process to the network.
        kill("bind", "listen", "socketpair", "accept")
        // They change names, owners and modes of files, which our programs do not do any more.
        kill("creat", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "symlink", "symlinkat", "link", "linkat")
        kill("renameat2", "truncate", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown")
        kill("fchownat")
        kill("setxattr", "lsetxattr", "fsetxattr", "setxattrat", "utimensat")
        // They inject input into a terminal (ioctl_tty(2), TIOCSTI), or control the vTPM proxy driver.
        for request in [CInt(TIOCSTI), CInt(TIOCLINUX)] { kill("ioctl", where: .equals(1, request)) }
        kill("ioctl", where: .has(1, clinux_vtpm_proxy_ioc_type << 8, of: 0xff00))
    }

    /// Leaves nothing but the end to a process that has no files, and no sockets but its channels.
    ///
    /// Call this last.
    mutating func closeOff() {
        refuseTerminals()
        hideFiles()
        allow("restart_syscall", "exit", "exit_group")
        killAttacks()
        // No socket but a channel, no pidfd to send signals to, and no files.
        kill("socket", "connect", "accept4", "sendto", "pidfd_send_signal")
        kill("unlink", "unlinkat", "rename", "renameat", "ftruncate")
    }

    /// Lets opening a file for reading fail with ENOENT; kills the process if it opens one for writing.
    ///
    /// A library may look for a file, and the worker's root is empty. Only an attacker writes.
    mutating func hideFiles() {
        let flags = [CInt(O_WRONLY), CInt(O_RDWR), CInt(O_CREAT), CInt(O_TRUNC)]
        for (call, index) in [("open", 1), ("openat", 2)] as [(String, UInt32)] {
            refuse(call, with: ENOENT, where: .lacks(index, flags.reduce(0, |)))
            for flag in flags { kill(call, where: .has(index, flag)) }
        }
    }

    /// Lets isatty(3) fail with ENOTTY: the C library asks whether it prints to a terminal.
    ///
    /// From 2.42 on, glibc uses TCGETS2 as well.
    mutating func refuseTerminals() {
        for request in [CInt(TCGETS), clinux_tcgets2] { refuse("ioctl", with: ENOTTY, where: .equals(1, request)) }
    }
}
