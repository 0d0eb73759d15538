import Crypto
import CryptoTransfer
import Platform
import RuntimeFormat

@testable import RuntimeTransfer

private nonisolated(unsafe) let passphrase = secret("correct horse".utf8)
/// The recipient of the exports in the corpus.
private let recipientPEM = """
    -----BEGIN PRIVATE KEY-----
    MC4CAQAwBQYDK2VuBCIEIKgTPRYZ+iXk0IE7ETphQbIR9Ksnn9SOECB7pGxpQvdW
    -----END PRIVATE KEY-----
    """
private nonisolated(unsafe) let identity = secret(recipientPEM.utf8)
private let recipient = must { () throws(Failure) in
    try AgreementKey.identity(privatePEM: identity, "cannot use the key").fingerprint
}

/// An export: as it is, with the header's check made right, and with the encryption made right too.
///
/// For the last, what follows the header is the payload before its encryption. A passphrase's key is derived only where
/// that is cheap.
func fuzzExport(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    open(file)
    let (checkSize, tagSize) = (FileFormat.export.checkSize, AES256GCM.tagSize)
    let size = file.integer(at: 10, bytes: 4)
    guard size >= 60 + 4 + checkSize, size <= min(file.count, FileFormat.export.sizeLimit) else { return }
    var header = Array(file[..<(size - checkSize)])
    // A fingerprint other than the recipient's ends everything; a salt may be anything.
    if file.integer(at: 14, bytes: 2) == Int(ExportHeader.Protection.recipientNumber) {
        header.replaceSubrange(28..<60, with: recipient)
    }
    header.put(UInt32(file.count - size), at: header.count - 4)
    open(checked(header) + file[size...])
    header.put(UInt32(file.count - size + tagSize), at: header.count - 4)
    header = checked(header)
    let unsealed = header + [UInt8](repeating: 0, count: file.count - size + tagSize)
    guard let (parsed, _) = accepted({ () throws(Failure) in try ExportHeader.parse(unsealed, "cannot open") }),
        case .passphrase(let scrypt, let salt) = parsed.protection, isCheap(scrypt)
    else { return }
    must { () throws(Failure) in
        let key = try scrypt.key(of: passphrase, salt: salt)
        let payload = try AES256GCM.seal(
            SecretMessage(secret: secret(file[size...])),
            key: key,
            nonce: parsed.nonce,
            associatedData: header
        )
        open(header + payload)
    }
}

private func checked(_ header: [UInt8]) -> [UInt8] {
    must { () throws(Failure) in try header + SHA256.digest(header).prefix(FileFormat.export.checkSize) }
}

private func isCheap(_ scrypt: Scrypt) -> Bool {
    scrypt.isBearable && scrypt.logN <= 6 && scrypt.r <= 2 && scrypt.p <= 2
}

private func open(_ file: [UInt8]) {
    let what = "cannot open the export"
    guard let (header, size) = accepted({ () throws(Failure) in try ExportHeader.parse(file, what) }) else { return }
    require(size + header.payloadSize == file.count, "an export's sizes do not add up")
    let opener: ExportCredential
    switch header.protection {
    case .passphrase(let scrypt, _):
        guard isCheap(scrypt) || !scrypt.isBearable else { return }
        opener = .passphrase(passphrase)
    case .recipient: opener = .identity(privateKeyPEM: identity)
    }
    let state = accepted { () throws(Failure) in try StateExport.open(file, with: opener, path: "/export") }
    guard let state else { return }
    require(state.misfit == nil, "what was opened could not be exported")
    must { () throws(Failure) in
        let cheap = Scrypt(logN: 1, r: 1, p: 1)
        let again = try StateExport.seal(state, with: .passphrase(passphrase), scrypt: cheap)
        let opened = try StateExport.open(again, with: .passphrase(passphrase), path: "/export")
        require(
            opened.stateID.utf8.elementsEqual(state.stateID.utf8) && plain(opened.permanent) == plain(state.permanent),
            "an export does not come back as it was"
        )
    }
}

private nonisolated(unsafe) let swtpmKeys = [16, 32].map { secret([UInt8](repeating: 2, count: $0)) }

/// A state of swtpm's: as it is, with the HMAC made right, and as the contents of a key file.
func fuzzSWTPMState(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    decode(file, nil)
    if case .key(let key)? = accepted({ () throws(Failure) in try SWTPMKey.hexadecimal(secret(file)) }) {
        require([16, 32].contains(key.count), "a key of a size that swtpm has not")
    }
    _ = accepted { () throws(Failure) in
        let written = try SWTPMState.encode(secret([1, 2, 3]), key: .keyFile(secret(file)))
        let read = try SWTPMState.decode(written, key: .keyFile(secret(file)), path: "/swtpm")
        require(plain(read) == [1, 2, 3], "what a key file was good enough to write with cannot be read with it")
    }
    let parts = accepted { () throws(Failure) in
        try secret(file).withBytes { (bytes) throws(Failure) in try SWTPMFile(bytes, "cannot read") }
    }
    guard let parts, let ciphertext = parts.items[.ciphertext], let mac = parts.items[.mac], let iv = parts.items[.iv]
    else { return }
    let key = swtpmKeys[parts.keySize == 16 ? 0 : 1]
    decode(file, .key(key))
    guard mac.count == HMACSHA256.tagSize else { return }
    var genuine = file
    must { () throws(Failure) in
        let cipher = SWTPMCipher(key: key)
        genuine.replaceSubrange(mac, with: try cipher.mac(Array(file[ciphertext]), iv: Array(file[iv])))
    }
    decode(genuine, .key(key))
}

private func decode(_ file: [UInt8], _ key: SWTPMKey?) {
    let what = "/swtpm/tpm2-00.permall"
    let state = accepted { () throws(Failure) in try SWTPMState.decode(secret(file), key: key, path: what) }
    guard let state else { return }
    must { () throws(Failure) in
        let again = try SWTPMState.encode(state, key: key)
        let decoded = try SWTPMState.decode(again, key: key, path: what)
        require(plain(decoded) == plain(state), "a state of swtpm's does not come back as it was")
    }
}
