import Crypto
import CryptoTransfer
import Platform
import RuntimeFormat

/// The protection of a new export.
public enum ExportProtection {
    /// A passphrase of at least one byte.
    case passphrase(SecretBytes)
    /// The public key of the recipient, who opens the export with the private key.
    ///
    /// A PEM file with an X25519, P-256 or P-384 key, in the form that `openssl pkey -pubout` writes.
    case recipient(publicKeyPEM: [UInt8])
}

/// The credential that opens an export.
public enum ExportCredential {
    /// The passphrase that the export was made with.
    case passphrase(SecretBytes)
    /// The private key of the recipient, in a PEM file that is not encrypted.
    case identity(privateKeyPEM: SecretBytes)
}

/// The format of an export: one TPM's state in a file that may leave the host.
///
///     magic      8 bytes  "CVTPMEX" and a line feed
///     version    16 bits  1
///     size       32 bits  of the header, in bytes, including the check; at most 4096
///     protection 16 bits  1 passphrase, 2 recipient
///     nonce      12 bytes random
///
/// For a passphrase follow:
///
///     logN       8 bits   base-2 logarithm of scrypt's N; ours is 17
///     r          32 bits  scrypt's block size; ours is 8
///     p          32 bits  scrypt's parallelization; ours is 1
///     salt       32 bytes random
///
/// For a recipient follow:
///
///     recipient  32 bytes SHA-256 of the recipient's public key
///     ephemeral  32 bits  length, then a public key of the same kind, made only for this file
///
/// For both follow:
///
///     payload    32 bits  size of the payload after the header, in bytes, including the tag
///     check      16 bytes start of the SHA-256 of everything before it; tells a damaged header from a wrong key
///     payload    AES-256-GCM with the nonce, the whole header as associated data; then the tag, 16 bytes
///
/// Integers are big-endian. The decrypted payload is a list of items: 16 bits kind, 32 bits length, contents. Kind 1 is
/// the state ID in UTF-8, and kind 2 is `permall` of libtpms. There is exactly one of each, and neither is empty.
///
/// For a passphrase, the key of AES-256-GCM is the first 32 bytes of scrypt (RFC 7914) of the passphrase and the salt.
/// A reader refuses parameters with 128 * N * r above 256 MiB or N * r * p above 2^23.
///
/// For a recipient, the key is the first 32 bytes of HKDF-SHA-256 (RFC 5869) without a salt. The input key material is
/// the shared secret of the ephemeral key and the recipient's key: the 32 bytes of X25519 (RFC 7748), or the x
/// coordinate of ECDH on P-256 or P-384, 32 or 48 bytes (SP 800-56A, 5.7.1.2). The info is the text
/// "container-vtpm export 1", a zero byte, the ephemeral public key and the recipient's public key. Each public key
/// follows its length in 32 bits. Public keys are SubjectPublicKeyInfo in DER (RFC 5280; RFC 8410 for X25519), with a
/// named curve and an uncompressed point.
public enum StateExport {
    static let purpose = Array("container-vtpm export 1".utf8)
    /// The largest possible export, in bytes.
    public static let fileLimit =
        FileFormat.export.sizeLimit + 3 * Item.headerSize + ExportedState.stateIDLimit + ExportedState.authorityLimit
        + ExportedState.permanentLimit + AES256GCM.tagSize

    /// Encrypts a state; returns the contents of the whole file.
    ///
    /// Each export has a new nonce and a new salt or ephemeral key, so two exports of the same state have different
    /// keys.
    ///
    /// - Throws: ``Failure`` if the state or its ID is empty or too large, the passphrase is empty, or the public key
    ///   cannot be used.
    public static func seal(
        _ state: ExportedState,
        with protection: ExportProtection
    ) throws(Failure) -> [UInt8] {
        try seal(state, with: protection, scrypt: .ours)
    }

    static func seal(
        _ state: ExportedState,
        with protection: ExportProtection,
        scrypt: Scrypt
    ) throws(Failure) -> [UInt8] {
        let what = "cannot export the state \"\(state.stateID.prefix(64))\""
        if let why = state.misfit { throw Failure(what, because: why) }
        let key: SecretBytes
        let described: ExportHeader.Protection
        switch protection {
        case .passphrase(let passphrase):
            guard passphrase.count > 0 else { throw Failure(what, because: "the passphrase is empty") }
            let salt = try Random.bytes(count: Scrypt.saltSize)
            key = try scrypt.key(of: passphrase, salt: salt)
            described = .passphrase(scrypt, salt: salt)
        case .recipient(let pem):
            let recipient = try AgreementKey.recipient(publicPEM: pem, what)
            let ephemeral = try recipient.ephemeral(what)
            let secret = try ephemeral.agree(with: recipient, what)
            key = try HKDF.key(from: secret, info: info(ephemeral: ephemeral, recipient: recipient))
            described = .recipient(fingerprint: try recipient.fingerprint, ephemeral: ephemeral.publicKey)
        }
        let plaintext = try state.encoded()
        let header = try ExportHeader(described, payloadSize: plaintext.count + AES256GCM.tagSize)
        let encoded = try header.encoded()
        return encoded
            + (try AES256GCM.seal(
                SecretMessage(secret: plaintext),
                key: key,
                nonce: header.nonce,
                associatedData: encoded
            ))
    }

    /// Decrypts an export; `path` names the file in errors.
    ///
    /// The error tells apart all causes, except that a wrong passphrase looks like a damaged payload.
    ///
    /// - Throws: ``Failure`` if the file is not an export, truncated, damaged or of a newer version, if it was made
    ///   with the other kind of protection, for another recipient or with another passphrase, or if the private key is
    ///   unusable.
    public static func open(
        _ file: [UInt8],
        with opener: ExportCredential,
        path: String
    ) throws(Failure) -> ExportedState {
        let what = "cannot open the export \(path)"
        guard file.count <= fileLimit else { throw Failure(what, because: "it is larger than any export") }
        let (header, size) = try ExportHeader.parse(file, what)
        let key = try key(of: header, with: opener, what)
        let plaintext = try AES256GCM.open(
            file[size...],
            key: key,
            nonce: header.nonce,
            associatedData: Array(file[..<size])
        )
        guard let plaintext else {
            switch opener {
            case .passphrase: throw Failure(what, because: "the passphrase is wrong, or the payload is damaged")
            case .identity: throw Failure(what, because: "its payload is damaged", hint: "copy the file again")
            }
        }
        guard let state = try ExportedState(decoding: plaintext) else {
            throw Failure(what, because: "it holds something else than one state", hint: "upgrade")
        }
        return state
    }

    private static func key(
        of header: ExportHeader,
        with opener: ExportCredential,
        _ what: String
    ) throws(Failure) -> SecretBytes {
        switch (header.protection, opener) {
        case (.passphrase(let scrypt, let salt), .passphrase(let passphrase)):
            guard scrypt.isBearable else {
                throw Failure(
                    what,
                    because: "its passphrase would cost too much memory or time to try "
                        + "(scrypt with N=2^\(scrypt.logN), r=\(scrypt.r), p=\(scrypt.p))"
                )
            }
            guard passphrase.count > 0 else { throw Failure(what, because: "the passphrase is empty") }
            return try scrypt.key(of: passphrase, salt: salt)
        case (.recipient(let fingerprint, let encoded), .identity(let pem)):
            let identity = try AgreementKey.identity(privatePEM: pem, what)
            let own = try identity.fingerprint
            guard fingerprint == own else {
                throw Failure(
                    what,
                    because: "it was made for the key \(Hexadecimal.encode(fingerprint)), "
                        + "not for \(Hexadecimal.encode(own))"
                )
            }
            guard let ephemeral = AgreementKey.ephemeral(publicKey: encoded), ephemeral.kind == identity.kind else {
                throw Failure(what, because: "its header holds no key that goes with the recipient's")
            }
            let secret = try identity.agree(with: ephemeral, what)
            return try HKDF.key(from: secret, info: info(ephemeral: ephemeral, recipient: identity))
        case (.passphrase, .identity):
            throw Failure(what, because: "it was made with a passphrase, not for a key", hint: "give the passphrase")
        case (.recipient(let fingerprint, _), .passphrase):
            throw Failure(
                what,
                because: "it was made for the key \(Hexadecimal.encode(fingerprint)), not with a passphrase",
                hint: "give the private key"
            )
        }
    }

    /// Returns the info of HKDF, which binds the derived key to both public keys.
    private static func info(ephemeral: AgreementKey, recipient: AgreementKey) -> [UInt8] {
        var info = ByteWriter()
        info.write(purpose)
        info.write(UInt8(0))
        for key in [ephemeral, recipient] {
            info.write(UInt32(key.publicKey.count))
            info.write(key.publicKey)
        }
        return info.bytes
    }
}
