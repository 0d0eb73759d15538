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

    /// Loads the authority's certificate and those above it, in DER, or in PEM as one text; it is made at first use.
    ///
    /// Hold the shared lock of the keys meanwhile.
    public func chain() throws(Failure) -> [[UInt8]] {
        if let files { return [try OperatorAuthority(files).certificates()] }
        return try key().chain
    }

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
    /// It goes on to do so where the configuration names one of the operator's now. Hold the shared lock of the keys meanwhile.
    public func list(at time: UInt64, validFor seconds: UInt64) throws(Failure) -> [UInt8] {
        let deadline = Deadline(milliseconds: Self.timeout)
        guard let key = try own(until: deadline), let certificate = key.chain.first else {
            throw Failure("cannot list revoked certificates", because: Self.none)
        }
        let process = try AuthorityProcess(program: program, until: deadline)
        let orders = RevocationOrders(time: time, nextUpdate: time + seconds, certificate: certificate)
        let list = try process.list(orders, key)
        process.end()
        return list
    }

    /// Records that certificates of the host's own authority are revoked; returns how many were not before.
    ///
    /// Hold the exclusive lock of the keys meanwhile.
    public func revoke(_ certificates: [RevokedCertificate]) throws(Failure) -> Int {
        try AuthorityKeyFile(hostPaths).revoke(certificates, keys)
    }

    /// Returns the certificate of the host's own authority, in DER; nil if it has issued none.
    public func ownCertificate() throws(Failure) -> [UInt8]? { try AuthorityKeyFile(hostPaths).load(keys)?.chain.first }

    private static let none = "the host has no certificate authority of its own"

    /// Returns the host's own authority, which is made unless the operator's stands in its place; nil if there is none.
    private func own(until deadline: Deadline) throws(Failure) -> AuthorityKey? {
        try files == nil ? key(until: deadline) : AuthorityKeyFile(hostPaths).load(keys)
    }

    /// Starts the program with these orders, and its key where they ask for certificates; the chain is filled in here.
    public func start(_ orders: EndorsementOrders) throws(Failure) -> StartedAuthority {
        var orders = orders
        let deadline = Deadline(milliseconds: Self.timeout)
        var means: AuthorityProcess.Means?
        if orders.level == .certificates {
            if let files, case .command(let command, let timeout) = files.key {
                orders.chain = [try OperatorAuthority(files).certificates()]
                means = .command(command, timeout: timeout)
            } else {
                let key = try key(until: deadline)
                orders.chain = key.chain
                means = .key(key)
            }
        }
        let process = try AuthorityProcess(program: program, until: deadline)
        do throws(Failure) {
            var patience = 0
            if case .command(_, let timeout) = means { patience = timeout * 1000 }
            return StartedAuthority(
                process: process,
                channel: try process.endorse(orders, by: means),
                patience: patience
            )
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
    /// How much longer than usual its work may take, in milliseconds: what a program of the operator's may take to sign.
    public let patience: Int
}
