import CLibCrypto
import Platform

/// The error handling for all uses of libcrypto.
package enum LibCrypto {
    /// Returns an error with the reason from libcrypto's error queue, and clears the queue. ERR_get_error(3)
    package static func failure(_ what: String) -> Failure {
        let code = ERR_get_error()
        ERR_clear_error()
        return Failure(
            what,
            because: "libcrypto: " + (ERR_reason_error_string(code).map { String(cString: $0) } ?? "failed")
        )
    }
}
