import Crypto
import Platform
import RuntimeFormat

@testable import RuntimeState

/// The key of all states and indices in the corpora: 32 bytes of 1.
nonisolated(unsafe) let fuzzMaster = must { () throws(Failure) in
    try MasterKey(secret([UInt8](repeating: 1, count: MasterKey.size)))
}
private let path = "/states/web/state"

/// A state file: as it is, and with the check and the encryption made right.
///
/// For the second, what follows the header is the payload before its encryption, so that the parsers that only an
/// authentic file reaches are reached.
func fuzzStateFile(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    load(file)
    if let sealed = sealed(file) { load(sealed) }
}

private func load(_ file: [UInt8]) {
    let loaded = accepted { () throws(Failure) in
        let header = try StateFile(parsing: file, path: path)
        let key = try KeyRing(fuzzMaster).instanceKey(of: header, header.stateID, path: path)
        return (header, key, try header.decode(file, key: key, path: path))
    }
    guard let (header, key, payload) = loaded else { return }
    must { () throws(Failure) in
        let again = try header.encode(payload, key: key)
        let parsed = try StateFile(parsing: again, path: path)
        let decoded = try parsed.decode(again, key: key, path: path)
        require(
            parsed == header && plain(decoded.permanent) == plain(payload.permanent)
                && decoded.isComplete == payload.isComplete,
            "a state does not come back as it was"
        )
    }
    // The next write of this state, with the number that the file gave.
    if let next = accepted({ () throws(Failure) in try header.next(keyID: fuzzMaster.id) }) {
        require(next.generation > header.generation, "a generation does not grow")
    }
}

/// The file with its header's check and its payload made genuine; nothing where its sizes do not allow it.
private func sealed(_ file: [UInt8]) -> [UInt8]? {
    let size = file.integer(at: 10, bytes: 4)
    let (checkSize, tagSize) = (FileFormat.state.checkSize, AES256GCM.tagSize)
    guard size >= 14 + MasterKey.idSize + 4 + checkSize, size <= file.count else { return nil }
    var header = Array(file[..<(size - checkSize)])
    header.replaceSubrange(14..<14 + MasterKey.idSize, with: fuzzMaster.id)
    header.put(UInt32(file.count - size + tagSize), at: header.count - 4)
    header += must { () throws(Failure) in try SHA256.digest(header).prefix(checkSize) }
    let payload = [UInt8](repeating: 0, count: file.count - size + tagSize)
    guard let parsed = accepted({ () throws(Failure) in try StateFile(parsing: header + payload, path: path) }) else {
        return nil
    }
    return must { () throws(Failure) in
        let key = try KeyRing(fuzzMaster).instanceKey(of: parsed, parsed.stateID, path: path)
        let plaintext = SecretMessage(secret: secret(file[size...]))
        return try header + AES256GCM.seal(plaintext, key: key, nonce: parsed.nonce, associatedData: header)
    }
}

private nonisolated(unsafe) let indexKey = must { () throws(Failure) in try IndexKey(fuzzMaster) }

/// The host's index: as it is, and with its size, its key and its tag made right.
func fuzzIndex(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    loadIndex(file)
    guard file.count >= 14 + MasterKey.idSize + IndexKey.tagSize else { return }
    var body = Array(file.dropLast(IndexKey.tagSize))
    body.put(UInt32(file.count), at: 10)
    body.replaceSubrange(14..<14 + MasterKey.idSize, with: fuzzMaster.id)
    loadIndex(body + must { () throws(Failure) in try indexKey.tag(of: body) })
}

private func loadIndex(_ file: [UInt8]) {
    func parse(_ file: [UInt8]) throws(Failure) -> IndexFile {
        try IndexFile(parsing: file, keys: [indexKey], path: "/index/index")
    }
    guard case .first(let index, _) = accepted({ () throws(Failure) in try parse(file) }) else { return }
    for name in index.entries.keys {
        require(StateDirectoryName.isEncoded(name), "an entry's name is none of a directory")
    }
}
