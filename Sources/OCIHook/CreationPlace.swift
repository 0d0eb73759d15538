import CLinux
import Glibc
import Platform
import VTPMProxy

/// One of the few places for containers that get their TPMs at the same time.
///
/// The kernel gives a new TPM 2 s for TPM2_SelfTest and 750 ms for what follows (tpm2_calc_ordinal_duration), and everything
/// of ours has a deadline too. Where dozens of containers start at once on a few processors, none of them would meet any; so
/// the others sleep until a place is free, and look again. Who gets it is chance.
enum CreationPlace {
    /// How many there are: as many as processors, and no fewer than two, so that one that waits for something does not keep
    /// all others waiting.
    static var count: Int { max(2, sysconf(CInt(_SC_NPROCESSORS_ONLN))) }

    /// How long a hook with this timeout, in seconds, waits for a place, in milliseconds.
    ///
    /// A quarter of a minute, or half of the timeout, is left for the creation itself, so that a hook which gets no place
    /// can say so before the runtime kills it. Where the runtime waits without end, those who called it do not: a kubelet
    /// gives up after 2 minutes (runtimeRequestTimeout).
    static func patience(timeout: Int?) -> Int {
        guard let timeout else { return 100_000 }
        // A day is as good as no end.
        let seconds = min(max(timeout, 0), 86_400)
        return max(seconds - 15, seconds / 2) * 1000
    }

    /// Waits for a place until the deadline, and takes it as ``take(on:of:)`` does.
    ///
    /// `goesOn` is called while waiting, and throws when there is nothing to wait for any more.
    ///
    /// - Throws: ``Failure`` where there was none in time.
    static func wait(
        on control: borrowing Descriptor,
        of places: Int = count,
        until deadline: Deadline,
        checking goesOn: () throws(Failure) -> Void = { () throws(Failure) in }
    ) throws(Failure) {
        var pauses = Pauses()
        while try !take(on: control, of: places) {
            try goesOn()
            guard !deadline.hasPassed else {
                throw Failure(
                    what,
                    because: "too many other containers are being created",
                    remedy: "start fewer at once, or give the hook a longer timeout"
                )
            }
            pauses.sleep()
        }
    }

    /// Takes a place, on an open file of `/dev/vtpmx`, until that is closed; false where there is none.
    ///
    /// Each byte of the file, which has to be open for writing, stands for a place. fcntl(2), F_OFD_SETLK
    static func take(on control: borrowing Descriptor, of places: Int = count) throws(Failure) -> Bool {
        let number = control.number
        for place in 0..<places {
            var lock = flock()
            lock.l_type = CShort(F_WRLCK)
            lock.l_whence = CShort(SEEK_SET)
            lock.l_start = place
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
