import Crypto
import Platform
import RuntimeFormat

@testable import RuntimeState

/// The key of all states and indices in the corpora: 32 bytes of 1.
nonisolated(unsafe) let fuzzMaster = must { () throws(Failure) in
    try MasterKey(secret([UInt8](repeating: 1, count: MasterKey.size)))
}
private let path = "/states/web/state"

/// A state file: as it is, and with the checks, the tags and the encryption made right.
///
/// For the second, what follows the header is the payload before its encryption, and in version 2 the two slots with
/// sectors that have no tags yet. So the parsers that only an authentic file reaches are reached.
func fuzzStateFile(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    load(file)
    guard file.count > FileFormat.prefixSize else { return }
    if file[9] == 1, let sealed = sealedFirst(file) { load(sealed) }
    if file[9] == 2 {
        if let tagged = tagged(file) { load(tagged) }
        writeAnew(file)
    }
}

private func keys(of header: StateFile) throws(Failure) -> InstanceKeys {
    try KeyRing(fuzzMaster).instanceKeys(of: header, header.stateID, path: path)
}

private func load(_ file: [UInt8]) {
    let loaded = accepted { () throws(Failure) in
        let header = try StateFile(parsing: file, path: path)
        return (header, try header.decode(file, keys: keys(of: header), path: path))
    }
    guard let (header, payload) = loaded else { return }
    must { () throws(Failure) in
        let keys = try keys(of: header)
        let (written, again) = try header.encode(payload, keys: keys)
        compare(written, again, payload, keys)
        // The next write of this state, with the number that the file gave.
        guard let write = try? header.overwriting(payload, keyID: header.keyID, keys: keys, unit: 0) else { return }
        require(write.header.generation > header.generation, "a generation does not grow")
        var next = file
        next.replaceSubrange(write.offset..<write.offset + write.bytes.count, with: write.bytes)
        compare(write.header, next, payload, keys)
    }
}

/// A file that was written is found as it was written.
private func compare(_ header: StateFile, _ file: [UInt8], _ payload: StatePayload, _ keys: InstanceKeys) {
    must { () throws(Failure) in
        let parsed = try StateFile(parsing: file, path: path)
        let decoded = try parsed.decode(file, keys: keys, path: path)
        require(
            parsed == header && plain(decoded.permanent) == plain(payload.permanent)
                && decoded.unknown.map { plain($0) } == payload.unknown.map { plain($0) }
                && decoded.isComplete == payload.isComplete,
            "a state does not come back as it was"
        )
    }
}

/// Gives a list of items, all that follows the header, to the parser of an authentic payload of version 2.
private func writeAnew(_ file: [UInt8]) {
    let size = min(max(file.integer(at: 10, bytes: 4), FileFormat.prefixSize), file.count)
    let header = StateFile(keyID: fuzzMaster.id, uuid: [UInt8](repeating: 9, count: 16), generation: 1, stateID: "web")
    let written = must { () throws(Failure) in
        let items = SecretMessage(secret: secret(file[size...].prefix(100_000)))
        return try header.encode(items: items, keys: keys(of: header)).content
    }
    load(written)
}

/// The file with its header's check and its sectors' tags made genuine; nothing where its sizes do not allow it.
private func tagged(_ file: [UInt8]) -> [UInt8]? {
    let (size, checkSize) = (file.integer(at: 10, bytes: 4), FileFormat.state.checkSize)
    guard size >= 14 + MasterKey.idSize + checkSize, size <= file.count else { return nil }
    var tagged = file
    tagged.replaceSubrange(14..<14 + MasterKey.idSize, with: fuzzMaster.id)
    let check = must { () throws(Failure) in try SHA256.digest(Array(tagged[..<(size - checkSize)])).prefix(checkSize) }
    tagged.replaceSubrange(size - checkSize..<size, with: check)
    guard let parsed = accepted({ () throws(Failure) in try StateFile(parsing: tagged, path: path) }),
        case .slots(let slots, _) = parsed.form
    else { return nil }
    return must { () throws(Failure) in
        let key = try keys(of: parsed).tags
        for slot in 0..<2 {
            for sector in 0..<slots.sectors {
                let start = slots.offset(of: slot) + sector * StateSlots.sectorSize
                let end = start + StateSlots.sectorSize - StateSlots.tagSize
                let tag = try slots.tag(of: tagged[start..<end], sector: sector, slot: slot, key: key)
                tagged.replaceSubrange(end..<end + StateSlots.tagSize, with: tag)
            }
        }
        return tagged
    }
}

/// The file with its header's check and its payload made genuine; nothing where its sizes do not allow it.
private func sealedFirst(_ file: [UInt8]) -> [UInt8]? {
    let size = file.integer(at: 10, bytes: 4)
    let (checkSize, tagSize) = (FileFormat.state.checkSize, AES256GCM.tagSize)
    guard size >= 14 + MasterKey.idSize + 4 + checkSize, size <= file.count else { return nil }
    var header = Array(file[..<(size - checkSize)])
    header.replaceSubrange(14..<14 + MasterKey.idSize, with: fuzzMaster.id)
    header.put(UInt32(file.count - size + tagSize), at: header.count - 4)
    header += must { () throws(Failure) in try SHA256.digest(header).prefix(checkSize) }
    let payload = [UInt8](repeating: 0, count: file.count - size + tagSize)
    guard let parsed = accepted({ () throws(Failure) in try StateFile(parsing: header + payload, path: path) }),
        case .first(let nonce) = parsed.form
    else { return nil }
    return must { () throws(Failure) in
        let key = try keys(of: parsed).encryption
        let plaintext = SecretMessage(secret: secret(file[size...]))
        return try header + AES256GCM.seal(plaintext, key: key, nonce: nonce, associatedData: header)
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
