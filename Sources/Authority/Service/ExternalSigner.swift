import CLibCrypto
import Crypto
import CryptoCertificates
import Glibc
import Platform
import RuntimeControl

/// A program of the operator's that signs certificates, at the other end of a stream: a request a line, a certificate each.
///
/// What it answers is used only if it is what was asked for: it is trusted to sign, and not to choose a key or a purpose.
final class ExternalSigner {
    private let stream: Descriptor
    /// How long it may still take, in milliseconds; what the TPM takes in between does not count.
    private var budget: Int

    private static let what = "cannot certify the TPM"
    /// The largest answer, in bytes: one certificate in PEM.
    private static let answerLimit = 16 * 1024
    private static let begin = Array("-----BEGIN CERTIFICATE-----".utf8)
    private static let end = Array("-----END CERTIFICATE-----".utf8)

    /// Takes over the stream to the program, which may take so many milliseconds for all certificates.
    init(over stream: consuming Descriptor, budget milliseconds: Int) {
        self.stream = stream
        budget = milliseconds
    }

    /// Has a certificate signed by the key of the issuer's.
    func certificate(_ contents: CertificateContents, by issuer: Certificate) throws(Failure) -> Certificate {
        let deadline = Deadline(milliseconds: budget)
        defer { budget = deadline.remaining }
        try requireSilence()
        try send(Array((contents.request + "\n").utf8), until: deadline)
        let found = try Certificate.all(inPEM: receive(until: deadline))
        guard found.count == 1, let certificate = found.first else {
            throw Self.refusal("the signer has answered with \(found.count) certificates")
        }
        if let difference = certificate.difference(from: contents, signedBy: issuer) {
            throw Self.refusal("the signer has answered with a certificate \(difference)")
        }
        return certificate
    }

    private static func refusal(_ why: String) -> Failure {
        Failure(what, because: why, hint: "try it by hand: docs/operations.md")
    }

    /// Throws if the program has written what nobody has asked for, which would be taken for the next answer.
    private func requireSilence() throws(Failure) {
        guard try wait(for: stream.number, until: Deadline(milliseconds: 0)) != 0 else { return }
        var byte: [UInt8] = [0]
        while try wait(for: stream.number, until: Deadline(milliseconds: 0)) != 0 {
            guard receive(&byte) == 1 else { throw Self.gone }
            guard Self.isBlank(byte[0]) else { throw Self.more }
        }
    }

    // sendmsg(2) and recvmsg(2): the filter of system calls allows no other.
    private func send(_ bytes: [UInt8], until deadline: Deadline) throws(Failure) {
        var rest = bytes
        let number = stream.number
        while !rest.isEmpty {
            guard try wait(for: number, CInt(POLLOUT), until: deadline) != 0 else { throw Self.late }
            let count = rest.withUnsafeMutableBytes { memory in
                Self.transfer(memory) { sendmsg(number, &$0, CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL)) }
            }
            guard count >= 0 else { throw Self.gone }
            rest.removeFirst(count)
        }
    }

    /// Receives up to the end of a certificate, and refuses what is written before it or after it.
    ///
    /// What comes after the last certificate's end may not be there yet, and stays unread.
    private func receive(until deadline: Deadline) throws(Failure) -> [UInt8] {
        var answer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while true {
            guard try wait(for: stream.number, until: deadline) != 0 else { throw Self.late }
            let count = receive(&part)
            guard count > 0 else { throw Self.gone }
            answer += part[..<count]
            if let end = answer.end(of: Self.end) {
                // A signer that was slow to write what follows one certificate has it stand before the next one.
                let isFirst = answer.drop(while: Self.isBlank).starts(with: Self.begin)
                guard isFirst || answer.end(of: Self.begin) == nil, answer[end...].allSatisfy(Self.isBlank) else {
                    throw Self.more
                }
                return answer
            }
            guard answer.count <= Self.answerLimit else {
                throw Self.refusal("the signer answers with more than \(Self.answerLimit) bytes")
            }
        }
    }

    /// Returns how many bytes were there; 0 or less if the other end is gone.
    private func receive(_ bytes: inout [UInt8]) -> Int {
        let number = stream.number
        return bytes.withUnsafeMutableBytes { memory in
            Self.transfer(memory) { recvmsg(number, &$0, CInt(MSG_DONTWAIT)) }
        }
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "\n") || byte == UInt8(ascii: " ")
    }

    private static var more: Failure {
        refusal("the signer writes more than the certificate that it is asked for")
    }

    private static var gone: Failure {
        refusal("the signer ended without a certificate")
    }

    private static var late: Failure {
        Failure(what, because: "the signer does not answer in time", hint: "raise authority.timeout, or speed it up")
    }

    /// Returns how many bytes went; -1 if the other end is gone, or the call failed.
    private static func transfer(_ memory: UnsafeMutableRawBufferPointer, _ call: (inout msghdr) -> Int) -> Int {
        var vector = iovec(iov_base: memory.baseAddress, iov_len: memory.count)
        return withUnsafeMutablePointer(to: &vector) { vector in
            var header = msghdr()
            header.msg_iov = vector
            header.msg_iovlen = 1
            var count = call(&header)
            while count < 0, errno == EINTR { count = call(&header) }
            return count
        }
    }
}

extension [UInt8] {
    /// Returns the index after the first occurrence of a marker; nil if there is none.
    fileprivate func end(of marker: [UInt8]) -> Int? {
        guard count >= marker.count else { return nil }
        return indices.dropLast(marker.count - 1)
            .first { self[$0] == marker[0] && self[$0...].starts(with: marker) }
            .map { $0 + marker.count }
    }
}

extension CertificateContents {
    /// What a signer is asked for, a JSON object on one line; all texts in it are of ASCII and need no escapes but line feeds.
    fileprivate var request: String {
        let items = extensions.map { item in
            "{\"id\":\"\(item.identifier)\",\"critical\":\(item.isCritical),\"value\":\"\(Hexadecimal.encode(item.value))\"}"
        }
        return
            "{\"version\":1,\"commonName\":\"\(commonName)\",\"serialNumber\":\"\(Hexadecimal.encode(serialNumber))\","
            + "\"notBefore\":\(notBefore),\"publicKey\":\"\(publicKeyPEM)\",\"extensions\":[\(items.joined(separator: ","))]}"
    }

    /// The public key in PEM, with `\n` for each line feed. RFC 7468, 13
    private var publicKeyPEM: String {
        // Four characters for three bytes, and a zero. EVP_EncodeBlock(3)
        var text = [UInt8](repeating: 0, count: (publicKey.count + 2) / 3 * 4 + 1)
        let size = Int(EVP_EncodeBlock(&text, publicKey, CInt(publicKey.count)))
        let lines = stride(from: 0, to: size, by: 64).map {
            String(decoding: text[$0..<min($0 + 64, size)], as: UTF8.self)
        }
        return (["-----BEGIN PUBLIC KEY-----"] + lines + ["-----END PUBLIC KEY-----", ""]).joined(separator: "\\n")
    }
}
