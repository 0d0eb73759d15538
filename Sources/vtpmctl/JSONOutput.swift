import FoundationEssentials
import Platform

/// Prints a value as JSON, its keys in order.
func printJSON(_ value: some Encodable) throws(Failure) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    do {
        print(String(decoding: try encoder.encode(value), as: UTF8.self))
    } catch {
        throw Failure("cannot print JSON", because: "\(error)")
    }
}
