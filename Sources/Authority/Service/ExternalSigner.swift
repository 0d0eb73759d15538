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
    /// When the last answer has to be there.
    private let deadline: Deadline

    private static let what = "cannot certify the TPM"
    /// The largest answer, in bytes: one certificate in PEM, with text around it.
    private static let answerLimit = 16 * 1024
    private static let end = Array("-----END CERTIFICATE-----".utf8)

    init(over stream: consuming Descriptor, until deadline: Deadline) {
        self.stream = stream
        self.deadline = deadline
    }

    /// Has a certificate signed by the key of the issuer's.
    func certificate(_ contents: CertificateContents, by issuer: Certificate) throws(Failure) -> Certificate {
        try send(Array((contents.request + "\n").utf8))
        let found = try Certificate.all(inPEM: receive())
        guard found.count == 1, let certificate = found.first else {
            throw Failure(Self.what, because: "the signer has answered with \(found.count) certificates")
        }
        if let difference = certificate.difference(from: contents, signedBy: issuer) {
            throw Failure(Self.what, because: "the signer has answered with a certificate \(difference)")
        }
        return certificate
    }

    // sendmsg(2) and recvmsg(2): the filter of system calls allows no other.
    private func send(_ bytes: [UInt8]) throws(Failure) {
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

    /// Receives up to the end of a certificate.
    private func receive() throws(Failure) -> [UInt8] {
        var answer: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        let number = stream.number
        while true {
            guard try wait(for: number, until: deadline) != 0 else { throw Self.late }
            let count = part.withUnsafeMutableBytes { memory in
                Self.transfer(memory) { recvmsg(number, &$0, CInt(MSG_DONTWAIT)) }
            }
            guard count > 0 else { throw Self.gone }
            answer += part[..<count]
            if answer.hasEnd(Self.end) { return answer }
            guard answer.count <= Self.answerLimit else {
                throw Failure(Self.what, because: "the signer answers with more than \(Self.answerLimit) bytes")
            }
        }
    }

    private static var gone: Failure {
        Failure(what, because: "the signer ended without a certificate", hint: "run it as the manual says")
    }

    private static var late: Failure {
        Failure(what, because: "the signer does not answer in time", hint: "raise authority.timeout, or mend it")
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
    fileprivate func hasEnd(_ marker: [UInt8]) -> Bool {
        guard count >= marker.count else { return false }
        return indices.dropLast(marker.count - 1).contains { self[$0] == marker[0] && self[$0...].starts(with: marker) }
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
