import Platform
import RuntimeControl

/// An engine's call of a runtime: what it does to which container.
///
/// runc, crun and youki agree on the form `RUNTIME OPTION... VERB OPTION... ID`, which no specification has. An option
/// that none of them has could hide a verb or a bundle. So one that could is an error where a container is created.
struct Invocation: Equatable {
    /// A container that is to be created.
    struct Creation: Equatable {
        var verb: PreparationVerb
        var id: String
        /// `--bundle` as it was given; nil for the working directory.
        var bundle: String?
    }

    /// What is created; nil for a verb that creates nothing.
    var creation: Creation?
    /// Why a container must not be created that is created in a way which this program does not understand.
    var refusal: Failure?
    /// `--log`: the file in which the engine looks for the runtime's error.
    var log: String?
    /// Whether the errors in that file are JSON (`--log-format`).
    var logsJSON = false

    /// The options before the verb that take a value as the next argument.
    private static let globalValues: Set = [
        "log", "log-format", "log-level", "root", "criu", "rootless", "cgroup-manager", "r", "l",
    ]
    /// The options before the verb that take none.
    private static let globalFlags: Set = [
        "debug", "systemd-cgroup", "help", "version", "h", "v", "V", "usage", "s",
    ]
    /// The options after the verb that take a value as the next argument, beside the bundle.
    private static let verbValues: Set = [
        "console-socket", "pid-file", "preserve-fds", "pidfd-socket", "image-path", "work-path", "criu-root",
        "manage-cgroups-mode", "lsm-profile", "lsm-mount-context", "empty-ns",
    ]
    /// Options after the verb that take none, and have a letter in them which is an option of its own.
    private static let verbFlags: Set = ["no-subreaper", "tcp-established", "shell-job"]
    private static let what = "cannot prepare a TPM"

    /// Reads the arguments, of which the first is the program's name.
    init(_ arguments: [String]) {
        do throws(Failure) {
            try read(arguments)
        } catch {
            refusal = error
        }
    }

    private mutating func read(_ arguments: [String]) throws(Failure) {
        var rest = arguments.dropFirst()
        let word: String
        do {
            word = try parseGlobal(&rest)
        } catch {
            // What creates nothing goes on: the real runtime knows its own options.
            let verbs: [PreparationVerb] = [.create, .run, .restore]
            guard rest.contains(where: { PreparationVerb(rawValue: $0).map(verbs.contains) ?? false }) else { return }
            throw error
        }
        guard let verb = PreparationVerb(rawValue: word), verb != .undo else { return }
        creation = try Self.parse(verb, rest)
    }

    /// Reads the options before the verb; returns the verb, or "" if there is none.
    private mutating func parseGlobal(_ rest: inout ArraySlice<String>) throws(Failure) -> String {
        while let argument = rest.popFirst() {
            guard let option = Option(argument) else { return argument }
            if Self.globalFlags.contains(option.name) { continue }
            guard Self.globalValues.contains(option.name) else {
                guard option.value == nil else { continue }
                throw Failure(Self.what, because: "the option \(argument.excerpt) is not known", hint: Self.optionHint)
            }
            let value = option.value ?? rest.popFirst()
            switch option.name {
            case "log", "l": log = value
            case "log-format": logsJSON = value == "json"
            default: break
            }
        }
        return ""
    }

    private static let optionHint = "write its value with \"=\", as --option=value"

    /// Reads what follows the verb; returns nil if it asks for help, so that nothing is created.
    private static func parse(_ verb: PreparationVerb, _ arguments: ArraySlice<String>) throws(Failure) -> Creation? {
        var rest = arguments
        var bundle: String?
        var id: String?
        var hasOptions = true
        while let argument = rest.popFirst() {
            if hasOptions, argument == "--" {
                hasOptions = false
                continue
            }
            guard hasOptions, let option = Option(argument) else {
                guard id == nil else {
                    throw Failure(what, because: "there are two container IDs: \(argument.excerpt) is one too many")
                }
                id = argument
                continue
            }
            if option.isHelp { return nil }
            if option.isBundle {
                guard let value = option.value ?? rest.popFirst(), bundle == nil else {
                    throw Failure(what, because: "\(argument.excerpt) has no value, or is there twice")
                }
                bundle = value
            } else if option.isConfig {
                throw Failure(
                    what,
                    because: "\(argument.excerpt) names another file than the bundle's config.json",
                    hint: "put it into a bundle"
                )
            } else if option.mayHideBundle, !verbValues.contains(option.name), !verbFlags.contains(option.name) {
                throw Failure(
                    what,
                    because: "\(argument.excerpt) may be several options, and name a bundle or another config.json",
                    hint: "give each option an argument of its own"
                )
            } else if verbValues.contains(option.name), option.value == nil {
                rest = rest.dropFirst()
            }
        }
        guard let id, !id.isEmpty else { throw Failure(what, because: "there is no container ID") }
        return Creation(verb: verb, id: id, bundle: bundle)
    }
}

/// An argument that is an option, with its value if that is in the same argument.
private struct Option {
    let name: String
    let value: String?
    private let isLong: Bool

    /// Reads an argument; returns nil if it is none.
    init?(_ argument: String) {
        guard argument.utf8.first == UInt8(ascii: "-"), argument.utf8.count > 1 else { return nil }
        isLong = argument.hasPrefix("--")
        let text = argument.dropFirst(isLong ? 2 : 1)
        // A short option of crun's has its value right behind it; runc's long ones may begin with one dash.
        if !isLong, text.utf8.count > 1, let first = text.first, "bf".contains(first),
            !Self.long.contains(where: { text == $0 || text.hasPrefix("\($0)=") })
        {
            name = String(first)
            let rest = text.dropFirst()
            value = String(rest.hasPrefix("=") ? rest.dropFirst() : rest)
            return
        }
        guard let equals = text.firstIndex(of: "=") else {
            name = String(text)
            value = nil
            return
        }
        name = String(text[..<equals])
        value = String(text[text.index(after: equals)...])
    }

    private static let long = ["bundle", "file"]

    /// Whether it asks for help.
    var isHelp: Bool { value == nil && ["help", "h", "?", "usage"].contains(name) }

    /// Whether it names the bundle; GNU programs take the beginning of a long name for the whole.
    var isBundle: Bool { name == "b" || isLong && "bundle".hasPrefix(name) || name == "bundle" }

    /// Whether it may be several of crun's short options in one argument, with `-b` or `-f` among them.
    var mayHideBundle: Bool { !isLong && name.utf8.count > 1 && name.utf8.contains { "bf".utf8.contains($0) } }

    /// Whether it names another configuration, as crun's does.
    var isConfig: Bool { name == "f" || name == "config" || isLong && name.utf8.count > 2 && "config".hasPrefix(name) }
}
