import Glibc
import Platform

/// The host's hardware TPM 2.0, which seals a secret to the host's measured system and keeps counters.
///
/// The name of the storage key identifies the TPM. It is computed from the public key and compared with the recorded
/// name. Each session has a salt that is encrypted to this key. All responses that matter have an HMAC with the session
/// key, which no other TPM or program can compute (TPM 2.0 Library, Part 1, 19 and 21).
///
/// Only the storage key and the counters stay in the TPM: each operation removes its sessions and objects, even if it
/// fails.
public final class HostTPM {
    private let transport: any TPMTransport
    private let pause: (Int) -> Void

    /// Creates a TPM behind this transport.
    public convenience init(transport: any TPMTransport) {
        self.init(transport: transport) { sleep(milliseconds: $0) }
    }

    /// Creates a TPM behind this transport; calls `pause` with milliseconds while the TPM is busy.
    init(transport: any TPMTransport, pause: @escaping (Int) -> Void) {
        self.transport = transport
        self.pause = pause
    }

    func link(_ what: String) -> TPMConnection {
        TPMConnection(transport: transport, what: what, pause: pause)
    }
}
