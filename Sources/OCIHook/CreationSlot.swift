import CLinux
import Glibc
import Platform
import VTPMProxy

/// A semaphore that limits how many containers get their TPMs at the same time.
///
/// The kernel gives a new TPM 2 s for TPM2_SelfTest and 750 ms for the commands after it (tpm2_calc_ordinal_duration).
/// Our own steps have timeouts too. If dozens of containers started at once on a few processors, all of them would time
/// out. So a hook without a slot sleeps and tries again. Slots are not granted in any order.
enum CreationSlot {
    /// The number of slots, which is the number of online processors. sysconf(3)
    ///
    /// There are at least two, so that one slow container does not block all others.
    static var count: Int { max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }

    /// Returns the time to wait for a slot, in milliseconds, for a hook with this timeout in seconds.
    ///
    /// 15 s of the timeout, or half of it if that is less, are left for the creation. So a hook without a slot can
    /// report that before the runtime kills it. Without a timeout (nil), the limit is 100 s: the runtime's caller does
    /// not wait forever. A kubelet gives up after 2 minutes (runtimeRequestTimeout).
    static func timeout(ofHook seconds: Int?) -> Int {
        guard let seconds else { return 100_000 }
        // The bound of one day keeps the milliseconds from overflowing.
        let bounded = min(max(seconds, 0), 86_400)
        return max(bounded - 15, bounded / 2) * 1000
    }

    /// Waits for a slot until the deadline, and acquires it as ``tryAcquire(on:of:)`` does.
    ///
    /// - Throws: ``Failure`` if no slot became free in time.
    static func acquire(
        on control: borrowing Descriptor,
        of slots: Int = count,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) {
        let isAcquired = try deadline.wait(checkCancellation: checkCancellation) { () throws(Failure) in
            try tryAcquire(on: control, of: slots)
        }
        guard isAcquired else {
            throw Failure(
                what,
                because: "too many other containers are being created",
                hint: "start fewer at once, or give the hook a longer timeout"
            )
        }
    }

    /// Acquires a slot on an open file of `/dev/vtpmx`; returns false if none is free.
    ///
    /// The slot is held until the file is closed. Each byte offset stands for one slot, and its lock needs a file that
    /// is open for writing. fcntl(2), F_OFD_SETLK
    static func tryAcquire(on control: borrowing Descriptor, of slots: Int = count) throws(Failure) -> Bool {
        let number = control.number
        for slot in 0..<slots {
            var lock = flock()
            lock.l_type = CShort(F_WRLCK)
            lock.l_whence = CShort(SEEK_SET)
            lock.l_start = slot
            lock.l_len = 1
            do {
                try systemCall("fcntl F_OFD_SETLK", what) { fcntl(number, clinux_f_ofd_setlk, &lock) }
                return true
            } catch let error where error.code == EAGAIN {}
        }
        return false
    }

    private static let what = "cannot start the vTPM"
}

/// The lock that lets one hook at a time have its device registered by the kernel.
///
/// The kernel registers one TPM after another. It gives each 2 s for its self-test and 750 ms for the commands after
/// it, which is too little if dozens of containers start at once. The lock is on `/dev/vtpmx`, which every hook opens.
enum RegistrationLock {
    /// Waits for the lock until the deadline, and runs `body` with it.
    ///
    /// The control device is opened once more for the lock. A lock of flock(2) belongs to the open file description,
    /// and the hook keeps its own open until it ends.
    static func run<Result>(
        until deadline: Deadline,
        at path: String = vtpmxPath,
        checkCancellation: CancellationCheck,
        _ body: () throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let lock = try FileLock(
            of: .open(path, OpenOptions(O_RDWR)),
            until: deadline,
            path,
            checkCancellation: checkCancellation
        )
        let result = try body()
        lock.release()
        return result
    }
}
