import Glibc
import Platform
import RuntimeLease
import VTPMProxy

/// Has the host take its random numbers from another source than a container's TPM.
///
/// No container is refused for it: what fails is logged.
///
/// - Parameters:
///   - new: The number of a vTPM that has no lease yet; nil if there is none.
///   - runDirectory: The directory of the leases, which have the numbers of all others.
func keepRandomnessFromVTPMs(new: UInt32? = nil, in runDirectory: borrowing Descriptor) {
    do throws(Failure) {
        try RandomSource().leave { (number) throws(Failure) in
            if number == new { return true }
            var isOurs = false
            _ = try Leases.each(in: runDirectory) { (_, lease) throws(Failure) in
                if lease?.tpmNumber == number { isOurs = true }
            }
            return isOurs
        }
    } catch {
        Log.notice("\(error)")
    }
}
