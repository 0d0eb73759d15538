import CLinux
import Glibc
import Platform

/// What this process may do although it is not what the kernel asks for by default. capabilities(7)
enum Capabilities {
    /// Takes every capability but these out of the bounding set, so that none comes back with any program.
    ///
    /// Needs CAP_SETPCAP. prctl(2), PR_CAPBSET_DROP
    static func bound(to kept: Set<CInt> = []) throws(Failure) {
        let what = "cannot give up capabilities"
        for capability in 0..<CInt(64) {
            let isThere = clinux_prctl(PR_CAPBSET_READ, UInt(capability))
            // EINVAL: the kernel has no more of them.
            if isThere < 0 { break }
            guard isThere == 1, !kept.contains(capability) else { continue }
            try systemCall("prctl PR_CAPBSET_DROP", what) { clinux_prctl(PR_CAPBSET_DROP, UInt(capability)) }
        }
        try systemCall("prctl PR_CAP_AMBIENT", what) { clinux_prctl(PR_CAP_AMBIENT, UInt(PR_CAP_AMBIENT_CLEAR_ALL)) }
    }

    /// Whether this process has a capability in effect. capget(2)
    static func has(_ capability: CInt) throws(Failure) -> Bool {
        var sets = [__user_cap_data_struct](repeating: .init(effective: 0, permitted: 0, inheritable: 0), count: 2)
        try systemCall("capget", "cannot read this process's capabilities") { clinux_capget(&sets) }
        return sets[Int(capability) / 32].effective & 1 << UInt32(capability % 32) != 0
    }

    /// Gives up every capability but these, for good once they are out of the bounding set as well. capset(2)
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
