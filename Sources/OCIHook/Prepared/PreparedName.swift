import Crypto
import Platform
import RuntimeControl
import VTPMProxy

/// What a bundle's `config.json` calls a vTPM that was prepared for one creation: an argument of the hook.
///
/// Its text is `TOKEN/M:N/M:N`: the token in hexadecimal digits, and the two device numbers, by which rules of an
/// earlier creation are recognised.
struct PreparedName: Equatable, Sendable {
    /// The option before the argument.
    static let option = "--prepared"

    let token: [UInt8]
    /// The numbers of `/dev/tpm0` and `/dev/tpmrm0` in the container.
    let devices: [DeviceNumber]

    /// Makes a new name for these devices.
    init(of devices: [DeviceNumber]) throws(Failure) {
        token = try Random.bytes(count: AdoptionRequest.tokenSize)
        self.devices = devices
    }

    /// Parses ``text``; returns nil if it is anything else.
    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        let devices = parts.dropFirst().compactMap { DeviceNumber(String($0)) }
        guard parts.count == 3, devices.count == 2, let token = Self.bytes(parts[0]) else { return nil }
        self.token = token
        self.devices = devices
    }

    var text: String {
        ([Hexadecimal.encode(token)] + devices.map(\.description)).joined(separator: "/")
    }

    private static func bytes(_ digits: Substring) -> [UInt8]? {
        let values = digits.utf8.compactMap(Hexadecimal.value)
        guard values.count == digits.utf8.count, values.count == 2 * AdoptionRequest.tokenSize else { return nil }
        return stride(from: 0, to: values.count, by: 2).map { values[$0] << 4 | values[$0 + 1] }
    }
}
