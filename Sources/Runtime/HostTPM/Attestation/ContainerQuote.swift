import CLinux
import Crypto
import Glibc
import Platform
import RuntimePCR
import VTPMProxy

/// The TPM of a container, as the host's root uses it: by a client of the kernel's resource manager beside the container's own.
package struct ContainerTPM {
    private let connection: TPMConnection

    private static let what = "cannot quote with the container's TPM"
    /// How long a command may take, in milliseconds.
    private static let timeout = 60_000

    /// Opens the host's node of a TPM with this number, if it is the device that the lease names, as `major:minor`.
    package init(number: UInt32, device: String) throws(Failure) {
        let path = "/dev/tpmrm\(number)"
        // A worker that does not answer holds this up as long as the kernel waits for a command: some minutes.
        let opened = try Descriptor.open(path, OpenOptions(O_RDWR), as: path)
        let status = try opened.status(path)
        guard status.st_mode & S_IFMT == S_IFCHR, "\(DeviceNumber(status.st_rdev))" == device else {
            throw Failure(Self.what, because: "\(path) is not the device \(device), which the container has")
        }
        let what = "cannot use the container's TPM \(path)"
        self.init(over: DeviceTransport(opened, path: path, timeout: Self.timeout, what: what))
    }

    /// Creates it behind a transport.
    package init(over transport: any TPMTransport) {
        connection = HostTPM(transport: transport).link(Self.what)
    }

    /// Quotes PCRs of one bank with the TPM's quoting key, of which nothing stays in the TPM; returns both.
    ///
    /// Nothing vouches for the answer but the signature: a tenant that has taken its TPM over can answer anything.
    package func quote(
        _ selection: PCRSelection,
        _ extraData: [UInt8]
    ) throws(Failure) -> (key: QuotingKey, quote: PCRQuote) {
        let create = Command.createPrimary(in: Handle.endorsement, from: QuotingKey.template)
        let refusals: [ResponseCode] = [.authFail, .badAuth]
        let created = try connection.run(create, accepting: refusals)
        guard !refusals.contains(where: created.code.isSame) else {
            throw connection.failure("the container has set an authorization of the endorsement hierarchy")
        }
        return try connection.withObject(created, madeBy: .createPrimary) { (handle) throws(Failure) in
            var parameters = created.parameters
            guard let area = parameters.readSized(), let key = QuotingKey(decoding: area) else {
                throw connection.malformed(.createPrimary)
            }
            var command = Command(.quote)
            command.handles = [.init(handle)]
            command.authorization = .password
            command.parameters.write(sized: extraData)
            command.parameters.write(Algorithm.null)
            command.parameters.write(selection.encoded)
            let values = try self.values(of: selection)
            guard let attestation = SignedAttestation(try connection.run(command)),
                let message = attestation.content(signedBy: key), case .quote(selection, let digest) = message.content
            else { throw connection.malformed(.quote) }
            guard digest == (try SHA256.digest(values.flatMap { $0 })) else {
                throw connection.failure("its PCRs change meanwhile", hint: "try again")
            }
            return (key, PCRQuote(attestation, selection, values: values))
        }
    }

    /// Reads so few PCRs of one bank that one answer has all of them.
    private func values(of selection: PCRSelection) throws(Failure) -> [[UInt8]] {
        var command = Command(.pcrRead)
        command.parameters.write(selection.encoded)
        var parameters = try connection.run(command).parameters
        guard parameters.read(UInt32.self) != nil, let bank = PCRSelection.readBank(&parameters),
            selection.banks == [bank], parameters.read(UInt32.self) == UInt32(bank.pcrs.count)
        else { throw connection.malformed(.pcrRead) }
        var values: [[UInt8]] = []
        for _ in bank.pcrs {
            guard let value = parameters.readSized(), value.count == bank.digestSize else {
                throw connection.malformed(.pcrRead)
            }
            values.append(value)
        }
        return values
    }
}
