import Configuration
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeState
import VTPMProxy

/// The host's certificate authority: its key in a file, and the program that uses it.
public struct CertificateAuthority {
    private let hostPaths: HostPaths
    private let keys: KeyRing
    private let files: Configuration.Authority.Files?

    /// Creates it for a host with these master keys; `files` are those of the operator's own authority, nil for the host's.
    public init(_ hostPaths: HostPaths, keys: KeyRing, files: Configuration.Authority.Files? = nil) {
        self.files = files
        self.hostPaths = hostPaths
        self.keys = keys
    }

    /// How long the program may take to start, and to make a key at first use, in milliseconds.
    private static let timeout = 20_000

    private var program: String { hostPaths.program("vtpm-ca") }

    /// Loads the authority's key and certificates; makes them at first use, unless they are the operator's.
    ///
    /// Hold the shared lock of the keys meanwhile, so that the master key does not change.
    public func key() throws(Failure) -> AuthorityKey { try key(until: Deadline(milliseconds: Self.timeout)) }

    private func key(until deadline: Deadline) throws(Failure) -> AuthorityKey {
        if let files { return try OperatorAuthority(files).load() }
        return try AuthorityKeyFile(hostPaths).loadOrStore(keys) { () throws(Failure) in
            let process = try AuthorityProcess(program: program, until: deadline)
            let (key, certificate) = try process.generate()
            process.end()
            return AuthorityKey(key, chain: [certificate])
        }
    }

    /// Has the host's own authority make the list of what it has revoked, in DER, that is valid for so many seconds.
    ///
    /// Hold the shared lock of the keys meanwhile. Throws for an authority of the operator's own, who has a list of its own.
    public func list(at time: UInt64, validFor seconds: UInt64) throws(Failure) -> [UInt8] {
        try requireOwn("list")
        let deadline = Deadline(milliseconds: Self.timeout)
        let key = try key(until: deadline)
        guard let certificate = key.chain.first else {
            throw Failure("cannot list revoked certificates", because: "the authority has no certificate")
        }
        let process = try AuthorityProcess(program: program, until: deadline)
        let orders = RevocationOrders(
            time: time,
            nextUpdate: time + seconds,
            certificate: certificate,
            revoked: key.revoked
        )
        let list = try process.list(orders, key: key.key)
        process.end()
        return list
    }

    /// Records that certificates are revoked; returns how many were not before. Hold the exclusive lock of the keys meanwhile.
    ///
    /// Throws for an authority of the operator's own.
    public func revoke(_ certificates: [RevokedCertificate]) throws(Failure) -> Int {
        try requireOwn("revoke")
        return try AuthorityKeyFile(hostPaths).revoke(certificates, keys)
    }

    private func requireOwn(_ verb: String) throws(Failure) {
        guard files == nil else {
            throw Failure(
                "cannot \(verb) certificates",
                because: "[authority] in the configuration names one of the operator's, which revokes its own"
            )
        }
    }

    /// Starts the program with these orders, and its key where they ask for certificates; the chain is filled in here.
    public func start(_ orders: EndorsementOrders) throws(Failure) -> StartedAuthority {
        var orders = orders
        let deadline = Deadline(milliseconds: Self.timeout)
        let key = orders.level == .certificates ? try key(until: deadline) : nil
        orders.chain = key?.chain ?? []
        let process = try AuthorityProcess(program: program, until: deadline)
        do throws(Failure) {
            return StartedAuthority(process: process, channel: try process.endorse(orders, key: key?.key))
        } catch {
            process.kill()
            throw error
        }
    }
}

/// An authority that waits for a supervisor.
public struct StartedAuthority {
    /// The process.
    public let process: AuthorityProcess
    /// The supervisor's end of the channel to it.
    public let channel: Channel
}
