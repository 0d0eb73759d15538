import Glibc
import Platform

/// The host's hardware TPM 2.0, which seals a secret to the host's measured system and keeps counters.
///
/// The storage key's name is what tells this TPM from another, and from a program that answers in its place: it is
/// computed from the public key and compared with the name of before, a secret is encrypted to that key, and all
/// answers that matter have an HMAC made with that secret (TPM 2.0 Library, Part 1, 19 and 21).
///
/// An object of this class leaves nothing in the TPM but the storage key and the counters: each operation removes the
/// sessions and objects that it made, also when it fails.
public final class HostTPM {
    private let transport: any TPMTransport
    private let pause: (Int) -> Void

    /// Uses a TPM that is reached this way.
    public convenience init(transport: any TPMTransport) {
        self.init(transport: transport) { sleep(milliseconds: $0) }
    }

    /// Waits for a busy TPM by calling `pause`, with milliseconds.
    init(transport: any TPMTransport, pause: @escaping (Int) -> Void) {
        self.transport = transport
        self.pause = pause
    }

    func link(_ what: String) -> TPMConnection {
        TPMConnection(transport: transport, what: what, pause: pause)
    }
}
