import ArgumentParser

extension CompletionKind {
    /// The IDs of the containers that have a TPM.
    static let containers = names(of: "vtpmctl list")
    /// The IDs of the host's states.
    static let states = names(of: "vtpmctl state list")

    /// Returns the first column of a command's table, without its heading.
    ///
    /// Columns are two or more blanks apart. An ID with any other character than these is left out: bash expands the
    /// words that it completes, so `$(…)` in an annotation would be executed. Whoever is not root gets no list, and no
    /// error in the middle of the line.
    private static func names(of command: String) -> CompletionKind {
        .shellCommand("\(command) 2>/dev/null | LC_ALL=C sed '1d; s/  .*//; /[^A-Za-z0-9._:@%+,=/-]/d'")
    }
}
