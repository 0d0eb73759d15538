import Crypto
import Platform
import RuntimeControl
import RuntimeState
import VTPMProxy

/// Which instance runs, and which run of it this is: what a supervisor says of its own records.
enum LaunchInstance {
    /// The size of the number that no other run has, in bytes.
    private static let runSize = 16

    /// Returns the event about the TPM that a state is for, in canonical JSON. RFC 8785
    static func event(of store: any StateSink, startedFrom generation: UInt64) throws(Failure) -> [UInt8] {
        // The texts have no character that needs an escape sequence. Members stand in the order of their names' bytes, and a
        // number of 64 bits is no number of JSON's.
        let instance = store.instance.isEmpty ? "" : Hexadecimal.uuid(store.instance)
        let run = Hexadecimal.encode(try Random.bytes(count: runSize))
        let statement =
            "{\"endorsementKeys\":{\(keys(in: store.endorsement))},\"generation\":\"\(generation)\","
            + "\"instance\":\"\(instance)\",\"run\":\"\(run)\",\"type\":\"container-vtpm instance\",\"version\":1}"
        return TaggedEvent.instance.encoded(Array(statement.utf8))
    }

    /// The keys that the host has recorded, each with the SHA-256 of its SubjectPublicKeyInfo.
    private static func keys(in record: [UInt8]) -> String {
        var members: [String] = []
        for mark in EndorsementHead(of: record).keys {
            guard let kind = mark.first, let key = StandardKey(rawValue: kind) else { continue }
            members.append("\"\(key.name)\":\"\(Hexadecimal.encode(mark.dropFirst()))\"")
        }
        members.sort { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
        var text = ""
        for member in members { text += text.isEmpty ? member : "," + member }
        return text
    }
}
