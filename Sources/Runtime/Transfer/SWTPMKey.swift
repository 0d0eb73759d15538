import Crypto
import CryptoTransfer
import Platform

/// What swtpm encrypts its state with, its option `--key`. swtpm(8)
public enum SWTPMKey {
    /// The key itself, 16 or 32 bytes: `file=` with `mode=aes-128-cbc` or `mode=aes-256-cbc`.
    case key(SecretBytes)
    /// The contents of `file=`, of which only `format=` says whether they are the key or its digits.
    ///
    /// 32 hexadecimal digits are a key of 128 bits, or 32 bytes of one with 256. A file of swtpm's says how long its key
    /// is, which leaves one of both; nothing is written with a key that could be either.
    case keyFile(SecretBytes)
    /// The contents of `pwdfile=`, all of them: swtpm takes a line feed at the end for a part of the passphrase.
    case passphrase(SecretBytes)

    /// The key in a file of `format=hex`: hexadecimal digits, after `0x` or not; what follows white space is ignored.
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

    /// What it is written with: a key that is certain, or the passphrase.
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

    /// Bytes of the key that a file is encrypted with.
    var sizeToWriteWith: Int {
        guard case .key(let key) = self else { return SWTPMCipher.longKeySize }
        return key.count
    }

    /// The keys that it may stand for.
    ///
    /// A file does not say which key derivation made its key; swtpm's default is the first one, and what is written
    /// uses it.
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

    /// `kdf=pbkdf2`: PBKDF2 with HMAC-SHA-512, 1000 iterations and the salt "swtpm".
    private static func pbkdf2(_ passphrase: SecretBytes, size: Int) throws(Failure) -> SecretBytes {
        try PassphraseKey.pbkdf2SHA512(passphrase, salt: Array("swtpm".utf8), iterations: 1000, size: size)
    }

    /// `kdf=sha512`: the start of the passphrase's SHA-512.
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
