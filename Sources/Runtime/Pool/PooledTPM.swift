import Crypto
import Platform
import RuntimeControl
import RuntimeFormat
import RuntimeState
import VTPMProxy

/// A TPM that was made ahead of need: it has its keys, no certificates, and no container has had it.
public struct PooledTPM {
    /// Its state, libtpms' `permall`.
    public let state: SecretBytes
    /// The keys that it has at their handles, and its banks of PCRs.
    public let provision: TPMProvision
    /// The version of libtpms that made it.
    public let library: LibraryVersion

    /// Creates the description of a TPM.
    public init(state: SecretBytes, provision: TPMProvision, library: LibraryVersion) {
        (self.state, self.provision, self.library) = (state, provision, library)
    }
}

/// The file of a TPM in the pool, which the master key encrypts.
///
///     magic    8 bytes  "CVTPMPL" and a line feed
///     version  16 bits  2
///     size     32 bits  size of the file, in bytes
///     key id   16 bytes the master key that the file needs
///     salt     32 bytes random, new with each file
///     host     32 bytes the host that made it (``HostBinding``)
///     keys     16 bits  the keys that the TPM has, ``StandardKeys``
///     banks    8 bits   its banks of PCRs, ``PCRBanks``
///     library  32 bits  the version of libtpms
///     sealed   32 bits size, then the state, AES-256-GCM with a key of HKDF and a nonce of zeros; the tag
///     check    32 bytes SHA-256 of all before it
///
/// Integers are big-endian. The tag covers the fields from the key ID to the version of libtpms as well.
struct PoolFile {
    let keyID: [UInt8]
    let host: [UInt8]
    let provision: TPMProvision
    let library: LibraryVersion
    private let salt: [UInt8]
    private let associated: [UInt8]
    private let sealed: [UInt8]

    static let saltSize = 32
    private static let info = Array("container-vtpm pool 1".utf8)
    /// The key is used once.
    private static let nonce = [UInt8](repeating: 0, count: AES256GCM.nonceSize)

    /// Parses a file; `what` begins its errors.
    init(parsing bytes: [UInt8], _ what: String) throws(Failure) {
        let format = FileFormat.pool
        let header = try FileHeader(format, parsing: bytes, what)
        guard header.version == format.version else {
            throw format.failure(what, "an earlier version of this program made it")
        }
        var fields = header.fields
        let start = fields.offset
        guard let keyID = fields.read(count: MasterKey.idSize), let salt = fields.read(count: Self.saltSize),
            let host = fields.read(count: HostBinding.size), let provision = TPMProvision(&fields),
            let library = fields.read(UInt32.self)
        else { throw format.damaged(what) }
        associated = Array(bytes[start..<fields.offset])
        guard let size = fields.read(UInt32.self),
            let sealed = fields.read(count: Int(size)), fields.remaining == 0
        else { throw format.damaged(what) }
        (self.keyID, self.salt, self.host, self.sealed) = (keyID, salt, host, sealed)
        self.provision = provision
        self.library = LibraryVersion(number: library)
    }

    /// Encrypts a TPM for the host's own pool.
    static func encode(_ tpm: PooledTPM, for host: HostBinding, _ master: MasterKey) throws(Failure) -> [UInt8] {
        let salt = try Random.bytes(count: saltSize)
        var fields = ByteWriter()
        fields.write(master.id)
        fields.write(salt)
        fields.write(host.digest)
        tpm.provision.encode(into: &fields)
        fields.write(tpm.library.number)
        let sealed = try AES256GCM.seal(
            SecretMessage(prefix: [], secret: tpm.state, suffix: []),
            key: HKDF.key(from: master.key, salt: salt, info: info),
            nonce: nonce,
            associatedData: fields.bytes
        )
        fields.write(UInt32(sealed.count))
        fields.write(sealed)
        return try FileFormat.pool.encode(fields)
    }

    /// Decrypts the TPM; `what` begins its errors.
    func open(_ master: MasterKey, _ what: String) throws(Failure) -> PooledTPM {
        let state = try AES256GCM.open(
            sealed[...],
            key: HKDF.key(from: master.key, salt: salt, info: Self.info),
            nonce: Self.nonce,
            associatedData: associated
        )
        guard let state else { throw FileFormat.pool.failure(what, "it was changed") }
        return PooledTPM(state: state, provision: provision, library: library)
    }
}
