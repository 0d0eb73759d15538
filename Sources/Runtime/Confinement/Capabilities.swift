import CLinux
import Glibc
import Platform

/// The capabilities of this process. capabilities(7)
enum Capabilities {
    /// Drops all other capabilities from the bounding set and clears the ambient set. prctl(2), PR_CAPBSET_DROP
    ///
    /// No program that is executed later can get them back. Needs CAP_SETPCAP.
    static func bound(to kept: Set<CInt> = []) throws(Failure) {
        let what = "cannot give up capabilities"
        for capability in 0..<CInt(64) {
            let isThere = clinux_prctl(PR_CAPBSET_READ, UInt(capability))
            // EINVAL: the kernel has no capability with this or a higher number.
            if isThere < 0 { break }
            guard isThere == 1, !kept.contains(capability) else { continue }
            try systemCall("prctl PR_CAPBSET_DROP", what) { clinux_prctl(PR_CAPBSET_DROP, UInt(capability)) }
        }
        try systemCall("prctl PR_CAP_AMBIENT", what) { clinux_prctl(PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_CLEAR_ALL)) }
    }

    /// Returns whether this process has a capability in its effective set. capget(2)
    static func has(_ capability: CInt) throws(Failure) -> Bool {
        var sets = [__user_cap_data_struct](repeating: .init(effective: 0, permitted: 0, inheritable: 0), count: 2)
        try systemCall("capget", "cannot read this process's capabilities") { clinux_capget(&sets) }
        return sets[Int(capability) / 32].effective & 1 << UInt32(capability % 32) != 0
    }

    /// Drops all other capabilities from the effective, permitted and inheritable sets. capset(2)
    ///
    /// This is permanent if ``bound(to:)`` has dropped them as well.
    static func keep(_ kept: Set<CInt> = []) throws(Failure) {
        let what = "cannot give up capabilities"
        var wanted = [__user_cap_data_struct](repeating: .init(effective: 0, permitted: 0, inheritable: 0), count: 2)
        for capability in kept {
            wanted[Int(capability) / 32].effective |= 1 << UInt32(capability % 32)
            wanted[Int(capability) / 32].permitted |= 1 << UInt32(capability % 32)
        }
        try systemCall("capset", what) { clinux_capset(wanted) }
        var left = wanted
        try systemCall("capget", what) { clinux_capget(&left) }
        let isRight = zip(left, wanted).allSatisfy {
            $0.effective == $1.effective && $0.permitted == $1.permitted && $0.inheritable == $1.inheritable
        }
        guard isRight else { throw Failure(what, because: "some are left") }
    }
}
