import Platform

/// What the hook's program answers about a running container's TPM, one line of its standard output.
public struct GrantAnswer: Equatable, Sendable {
    /// What the control groups of the container say.
    public enum Verdict: Equatable, Sendable {
        /// The container may use its TPM.
        case allowed
        /// It may not.
        case denied
        /// It could not be asked or changed, for this reason.
        case failed(String)
    }

    /// The name of the container's lease.
    public let lease: String
    /// What the control groups of the container say.
    public let verdict: Verdict

    /// Creates an answer.
    public init(lease: String, _ verdict: Verdict) {
        self.lease = lease
        self.verdict = verdict
    }

    /// The line, without a line feed.
    public var line: String {
        switch verdict {
        case .allowed: "\(lease) allowed"
        case .denied: "\(lease) denied"
        case .failed(let why): "\(lease) failed \(why.onOneLine)"
        }
    }

    /// Parses a line; returns nil if it is malformed.
    public init?(parsing line: String) {
        let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard parts.count > 1, !parts[0].isEmpty else { return nil }
        lease = parts[0]
        switch (parts[1], parts.count) {
        case ("allowed", 2): verdict = .allowed
        case ("denied", 2): verdict = .denied
        case ("failed", 3): verdict = .failed(parts[2])
        default: return nil
        }
    }
}
