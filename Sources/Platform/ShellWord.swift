extension String {
    /// The text as one word of a command that a person is told to run: in apostrophes, unless it has plain characters alone.
    ///
    /// Containers, states and units have names of others' choice. In a command that root copies from an error, `$(…)` or
    /// an apostrophe in a name must stay what it is, a part of the name.
    public var shellWord: String {
        let isPlain = !utf8.isEmpty && utf8.allSatisfy { $0.isPlainInShells }
        return isPlain ? self : "'" + unicodeScalars.map { $0 == "'" ? "'\\''" : String($0) }.joined() + "'"
    }
}

extension UInt8 {
    /// Whether no shell takes it for anything but itself, wherever it stands in a word.
    fileprivate var isPlainInShells: Bool {
        switch Unicode.Scalar(self) {
        case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".", "/", ":", "@", "%", "+", ",": true
        default: false
        }
    }
}
