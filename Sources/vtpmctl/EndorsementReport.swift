import Crypto
import FoundationEssentials
import Platform
import Proof
import RuntimeControl
import RuntimeEndorsement
import RuntimeHostTPM
import VTPMProxy

/// What is printed of a TPM's identity.
struct EndorsementReport: Encodable {
    struct Key: Encodable {
        /// The kind of the key, as `--key` takes it.
        let algorithm: String
        let handle: String
        /// The SHA-256 of the SubjectPublicKeyInfo in DER: what SPIRE's plug-in by hash has as a file name.
        let sha256: String
        /// The TPM's own name of the key: the number of a digest (000b for SHA-256, 000c for SHA-384), and that of its public area.
        let name: String
        /// PEM, with line feeds.
        let publicKey: String
        /// The TPM2B_PUBLIC in Base64: what Azure DPS and Keylime register.
        let tpm2bPublic: String
        /// The SHA-256 of the TPM2B_PUBLIC: what Azure DPS has as registration ID where nothing else is chosen.
        let registrationID: String
        /// PEM, with line feeds.
        let certificate: String?
        /// What stands in the way of the certificate, or of its place in the TPM.
        let obstacle: String?
    }

    struct UnknownKey: Encodable {
        let key: String
        let obstacle: String
    }

    let stateID: String?
    /// A UUID.
    let instance: String
    /// When the record was made. RFC 3339
    let time: String
    let containerID: String?
    let bundle: String?
    let image: String?
    let endorsementKeys: [Key]
    /// The initial attestation key and the initial device identity.
    let deviceIdentities: [Key]
    /// Keys that stand in the configuration, and could not be recorded.
    let unknownKeys: [UnknownKey]
    /// The key by which the TPM will quote.
    let quotingKey: QuotingKeyReport?
    /// The platform's certificate, in PEM.
    let platformCertificate: String?
    /// The authority's certificate and those above it, in PEM.
    let chain: [String]

    init(_ record: EndorsementRecord) throws(Failure) {
        func given(_ text: String) -> String? { text.isEmpty ? nil : text }
        stateID = given(record.stateID)
        instance = Hexadecimal.uuid(record.instance)
        time = timestamp(record.time)
        containerID = given(record.containerID)
        bundle = given(record.bundle)
        image = given(record.image)
        quotingKey = record.quotingKey.isEmpty ? nil : try QuotingKeyReport(record.quotingKey)
        platformCertificate =
            record.platformCertificate.isEmpty ? nil : pem("CERTIFICATE", record.platformCertificate)
        chain = record.chain.map { pem("CERTIFICATE", $0) }
        var (endorsementKeys, deviceIdentities): ([Key], [Key]) = ([], [])
        for key in record.keys where !key.area.isEmpty {
            if key.key.isEndorsement {
                endorsementKeys.append(try Key(key))
            } else {
                deviceIdentities.append(try Key(key))
            }
        }
        self.endorsementKeys = endorsementKeys
        self.deviceIdentities = deviceIdentities
        unknownKeys = record.keys.filter { $0.area.isEmpty }.map { UnknownKey(key: $0.key.name, obstacle: $0.obstacle) }
    }

    var lines: [String] {
        var lines = ["state: \(stateID?.onOneLine ?? "none, the TPM is ephemeral")"]
        lines += endorsementKeys.flatMap { $0.lines(as: "endorsement key") }
        lines += deviceIdentities.flatMap { $0.lines(as: "device identity") }
        lines += ["instance: \(instance)", "recorded: \(time)"]
        if let containerID { lines.append("container: \(containerID.onOneLine)") }
        if let bundle { lines.append("bundle: \(bundle.onOneLine)") }
        if let image { lines.append("image: \(image.onOneLine)") }
        if let quotingKey { lines += ["quoting key: \(quotingKey.name)", String(quotingKey.publicKey.dropLast())] }
        lines += unknownKeys.map { "key: \($0.key) is not known: \($0.obstacle)" }
        return lines
    }
}

/// What is printed of the key by which a TPM will quote.
struct QuotingKeyReport: Encodable {
    /// The TPM's own name of the key: 000b and the SHA-256 of its public area.
    let name: String
    /// PEM, with line feeds.
    let publicKey: String

    fileprivate init(_ area: [UInt8]) throws(Failure) {
        guard let key = QuotingKey(decoding: area) else {
            throw Failure("cannot print the quoting key", because: "its record is damaged")
        }
        name = Hexadecimal.encode(try key.name)
        publicKey = pem("PUBLIC KEY", key.publicKey)
    }
}

extension EndorsementReport.Key {
    fileprivate init(_ recorded: EndorsementRecord.Key) throws(Failure) {
        guard let kind = IdentityKey.Kind(recorded.key), let key = IdentityKey(kind, decoding: recorded.area)
        else { throw Failure("cannot print the key \(recorded.key.name)", because: "its record is damaged") }
        var sized = ByteWriter()
        sized.write(UInt16(recorded.area.count))
        sized.write(recorded.area)
        algorithm = kind.rawValue
        handle = "0x" + String(recorded.key.handle, radix: 16)
        sha256 = Hexadecimal.encode(try SHA256.digest(key.publicKey))
        name = Hexadecimal.encode(try key.name)
        publicKey = pem("PUBLIC KEY", key.publicKey)
        tpm2bPublic = Data(sized.bytes).base64EncodedString()
        registrationID = Hexadecimal.encode(try SHA256.digest(sized.bytes))
        certificate = recorded.certificate.isEmpty ? nil : pem("CERTIFICATE", recorded.certificate)
        obstacle = recorded.obstacle.isEmpty ? nil : recorded.obstacle
    }

    fileprivate func lines(as kind: String) -> [String] {
        var lines = ["\(kind): \(algorithm), SHA-256 \(sha256)", "name in the TPM: \(name)"]
        if let obstacle { lines.append(certificate == nil ? "no certificate: \(obstacle)" : "obstacle: \(obstacle)") }
        lines.append(String(publicKey.dropLast()))
        if let certificate { lines.append(String(certificate.dropLast())) }
        return lines
    }
}
