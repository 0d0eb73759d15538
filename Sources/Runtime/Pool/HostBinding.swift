import Configuration
import Crypto
import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM

/// What distinguishes a host from a copy of its disk: the machine ID, and its TPM where there is one.
public struct HostBinding: Equatable, Sendable {
    /// The size of the digest, in bytes.
    static let size = 32

    /// The SHA-256 of both.
    let digest: [UInt8]

    /// Creates the binding of a host with this machine ID and TPM; `hostTPM` is empty if there is none.
    init(machineID: String, hostTPM: [UInt8]) throws(Failure) {
        var writer = ByteWriter()
        writer.write(text: "container-vtpm host 1")
        writer.write(text: machineID)
        writer.write(hostTPM)
        digest = try SHA256.digest(writer.bytes)
    }

    /// Returns the binding of this host.
    ///
    /// Throws a ``Failure`` if the host has no machine ID, or if its TPM does not answer.
    public init(of hostPaths: HostPaths, _ configuration: Configuration.HostTPM) throws(Failure) {
        try self.init(
            machineID: Self.machineID(hostPaths.machineID),
            hostTPM: HostTPM.identity(configured: configuration.device)
        )
    }

    /// Reads the machine ID: 32 lower-case hexadecimal digits and a line feed. machine-id(5)
    private static func machineID(_ path: String) throws(Failure) -> String {
        let what = "cannot bind the pool of TPMs to this host"
        let text: String
        do {
            let file = try Descriptor.openFile(path, .read)
            text = String(decoding: try file.readAll(limit: 4096, path), as: UTF8.self)
        } catch let error where error.code == ENOENT {
            throw Failure(what, because: "there is no machine ID, \(path)", hint: "dbus-uuidgen --ensure=\(path)")
        }
        let id = text.last == "\n" ? String(text.dropLast()) : text
        guard id.utf8.count == 32, id.utf8.allSatisfy({ Hexadecimal.value($0) != nil }) else {
            throw Failure(what, because: "\(path) has no machine ID in it", hint: "see machine-id(5)")
        }
        return id
    }
}
