import Platform

/// A message of three parts: a public prefix, a secret and a public suffix.
///
/// The secret is not copied, since the copy would need locked memory as well.
public struct SecretMessage {
    private let prefix: [UInt8]
    private let secret: SecretBytes?
    private let suffix: [UInt8]

    /// Creates a message; each part may be missing.
    public init(prefix: [UInt8] = [], secret: SecretBytes?, suffix: [UInt8] = []) {
        self.prefix = prefix
        self.secret = secret
        self.suffix = suffix
    }

    /// The size of all three parts, in bytes.
    public var count: Int { prefix.count + (secret?.count ?? 0) + suffix.count }

    /// Calls `body` with each part that is not empty; stops and returns false if it returns false.
    package func forEachPart(_ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
        (prefix.isEmpty || prefix.withUnsafeBytes(body))
            && (secret?.withBytes { $0.isEmpty || body($0) } ?? true)
            && (suffix.isEmpty || suffix.withUnsafeBytes(body))
    }
}

extension UnsafeRawBufferPointer {
    /// The start of the buffer, typed as libraries in C expect bytes; nil if the buffer is empty and has no address.
    package var unsigned: UnsafePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}

extension UnsafeMutableRawBufferPointer {
    /// The start of the buffer, typed as libraries in C expect bytes; nil if the buffer is empty and has no address.
    package var unsigned: UnsafeMutablePointer<UInt8>? { bindMemory(to: UInt8.self).baseAddress }
}
