import ArgumentParser
import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeState

/// What all commands have in common.
struct HostOptions: ParsableArguments {
    @Option(name: .customLong("config"), help: "The configuration file; \(Configuration.standardPath) without it.")
    var configurationPath: String?

    /// Where things are on this host.
    func hostPaths() throws(Failure) -> HostPaths {
        // The worker is beside this program: what `make install` puts into BINDIR is a link to it.
        try .current()
    }

    /// Opens what the host has, while nobody changes its keys; nil if it has never had a state.
    func withRepository<Result>(
        _ body: (StateRepository, HostPaths) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        let hostPaths = try hostPaths()
        guard access(hostPaths.states, F_OK) == 0 else { return nil }
        return try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            guard try HostContext.isUsed(hostPaths) else { return nil }
            return try body(open(hostPaths).repository(), hostPaths)
        }
    }

    /// The same; where the host has never had a state, a key and an index are made.
    func withNewRepository<Result>(
        _ body: (StateRepository, HostPaths) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let hostPaths = try hostPaths()
        return try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            try body(open(hostPaths).repository(), hostPaths)
        }
    }

    /// The host's directories and keys.
    func open(_ hostPaths: HostPaths) throws(Failure) -> HostContext {
        try HostContext(hostPaths, configuration(), credentialsDirectory: Self.credentialsDirectory)
    }

    /// What the operator decided.
    func configuration() throws(Failure) -> Configuration {
        guard let configurationPath else { return try .load() }
        return try .load(path: configurationPath, mayBeMissing: false)
    }

    /// systemd's directory of credentials, for a service that runs `vtpmctl`.
    nonisolated(unsafe) static var credentialsDirectory: String?
}

/// What a command that takes something away asks for first.
struct ConfirmationOptions: ParsableArguments {
    @Flag(help: "Do it without asking.")
    var yes = false

    /// Goes on with `--yes`, or when a person at a terminal types the name of what goes.
    func require(_ what: String, typing word: String) throws(Failure) {
        if yes { return }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            throw Failure("cannot \(what)", because: "nobody has confirmed it", hint: "add --yes")
        }
        complain("This will \(what). Type \"\(word)\" to go on: ", end: "")
        guard readLine() == word else { throw Failure("cannot \(what)", because: "it was not confirmed") }
    }
}

/// A time in seconds since 1970 as people write it, UTC.
func timestamp(_ seconds: UInt64) -> String {
    Timestamp.utc(seconds, "%Y-%m-%d %H:%M:%SZ")
}
