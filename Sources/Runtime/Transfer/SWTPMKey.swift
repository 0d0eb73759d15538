import Crypto
import CryptoTransfer
import Platform

/// The key or passphrase that swtpm encrypts its state with, its option `--key`. swtpm(8)
public enum SWTPMKey {
    /// The key itself, 16 or 32 bytes: `file=` with `mode=aes-128-cbc` or `mode=aes-256-cbc`.
    case key(SecretBytes)
    /// The contents of `file=` for an unknown `format=`: the key itself or its hexadecimal digits.
    ///
    /// 32 hexadecimal digits are either a key of 128 bits or, as bytes, a key of 256 bits. When a state is read, its
    /// header gives the size of the key, which leaves only one of the two. To write a state, such a file is refused.
    case keyFile(SecretBytes)
    /// The whole contents of `pwdfile=`: for swtpm, a line feed at the end is part of the passphrase.
    case passphrase(SecretBytes)

    /// Parses a key file with `format=hex`: hexadecimal digits with or without `0x`.
    ///
    /// Everything after the first white space is ignored.
    public static func hexadecimal(_ file: SecretBytes) throws(Failure) -> SWTPMKey {
        guard let key = try digits(in: file) else {
            throw Failure("cannot use a key of swtpm", because: "it has not 32 or 64 hexadecimal digits")
        }
        return .key(key)
    }

    private static func digits(in file: SecretBytes) throws(Failure) -> SecretBytes? {
        let key = try SecretBytes(capacity: 32)
        let isKey = file.withBytes { bytes in
            var digits = bytes.starts(with: Array("0x".utf8)) ? bytes.dropFirst(2) : bytes[...]
            digits = digits.prefix { !isSpace($0) }
            guard digits.count == 32 || digits.count == 64 else { return false }
            return Hexadecimal.decode(digits, into: key)
        }
        return isKey ? key : nil
    }

    /// Returns the key or passphrase to write a state with; throws if a key file is ambiguous.
    func certain(_ what: String) throws(Failure) -> SWTPMKey {
        switch self {
        case .passphrase: return self
        case .key(let key):
            guard Self.sizes.contains(key.count) else {
                throw Failure(what, because: "swtpm's keys have 128 or 256 bits, and this one has \(key.count * 8)")
            }
            return self
        case .keyFile(let file):
            let isBinary = Self.sizes.contains(file.count)
            guard let key = try Self.digits(in: file) else {
                guard isBinary else { throw Self.noKey(what) }
                guard file.withBytes({ !$0.allSatisfy(Self.isText) }) else {
                    throw Failure(
                        what,
                        because:
                            "the \(file.count) bytes of the key file are text: a passphrase, or a key with format=binary",
                        hint: "--swtpm-passphrase-file, or write the key as hexadecimal digits"
                    )
                }
                return .key(file)
            }
            guard !isBinary else {
                throw Failure(
                    what,
                    because: "the key file is \(file.count) hexadecimal digits, a key of \(key.count * 8) bits with "
                        + "format=hex and another of \(file.count * 8) bits with format=binary",
                    hint: "put 0x before the digits, or write the binary key as \(2 * file.count) digits"
                )
            }
            return .key(key)
        }
    }

    private static let sizes = [16, SWTPMCipher.longKeySize]

    private static func noKey(_ what: String) -> Failure {
        Failure(what, because: "the key file is neither 16 or 32 bytes nor 32 or 64 hexadecimal digits")
    }

    private static func isText(_ byte: UInt8) -> Bool { isSpace(byte) || (0x20...0x7e).contains(byte) }

    /// The size of the key that a new state is encrypted with, in bytes; 32 for a passphrase.
    var sizeToWriteWith: Int {
        guard case .key(let key) = self else { return SWTPMCipher.longKeySize }
        return key.count
    }

    /// Returns the keys that could have encrypted a file, all with `size` bytes.
    ///
    /// A file does not record the key derivation function of a passphrase. The first key is that of swtpm's default,
    /// PBKDF2, which is also used to write.
    func candidates(size: Int, _ what: String) throws(Failure) -> [SecretBytes] {
        switch self {
        case .key(let key): return try Self.fitting([key], size: size, what)
        case .keyFile(let file):
            let binary = Self.sizes.contains(file.count) ? [file] : []
            return try Self.fitting(binary + [Self.digits(in: file)].compactMap { $0 }, size: size, what)
        case .passphrase(let passphrase):
            guard passphrase.count > 0 else { throw Failure(what, because: "the passphrase is empty") }
            return [try Self.pbkdf2(passphrase, size: size), try Self.sha512(passphrase, size: size)]
        }
    }

    private static func fitting(_ keys: [SecretBytes], size: Int, _ what: String) throws(Failure) -> [SecretBytes] {
        guard let other = keys.last else { throw noKey(what) }
        let found = keys.filter { $0.count == size }
        guard !found.isEmpty else {
            throw Failure(what, because: "it takes a key of \(size * 8) bits, and this one has \(other.count * 8)")
        }
        return found
    }

    /// Derives a key as `kdf=pbkdf2` does: PBKDF2 with HMAC-SHA-512, 1000 iterations and the salt "swtpm".
    private static func pbkdf2(_ passphrase: SecretBytes, size: Int) throws(Failure) -> SecretBytes {
        try PassphraseKey.pbkdf2SHA512(passphrase, salt: Array("swtpm".utf8), iterations: 1000, size: size)
    }

    /// Derives a key as `kdf=sha512` does: the first bytes of the passphrase's SHA-512.
    private static func sha512(_ passphrase: SecretBytes, size: Int) throws(Failure) -> SecretBytes {
        let digest = try PassphraseKey.sha512(passphrase)
        let key = try SecretBytes(capacity: size)
        digest.withBytes { bytes in
            let isCopied = key.append(copying: UnsafeRawBufferPointer(rebasing: bytes.prefix(size)))
            precondition(isCopied, "the capacity is the size")
        }
        return key
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
}
