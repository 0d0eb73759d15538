import CLibCrypto
import Platform

/// What all uses of libcrypto have in common.
package enum LibCrypto {
    /// An error that says what has failed, and what libcrypto says of it; its queue of errors is emptied.
    package static func failure(_ what: String) -> Failure {
        let code = ERR_get_error()
        ERR_clear_error()
        return Failure(
            what,
            because: "libcrypto: " + (ERR_reason_error_string(code).map { String(cString: $0) } ?? "failed")
        )
    }
}

extension UnsafeRawBufferPointer {
    /// As libcrypto takes it.
    package var unsigned: UnsafePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}

extension UnsafeMutableRawBufferPointer {
    /// As libcrypto takes it.
    package var unsigned: UnsafeMutablePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}
