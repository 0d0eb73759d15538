import Platform

extension Configuration.State {
    /// All keys of the table `[state]`.
    static let names = ["id", "scope", "bundles", "ephemeral", "random-ids"]

    /// Reads `[state]`.
    ///
    /// A key that has no effect with the others is an error, since its author expects one.
    init(_ section: Section) throws(Failure) {
        self.init()
        source = try section.choice("id") ?? source
        scope = try section.choice("scope") ?? scope
        allowsEphemeral = try section.boolean("ephemeral") ?? allowsEphemeral
        randomIDs = try section.randomIDs("random-ids") ?? randomIDs
        bundles = try section.plainPath("bundles")
        guard source == .pod else {
            guard bundles == nil else { throw section.refusal(of: "bundles", "is only used with id = \"pod\"") }
            return
        }
        guard scope.podAnnotations != nil else {
            throw section.refusal(
                of: "scope",
                "must name a CRI engine with id = \"pod\"",
                hint: "\"containerd\" or \"cri-o\", the one that is really used"
            )
        }
        guard !section.gives("random-ids") else {
            throw section.refusal(of: "random-ids", "is not used with id = \"pod\"")
        }
    }
}

extension Section {
    /// Returns an absolute path that can be compared with others byte by byte; nil if the key is missing.
    fileprivate func plainPath(_ key: String) throws(Failure) -> String? {
        guard let path = try path(key) else { return nil }
        let names = path.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).dropFirst()
        guard !names.contains(where: { ["", ".", ".."].contains(String($0)) }) else {
            throw refusal(of: key, "must be an absolute path without \".\", \"..\" and empty parts")
        }
        return path
    }
}
