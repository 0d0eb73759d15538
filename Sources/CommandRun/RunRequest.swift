/// The arguments of `vtpmctl run`: `run [--state NAME | --ephemeral] -- COMMAND [ARGUMENT...]`.
struct RunRequest: Equatable {
    /// The state's ID as `vtpmctl state list` prints it; nil for a TPM that is gone at the end.
    var stateID: String?
    /// The command and its arguments.
    var command: [String]

    /// Reads the arguments, of which the first is the program's name; returns nil for all that is no complete `run`.
    ///
    /// `vtpmctl` itself explains what is wrong with it: it reads the same arguments more patiently.
    init?(_ arguments: [String]) {
        guard arguments.count > 1, arguments[1] == "run" else { return nil }
        var rest = arguments.dropFirst(2)
        var isEphemeral = false
        while let word = rest.popFirst() {
            switch word {
            case "--":
                guard !rest.isEmpty, !(isEphemeral && stateID != nil) else { return nil }
                command = Array(rest)
                return
            case "--ephemeral": isEphemeral = true
            case "--state":
                // A value with a dash is `--state=VALUE`: here it is an option whose value was forgotten.
                guard stateID == nil, let name = rest.popFirst(), !name.hasPrefix("-") else { return nil }
                stateID = name
            case _ where word.hasPrefix("--state="):
                guard stateID == nil else { return nil }
                stateID = String(word.dropFirst("--state=".count))
            default: return nil
            }
        }
        return nil
    }
}
