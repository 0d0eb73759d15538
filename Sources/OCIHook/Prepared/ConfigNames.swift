import JSONText
import Platform

/// The members of `config.json` that decide about a vTPM, in the objects that have them.
///
/// runc also takes a member in another case for its own; crun and this program do not. Where such a name could undo what is
/// added, it is refused.
struct ConfigNames: ExpressibleByDictionaryLiteral {
    private let members: [String: ConfigNames]

    init(dictionaryLiteral elements: (String, ConfigNames)...) {
        members = Dictionary(uniqueKeysWithValues: elements)
    }

    private static let hook: ConfigNames = ["path": [:], "args": [:], "env": [:], "timeout": [:]]
    private static let hooks: ConfigNames = ["prestart": hook, "createRuntime": hook, "poststop": hook]
    private static let rule: ConfigNames = ["allow": [:], "type": [:], "major": [:], "minor": [:], "access": [:]]
    private static let extent: ConfigNames = ["containerID": [:], "hostID": [:], "size": [:]]
    private static let linux: ConfigNames = [
        "resources": ["devices": rule], "maskedPaths": [:], "cgroupsPath": [:], "mountLabel": [:],
        "rootfsPropagation": [:], "uidMappings": extent, "gidMappings": extent,
    ]
    private static let process: ConfigNames = [
        "user": ["uid": [:], "gid": [:]], "apparmorProfile": [:], "selinuxLabel": [:],
        "capabilities": ["bounding": [:], "effective": [:], "inheritable": [:], "permitted": [:], "ambient": [:]],
    ]
    private static let all: ConfigNames = [
        "hooks": hooks, "linux": linux, "process": process, "annotations": [:], "root": ["path": [:]],
        "mounts": ["destination": [:], "type": [:], "options": [:]],
    ]

    /// Throws if a member has the name of one of these in another case.
    static func check(_ config: JSONValue, path: String) throws(Failure) {
        try all.check(config, path)
    }

    private func check(_ value: JSONValue, _ path: String) throws(Failure) {
        guard !members.isEmpty else { return }
        for element in value.elements ?? [] { try check(element, path) }
        for member in value.members ?? [] {
            if let own = members.first(where: { $0.key.utf8.elementsEqual(member.name.utf8) }) {
                try own.value.check(member.value, path)
            } else if let own = members.keys.first(where: { $0.foldedAsByGo == member.name.foldedAsByGo }) {
                throw Failure(
                    "cannot use \(path)",
                    because: "\"\(member.name.excerpt)\" is not \"\(own)\", and runc takes it for that"
                )
            }
        }
    }
}
