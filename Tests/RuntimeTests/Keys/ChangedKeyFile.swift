import Crypto
import Platform
import Testing

/// Expects that no changed form of a key's file is read: each byte counts.
///
/// The check reveals damage, and the tag what was changed together with the check.
func expectNoChangeIsRead(of name: String, in temporary: TemporaryDirectory, load: () throws -> Void) throws {
    let whole = try temporary.read(name)
    for index in whole.indices {
        var changed = whole
        changed[index] ^= 1
        for isResigned in [false, true] {
            if isResigned {
                let body = Array(changed.dropLast(32))
                changed = body + (try SHA256.digest(body))
                if changed == whole { continue }
            }
            try temporary.write(name, changed)
            #expect(throws: Failure.self, "byte \(index), \(isResigned)") { try load() }
        }
    }
    for count in stride(from: 0, to: whole.count, by: 7) {
        try temporary.write(name, Array(whole.prefix(count)))
        #expect(throws: Failure.self, "\(count) bytes") { try load() }
    }
}
