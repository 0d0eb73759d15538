import Glibc
import Platform
import VTPMProxy

/// A semaphore that limits how many containers get their TPMs at the same time.
///
/// The kernel registers one TPM after another, and gives each 2 s for TPM2_SelfTest and 750 ms for the commands after it
/// (tpm2_calc_ordinal_duration). Our own steps have timeouts too. If dozens of containers started at once on a few
/// processors, all of them would time out. So a hook without a slot sleeps. Slots are not granted in any order.
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

    /// Waits in the kernel for a slot until the deadline, and acquires it as ``tryAcquire(on:of:)`` does.
    ///
    /// - Throws: ``Failure`` if no slot became free in time.
    static func acquire(
        on control: borrowing Descriptor,
        of slots: Int = count,
        until deadline: Deadline,
        checkCancellation: CancellationCheck = {}
    ) throws(Failure) {
        // The kernel waits for one lock at a time. Each time that it is asked whether there is something to wait for, any
        // other that has become free will do.
        let isAcquired = try control.lock(
            byte: .random(in: 0..<slots),
            until: deadline,
            what,
            checkCancellation: checkCancellation,
            attempt: { () throws(Failure) in try tryAcquire(on: control, of: slots) }
        )
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
    /// The slot is held until the file is closed. Each byte offset stands for one slot.
    static func tryAcquire(on control: borrowing Descriptor, of slots: Int = count) throws(Failure) -> Bool {
        for slot in 0..<slots where try control.tryLock(byte: slot, what) { return true }
        return false
    }

    private static let what = "cannot start the vTPM"
}
