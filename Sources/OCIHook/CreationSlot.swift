import CLinux
import Glibc
import Platform
import VTPMProxy

/// A semaphore that limits how many containers get their TPMs at the same time.
///
/// The kernel gives a new TPM 2 s for TPM2_SelfTest and 750 ms for what follows (tpm2_calc_ordinal_duration), and everything
/// of ours has a deadline too. If dozens of containers start at once on a few processors, none of them would meet any; so
/// the others sleep until a slot is free, and look again. Which one gets it is chance.
enum CreationSlot {
    /// How many slots there are: as many as processors.
    ///
    /// There are no fewer than two, so that one container that waits for something does not keep all others waiting.
    static var count: Int { max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }

    /// Returns how long a hook with this timeout, in seconds, waits for a slot, in milliseconds.
    ///
    /// A quarter of a minute, or half of the timeout, is left for the creation itself, so that a hook without a slot can
    /// say so before the runtime kills it. If the runtime waits without end (nil), those who called it do not: a kubelet
    /// gives up after 2 minutes (runtimeRequestTimeout).
    static func timeout(ofHook seconds: Int?) -> Int {
        guard let seconds else { return 100_000 }
        // A day is as good as no end.
        let bounded = min(max(seconds, 0), 86_400)
        return max(bounded - 15, bounded / 2) * 1000
    }

    /// Waits for a slot until the deadline, and acquires it as ``tryAcquire(on:of:)`` does.
    ///
    /// - Throws: ``Failure`` if there was none in time.
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

    /// Acquires a slot on an open file of `/dev/vtpmx`, until that is closed; returns false if none is free.
    ///
    /// Each byte of the file, which has to be open for writing, stands for a slot. fcntl(2), F_OFD_SETLK
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

/// The lock under which one hook at a time has its device registered by the kernel.
///
/// The kernel registers one TPM after the other and gives each 2 s for its self-test and 750 ms for the answers after it,
/// which is little if dozens of containers start at once. The lock is on `/dev/vtpmx`, which all of them need.
enum RegistrationLock {
    /// Runs `body` with the lock, for which it waits until the deadline.
    ///
    /// The control device is opened once more: flock(2)'s lock belongs to the open file, which a duplicate shares, and the
    /// hook keeps its own open until it ends.
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
