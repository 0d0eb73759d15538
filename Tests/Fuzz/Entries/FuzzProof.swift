import Platform
import Proof
import RuntimeHostTPM
import RuntimePCR

/// A file of a proof, or of an enrolment, each of which anybody can have written.
func fuzzProof(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    if let manifest = accepted({ () throws(Failure) in try RunManifest(reading: file, "a manifest") }) {
        require(manifest.encoded == file, "a manifest is read that nobody has written")
    }
    if let head = accepted({ () throws(Failure) in try ProofHead(parsing: file, "a proof") }) {
        let again = must { () throws(Failure) in try ProofHead(parsing: head.encoded, "a proof") }
        require(again == head, "a proof's head does not come back as it was")
        let root = must { () throws(Failure) in try MerkleTree.root(from: file, by: head.path) }
        require(root == nil || head.path.nodes.count <= 16, "a path is longer than any tree's")
    }
    _ = accepted { () throws(Failure) in try ProofPolicy(parsing: file, "a policy") }
    _ = CredentialFile(decoding: file)
    if let key = QuotingKey(publicFile: file) {
        require(key.publicFile == file, "a key's file is read that nobody has written")
    }
    if let key = QuotingKey(publicFile: knownKey) {
        let signed = SignedAttestation(message: file, signature: file).content(signedBy: key)
        require(signed == nil, "a signature is right that nobody has made")
    } else {
        require(false, "a key's file is not read")
    }
    if let message = AttestationMessage(decoding: file), case .quote(let selection, _) = message.content {
        require(selection.banks.allSatisfy { $0.pcrs.count <= 24 }, "a quote is of more PCRs than there are")
    }
    let bank = PCRSelection.Bank(algorithm: 0x000b, mask: 0x0006_0900)
    if let values = PCRFile.decode(file, bank) {
        require(PCRFile.encode(bank, values) == file, "values are read that nobody has written")
    }
}

/// A quoting key: the template, and the base point of NIST P-256. FIPS 186-4, D.1.2.3
private let knownKey: [UInt8] =
    [
        0x00, 0x58, 0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x04, 0x72, 0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b,
        0x00,
        0x03, 0x00, 0x10,
    ] + [0x00, 0x20] + [
        0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40, 0xf2, 0x77, 0x03,
        0x7d,
        0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2, 0x96,
    ] + [0x00, 0x20] + [
        0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e, 0x16, 0x2b, 0xce,
        0x33,
        0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51, 0xf5,
    ]
