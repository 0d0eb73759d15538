extension String {
    /// A member's name without the difference of cases, by which two characters are an s and a k too.
    ///
    /// runc is written in Go, whose JSON package also takes a member in another case for its own: `HOOKS` after `hooks`
    /// replaces the hooks. encoding/json, `foldName`
    package var foldedAsByGo: [Unicode.Scalar] {
        unicodeScalars.map { scalar in
            switch scalar {
            case "A"..."Z": Unicode.Scalar(UInt8(scalar.value + 32))
            case "\u{17f}": "s"
            case "\u{212a}": "k"
            default: scalar
            }
        }
    }
}
