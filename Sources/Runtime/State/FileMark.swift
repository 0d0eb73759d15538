import CLinux
import Glibc
import Platform

/// What tells a file from another, and from itself before somebody has written to it. inode(7)
///
/// The time of the last change is as exact as the kernel's clock for files, some milliseconds.
struct FileMark: Equatable {
    private let device: dev_t
    private let inode: ino_t
    private let size: off_t
    private let seconds: time_t
    private let nanoseconds: CLong

    init(_ status: stat) {
        device = status.st_dev
        inode = status.st_ino
        size = status.st_size
        seconds = status.st_mtim.tv_sec
        nanoseconds = CLong(status.st_mtim.tv_nsec)
    }

    init(of file: borrowing Descriptor, _ path: String) throws(Failure) {
        self.init(try file.status(path))
    }
}
