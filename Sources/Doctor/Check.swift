import Platform

/// One thing about a host that containers with a TPM depend on.
public struct Check {
    /// The name, which scripts may rely on: it never changes its meaning.
    public let id: String
    /// What is checked, for a person.
    public let title: String
    private let examine: (Host) throws(Failure) -> Finding

    /// Creates a check; `examine` changes nothing on the host.
    init(_ id: String, _ title: String, _ examine: @escaping (Host) throws(Failure) -> Finding) {
        self.id = id
        self.title = title
        self.examine = examine
    }

    /// Runs the check; a failure to find something out is a finding too.
    public func run(on host: Host) -> Report {
        do throws(Failure) {
            return Report(of: self, try examine(host))
        } catch {
            return Report(of: self, .unknown("\(error.what): \(error.why)", remedy: error.hint))
        }
    }
}

/// What a check has found.
public struct Finding: Equatable, Sendable {
    /// How good or bad it is.
    public enum Result: String, Codable, Sendable {
        /// As it should be.
        case ok
        /// It works, and there is something to know.
        case note
        /// Something has to be mended.
        case problem
        /// It could not be found out.
        case unknown
    }

    /// How good or bad it is.
    public let result: Result
    /// What was found, in one line.
    public let found: String
    /// The command that mends it, or what else helps; nil if there is nothing to do.
    public let remedy: String?
    /// Whether the hook refuses containers because of it.
    public let refusesContainers: Bool

    private init(_ result: Result, _ found: String, _ remedy: String?, refuses: Bool = false) {
        self.result = result
        self.found = found
        self.remedy = remedy
        self.refusesContainers = refuses
    }

    /// Returns a finding that is as it should be.
    static func ok(_ found: String) -> Finding { Finding(.ok, found, nil) }

    /// Returns something to know.
    static func note(_ found: String, remedy: String? = nil) -> Finding { Finding(.note, found, remedy) }

    /// Returns something to be mended, with which containers still get their TPMs.
    static func problem(_ found: String, remedy: String) -> Finding { Finding(.problem, found, remedy) }

    /// Returns something to be mended, because of which the hook refuses containers.
    static func refusal(_ found: String, remedy: String) -> Finding { Finding(.problem, found, remedy, refuses: true) }

    /// Returns the refusal that a failure of the hook would be.
    static func refusal(_ failure: Failure, remedy: String) -> Finding {
        refusal("\(failure.what): \(failure.why)", remedy: failure.hint ?? remedy)
    }

    /// Returns that something could not be found out.
    static func unknown(_ found: String, remedy: String? = nil) -> Finding { Finding(.unknown, found, remedy) }
}

/// A finding with its check: one line of what `vtpmctl doctor` prints.
public struct Report: Codable, Equatable, Sendable {
    /// The check's name.
    public let id: String
    /// What was checked.
    public let title: String
    /// How good or bad it is.
    public let result: Finding.Result
    /// What was found, in one line.
    public let found: String
    /// The command that mends it, or what else helps.
    public let remedy: String?
    /// Whether the hook refuses containers because of it.
    public let refusesContainers: Bool

    init(of check: Check, _ finding: Finding) {
        id = check.id
        title = check.title
        result = finding.result
        found = finding.found.onOneLine
        remedy = finding.remedy?.onOneLine
        refusesContainers = finding.refusesContainers
    }

    /// Creates the report about a check that has not come to an end.
    public init(of check: Check, unfinishedBecause why: String) {
        self.init(of: check, .unknown("the check did not come to an end: \(why)"))
    }
}

extension [Report] {
    /// The exit code of `vtpmctl doctor`.
    ///
    /// 0: nothing has to be mended. 1: the hook refuses containers. 2: something else has to be mended, or could not be
    /// found out.
    public var exitCode: CInt {
        if contains(where: \.refusesContainers) { return 1 }
        return contains { $0.result == .problem || $0.result == .unknown } ? 2 : 0
    }
}
