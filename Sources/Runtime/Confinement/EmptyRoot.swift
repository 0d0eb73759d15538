import CLinux
import Glibc
import Platform

/// A mount namespace in which there is nothing. mount_namespaces(7), pivot_root(2)
enum EmptyRoot {
    /// Leaves all file systems for an empty one of this process's own, which is read-only.
    ///
    /// Needs CAP_SYS_ADMIN, and one thread.
    static func enter() throws(Failure) {
        let what = "cannot leave the host's file systems"
        try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        // Where the host's mounts are shared, ours would appear there as well.
        try systemCall("mount MS_PRIVATE", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
        let flags = UInt(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
        // Any directory that is sure to be there: it is out of sight with all others in a moment.
        try systemCall("mount", what) { mount("empty", "/proc", "tmpfs", flags, "size=4096,nr_inodes=1,mode=0555") }
        try systemCall("chdir", what) { chdir("/proc") }
        // Both arguments may be the same directory: the old root then lies over the new one (pivot_root(2), NOTES).
        try systemCall("pivot_root", what) { clinux_pivot_root(".", ".") }
        try systemCall("umount2", what) { umount2(".", CInt(MNT_DETACH)) }
        try systemCall("chdir", what) { chdir("/") }
        guard access("/proc", F_OK) != 0, errno == ENOENT else {
            throw Failure(what, because: "they are still there")
        }
    }
}
