import ArgumentParser
import AuthorityClient
import Configuration
import Crypto
import CryptoCertificates
import FoundationEssentials
import Glibc
import Platform
import Proof
import RuntimeControl
import RuntimeEndorsement
import RuntimeKeys

struct AuthorityRevoke: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Revokes the certificates of a TPM for good.",
        discussion: """
            Verifiers learn of it by the list that \"vtpmctl ca crl\" prints. The TPM keeps its keys and certificates, and gets no \
            others. Revoke before the state is removed: its record is what tells the serial numbers; afterwards --serial names them.
            """
    )

    @OptionGroup var host: HostOptions
    @OptionGroup var confirmation: ConfirmationOptions
    @Argument(help: "A container's ID, or a state's.", completion: .states)
    var name: String?
    @Option(
        name: .customLong("serial"),
        help: "A certificate's serial number in hexadecimal; may be given more than once."
    )
    var serialNumbers: [String] = []

    func validate() throws {
        guard (name == nil) != serialNumbers.isEmpty else {
            throw ValidationError("Give a container's or a state's ID, or serial numbers.")
        }
        for text in serialNumbers where Self.serialNumber(text) == nil {
            throw ValidationError("\"\(text.excerpt)\" is no serial number.")
        }
    }

    /// Reads a serial number, of which openssl(1) writes two digits with a colon between them.
    private static func serialNumber(_ text: String) -> [UInt8]? {
        let digits = text.utf8.filter { $0 != UInt8(ascii: ":") }.map { Hexadecimal.value($0) }
        guard digits.count.isMultiple(of: 2), case let values = digits.compactMap({ $0 }), values.count == digits.count
        else { return nil }
        let bytes = stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
        let number = Array(bytes.drop { $0 == 0 })
        return (1...RevokedCertificate.serialLimit).contains(number.count) ? number : nil
    }

    func run() throws {
        try report("revoking certificates") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let record =
                if let name { try EndorsementLookup(host: host, name: name).record() } else {
                    nil as EndorsementRecord?
                }
            if let record {
                let state = record.stateID.isEmpty ? "an ephemeral TPM" : "the state \"\(record.stateID.onOneLine)\""
                let instance = Hexadecimal.uuid(record.instance)
                let what = "revoke for ever the certificates of \(state), instance \(instance)"
                try confirmation.require(what, typing: instance)
            }
            // Nobody else changes the file meanwhile.
            let (found, revoked) = try HostContext.withKeysLock(hostPaths, shared: false) { () throws(Failure) in
                let files = try host.configuration().authority.files
                let authority = try CertificateAuthority(hostPaths, keys: host.open(hostPaths).keys, files: files)
                let numbers =
                    if let record { try issued(record, by: authority) } else {
                        serialNumbers.compactMap(Self.serialNumber)
                    }
                let now = UInt64(clamping: time(nil))
                let certificates = numbers.compactMap {
                    RevokedCertificate(serialNumber: $0, of: record?.instance, time: now)
                }
                return (certificates.count, try authority.revoke(certificates))
            }
            try Output.write(line: "\(revoked) of \(found) certificates are revoked now; the others were before.")
            try Output.write(line: "Give verifiers the new list: vtpmctl ca crl")
        }
    }

    /// Returns the serial numbers of the certificates that this authority has issued.
    private func issued(_ record: EndorsementRecord, by authority: CertificateAuthority) throws(Failure) -> [[UInt8]] {
        let issuer = try authority.ownCertificate().map { (bytes) throws(Failure) in try Certificate(decoding: bytes) }
        var numbers: [[UInt8]] = []
        for encoded in record.keys.map(\.certificate) + [record.platformCertificate] where !encoded.isEmpty {
            let certificate = try Certificate(decoding: encoded)
            if let issuer, certificate.isSigned(by: issuer) { numbers.append(certificate.serialNumber) }
        }
        guard !numbers.isEmpty else {
            throw Failure(
                "cannot revoke certificates",
                because: "the TPM has none of this host's certificate authority"
            )
        }
        return numbers
    }
}

struct AuthorityList: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "crl",
        abstract: "Prints the list of the certificates that are revoked, in PEM.",
        discussion: """
            It is signed anew each time. Verifiers want another one once it is over; a timer makes it where they fetch it \
            (\"crl-url\" in [authority] of the configuration).
            """
    )

    @OptionGroup var host: HostOptions
    @Option(help: "How many days the list is valid, 1 to 3650.")
    var days = 30
    @Flag(help: "Print DER in place of PEM.")
    var der = false

    func validate() throws {
        guard (1...3650).contains(days) else { throw ValidationError("--days takes 1 to 3650.") }
    }

    func run() throws {
        try report("listing revoked certificates") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let list = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let files = try host.configuration().authority.files
                let authority = try CertificateAuthority(hostPaths, keys: host.open(hostPaths).keys, files: files)
                return try authority.list(at: UInt64(clamping: time(nil)), validFor: UInt64(days) * 86400)
            }
            try der ? Output.write(binary: list) : Output.write(text: pem("X509 CRL", list))
        }
    }
}
