import CLinux
import Glibc
import Platform

/// A mount namespace with a single, empty file system. mount_namespaces(7), pivot_root(2)
enum EmptyRoot {
    /// Replaces this process's root by an empty read-only tmpfs and detaches all other file systems.
    ///
    /// Needs CAP_SYS_ADMIN. The process must have only one thread.
    static func enter() throws(Failure) {
        let what = "cannot leave the host's file systems"
        try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        // If the host's mounts are shared, our mount would propagate to the host.
        try systemCall("mount MS_PRIVATE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
        let flags = UInt(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        // Any directory that always exists would do: all others are detached below.
        try systemCall("mount", what) { mount("empty", "/proc", "tmpfs", flags, "size=4096,nr_inodes=1,mode=0555") }
        try systemCall("chdir", what) { chdir("/proc") }
        // With the same directory twice, the old root is stacked on top of the new one (pivot_root(2), NOTES).
        try systemCall("pivot_root", what) { clinux_pivot_root(".", ".") }
        try systemCall("umount2", what) { umount2(".", CInt(MNT_DETACH)) }
        try systemCall("chdir", what) { chdir("/") }
        guard access("/proc", F_OK) != 0, errno == ENOENT else {
            throw Failure(what, because: "they are still there")
        }
    }
}
