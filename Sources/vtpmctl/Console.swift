import ArgumentParser
import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeState

/// The options that all commands share, and what they lead to.
struct HostOptions: ParsableArguments {
    @Option(
        name: .customLong("config"),
        help: "The configuration file; \(Configuration.standardPath) without it.",
        completion: .file()
    )
    var configurationPath: String?

    /// Returns the paths of the host's directories and programs.
    func hostPaths() throws(Failure) -> HostPaths {
        // The worker is in this program's directory. The file that `make install` puts into BINDIR is a link to this
        // program.
        try .current()
    }

    /// Runs `body` with the host's states and the shared lock of the keys; returns nil if the host has never had a
    /// state.
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

    /// Runs `body` as ``withRepository(_:)`` does, but creates a key and an index if the host has never had a state.
    func withNewRepository<Result>(
        _ body: (StateRepository, HostPaths) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let hostPaths = try hostPaths()
        return try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            try body(open(hostPaths).repository(), hostPaths)
        }
    }

    /// Opens the host's directories and loads its keys.
    func open(_ hostPaths: HostPaths) throws(Failure) -> HostContext {
        try HostContext(hostPaths, configuration(), credentialsDirectory: Self.credentialsDirectory)
    }

    /// Loads the configuration; a file from `--config` must exist.
    func configuration() throws(Failure) -> Configuration {
        guard let configurationPath else { return try .load() }
        return try .load(path: configurationPath, mayBeMissing: false)
    }

    /// systemd's directory of credentials, for a service that runs `vtpmctl`. systemd.exec(5), "Credentials"
    nonisolated(unsafe) static var credentialsDirectory: String?
}

/// The confirmation that a command asks for before it removes or replaces something.
struct ConfirmationOptions: ParsableArguments {
    @Flag(help: "Do it without asking.")
    var yes = false

    /// Returns if `--yes` is given, or if a person at a terminal types the word.
    ///
    /// - Throws: ``Failure`` if the word is another, or if standard input or standard error is no terminal.
    func require(_ what: String, typing word: String) throws(Failure) {
        if yes { return }
        guard isatty(STDIN_FILENO) == 1, isatty(STDERR_FILENO) == 1 else {
            throw Failure("cannot \(what)", because: "nobody has confirmed it", hint: "add --yes")
        }
        complain("This will \(what). Type \"\(word)\" to go on: ", end: "")
        guard try Progress.pause({ () throws(Failure) in readLine() }) == word else {
            throw Failure("cannot \(what)", because: "it was not confirmed")
        }
    }
}

/// Returns a time in seconds since 1970 as a date and time in UTC.
func timestamp(_ seconds: UInt64) -> String {
    Timestamp.utc(seconds, "%Y-%m-%d %H:%M:%SZ")
}
