import FoundationEssentials
import JSONText
import Launch
import Platform

// One file with all of them: a collection of conceptual messages in JSON. draft-ietf-rats-msg-wrap
extension EvidenceFiles {
    private static let typeMember = "__cmwc_t"
    /// What the collection is, a tag URI. RFC 4151
    private static let type = "tag:container-vtpm.org,2026:proof"
    /// The bit for evidence.
    private static let indicator: Int64 = 4
    /// The largest collection that is read, in bytes.
    static let collectionLimit = 4 << 20

    /// The collection: each file by its name, with its media type and its contents in Base64 for URLs. RFC 4648, 5
    public var collection: [UInt8] {
        let members = all.map { file in
            CanonicalJSON.Member(
                file.name,
                .array([
                    .string(Self.mediaType(of: file.name)), .string(Self.encode(file.content)),
                    .integer(Self.indicator),
                ])
            )
        }
        return CanonicalJSON.object(members + [.init(Self.typeMember, .string(Self.type))]).bytes
    }

    /// Reads those files of a collection that are there; `path` is for errors.
    init(_ names: [String], inCollection bytes: [UInt8], _ path: String) throws(Failure) {
        let root = try JSONText(parsing: bytes, path: path, limit: Self.collectionLimit).root
        guard root[Self.typeMember]?.string == Self.type else {
            throw Failure("cannot read \(path)", because: "it is no collection of a proof's files")
        }
        var files: [File] = []
        for name in names {
            guard let record = root[name] else { continue }
            guard let parts = record.elements, (2...3).contains(parts.count),
                let content = parts[1].string.flatMap({ Self.decode($0) })
            else { throw Failure("cannot read \(path)", because: "its part \(name) is no record of a message") }
            files.append(File(name: name, content: content))
        }
        self.init(files, from: path)
    }

    private static func mediaType(of name: String) -> String {
        if name.hasSuffix(".json") { return "application/json" }
        return name.hasSuffix(".pem") ? "application/x-pem-file" : "application/octet-stream"
    }

    /// Encodes without the characters that fill up the end.
    private static func encode(_ bytes: [UInt8]) -> String {
        Data(bytes).base64EncodedString()
            .replacing("+", with: "-").replacing("/", with: "_").replacing("=", with: "")
    }

    private static func decode(_ text: String) -> [UInt8]? {
        guard !text.utf8.contains(where: { "+/=".utf8.contains($0) }) else { return nil }
        let plain = text.replacing("-", with: "+").replacing("_", with: "/")
        let filled = plain + String(repeating: "=", count: (4 - plain.utf8.count % 4) % 4)
        guard let bytes = Data(base64Encoded: filled).map({ Array($0) }), encode(bytes) == text else { return nil }
        return bytes
    }
}
