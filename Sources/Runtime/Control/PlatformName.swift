import Platform

/// What a platform certificate says of the machine that a TPM belongs to. TCG Platform Certificate Profile, 3.1.3
public struct PlatformName: Equatable, Sendable {
    /// Who makes the platform.
    public var manufacturer: String
    /// The platform's model.
    public var model: String
    /// The platform's version.
    public var version: String

    /// The longest of the texts, in bytes. RFC 5280, A.1: a directory string's upper bound is larger, a name's is 64
    public static let limit = 64

    /// Creates a name.
    public init(manufacturer: String, model: String, version: String) {
        self.manufacturer = manufacturer
        self.model = model
        self.version = version
    }

    /// Whether each text has at least one byte, and no more than ``limit``.
    public var isValid: Bool {
        [manufacturer, model, version].allSatisfy { (1...Self.limit).contains($0.utf8.count) }
    }

    func encode(into writer: inout ByteWriter) {
        for text in [manufacturer, model, version] { writer.write(text: text) }
    }

    /// Reads it; returns nil if it is malformed, or not valid.
    init?(_ reader: inout ByteReader) {
        guard let manufacturer = reader.readText(), let model = reader.readText(), let version = reader.readText()
        else { return nil }
        self.init(manufacturer: manufacturer, model: model, version: version)
        guard isValid else { return nil }
    }
}
