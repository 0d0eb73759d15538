import JSONText
import Platform
import VTPMProxy

/// A bundle's `config.json` for one creation of its container: as it was, with a vTPM that was prepared.
///
/// All that it does not change stays byte for byte. What an earlier creation has left in it is replaced.
enum PreparedConfig {
    /// The largest `config.json` that is changed, in bytes.
    static let sizeLimit = 1 << 20

    /// What shows the host's TPMs in sysfs.
    ///
    /// The runtimes pass over paths that do not exist.
    static let maskedPaths = [
        "/sys/class/tpm", "/sys/class/tpmrm", "/sys/devices/virtual/tpm", "/sys/devices/virtual/tpmrm",
    ]
    /// The timeouts of the hooks, in seconds: a creation, and what containerd gives a whole clean-up.
    private static let (creationTimeout, removalTimeout) = (60, 10)
    private static let stages = ["prestart", "createRuntime", "poststop"]
    /// The hooks' whole environment: without one, runtimes let a hook have their own or the container's. CVE-2025-23266
    private static let searchPath = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"

    /// Adds the hooks, the device rules and the masked paths of the vTPM.
    ///
    /// - Parameters:
    ///   - file: The contents.
    ///   - path: The file's path, for errors.
    ///   - name: What the hook is told of the vTPM.
    ///   - hook: The path of the hook's program.
    ///   - configuration: The path after `--config` of the hook's own configuration; nil for the standard one.
    /// - Returns: The new contents.
    /// - Throws: ``Failure`` if the file is too large or malformed, or has a member name twice, also in another case.
    static func contents(
        of file: [UInt8],
        path: String,
        naming name: PreparedName,
        hook: String,
        configuration: String?
    ) throws(Failure) -> [UInt8] {
        var text = try JSONText(parsing: file, path: path, limit: sizeLimit)
        try ConfigNames.check(text.root, path: path)
        try removeRules(for: removeHooks(from: &text), from: &text)
        let setting = configuration.map { ["--config", $0] } ?? []
        try text.append(
            entry(hook, ["createRuntime", PreparedName.option, name.text] + setting, creationTimeout),
            to: ["hooks", "createRuntime"]
        )
        // The name shows poststop that the runtime has read this very file.
        try text.append(
            entry(hook, ["poststop", PreparedName.option, name.text] + setting, removalTimeout),
            to: ["hooks", "poststop"]
        )
        try allow(name.devices, in: &text)
        try mask(in: &text)
        return text.bytes
    }

    /// Adds the masked paths, if the container has others.
    ///
    /// One without any has them on purpose: the kernel lets its user namespaces mount a sysfs only where nothing of it is
    /// masked, and privileged containers that start others need that. fs/namespace.c, `mount_too_revealing`
    private static func mask(in text: inout JSONText) throws(Failure) {
        guard let masked = text.value(at: ["linux", "maskedPaths"]), masked.kind != .null, masked.elements != [],
            !sharesMounts(text)
        else { return }
        for path in maskedPaths where !(masked.elements ?? []).contains(where: { $0.string == path }) {
            try text.append(JSONText.quoted(path), to: ["linux", "maskedPaths"])
        }
    }

    /// Returns whether a `config.json` names a vTPM that was prepared.
    static func isPrepared(_ file: [UInt8], path: String) throws(Failure) -> Bool {
        let text = try JSONText(parsing: file, path: path, limit: BundleConfig.sizeLimit)
        let hooks = text.value(at: ["hooks", "createRuntime"])?.elements ?? []
        return hooks.contains { isOurs($0) && preparedName(of: $0) != nil }
    }

    /// Returns the path after `--config` of the hook's entries; nil if none has one.
    ///
    /// - Throws: ``Failure`` if two of them differ.
    static func configuration(of file: [UInt8], path: String) throws(Failure) -> String? {
        let text = try JSONText(parsing: file, path: path, limit: BundleConfig.sizeLimit)
        var found: String?
        for stage in stages {
            for hook in text.value(at: ["hooks", stage])?.elements ?? [] where isOurs(hook) {
                guard let given = value(of: "--config", in: hook) else { continue }
                guard found == nil || found == given else {
                    throw Failure("cannot use \(path)", because: "its entries for vtpm-hook have different --config")
                }
                found = given
            }
        }
        return found
    }

    /// Returns whether what the runtime mounts in the container may be mounted on the host as well.
    ///
    /// A mask in such a container's `/sys` would hide the TPMs of the host from itself, and stay after the container.
    /// mount_namespaces(7), "SHARED SUBTREES"
    private static func sharesMounts(_ text: JSONText) -> Bool {
        let options = (text.root["mounts"]?.elements ?? []).flatMap { $0["options"]?.elements ?? [] }
        let all = options + [text.value(at: ["linux", "rootfsPropagation"])].compactMap { $0 }
        return all.contains { ["shared", "rshared"].contains($0.string) }
    }

    // MARK: - Hooks

    private static func entry(_ hook: String, _ arguments: [String], _ timeout: Int) -> String {
        let list = (["vtpm-hook"] + arguments).map(JSONText.quoted).joined(separator: ",")
        let environment = "[\"\(searchPath)\"]"
        return "{\"path\":\(JSONText.quoted(hook)),\"args\":[\(list)],\"env\":\(environment),\"timeout\":\(timeout)}"
    }

    /// Removes the entries that would call the hook; returns the devices of the vTPMs that they name.
    private static func removeHooks(from text: inout JSONText) throws(Failure) -> Set<DeviceNumber> {
        var stale: Set<DeviceNumber> = []
        for stage in stages {
            let hooks = text.value(at: ["hooks", stage])?.elements ?? []
            let ours = hooks.indices.filter { isOurs(hooks[$0]) }
            for index in ours { stale.formUnion(preparedName(of: hooks[index])?.devices ?? []) }
            try text.removeElements(Set(ours), of: ["hooks", stage])
        }
        return stale
    }

    private static func isOurs(_ hook: JSONValue) -> Bool {
        [hook["path"]?.string, hook["args"]?.elements?.first?.string].contains { text in
            text?.split(separator: "/").last?.elementsEqual("vtpm-hook") ?? false
        }
    }

    private static func preparedName(of hook: JSONValue) -> PreparedName? {
        value(of: PreparedName.option, in: hook).flatMap { PreparedName($0) }
    }

    private static func value(of option: String, in hook: JSONValue) -> String? {
        let arguments = hook["args"]?.elements?.map { $0.string ?? "" } ?? []
        guard let index = arguments.firstIndex(of: option), index + 1 < arguments.count else { return nil }
        return arguments[index + 1]
    }

    // MARK: - Device rules

    private static let rules = ["linux", "resources", "devices"]

    /// Removes the rules for the devices of vTPMs that are gone.
    private static func removeRules(
        for stale: Set<DeviceNumber>,
        from text: inout JSONText
    ) throws(Failure) {
        let found = text.value(at: rules)?.elements ?? []
        let ours = found.indices.filter { device(of: found[$0]).map(stale.contains) ?? false }
        try text.removeElements(Set(ours), of: rules)
    }

    /// The device of a rule as it is added here; nil if it is another rule.
    private static func device(of rule: JSONValue) -> DeviceNumber? {
        guard rule["allow"]?.bool == true, rule["type"]?.string == "c", rule["access"]?.string == "rw",
            let major = rule["major"]?.integer.flatMap({ UInt32(exactly: $0) }),
            let minor = rule["minor"]?.integer.flatMap({ UInt32(exactly: $0) })
        else { return nil }
        return DeviceNumber(major: major, minor: minor)
    }

    /// Adds a rule for each device that the container could not use otherwise.
    ///
    /// Without any rule runc allows no device of ours, and crun restricts nothing, which one rule would change. Then the
    /// hook sees to it that the container can use the devices, as it does without this program.
    private static func allow(_ devices: [DeviceNumber], in text: inout JSONText) throws(Failure) {
        let given = text.value(at: rules)?.elements ?? []
        guard !given.isEmpty else { return }
        for device in devices where !allows(given, device) {
            try text.append(
                "{\"allow\":true,\"type\":\"c\",\"major\":\(device.major),\"minor\":\(device.minor),\"access\":\"rw\"}",
                to: rules
            )
        }
    }

    /// Returns whether the rules allow reading and writing a character device; the last one that matches decides.
    /// runtime-spec, config-linux.md, "Allowed Device list"
    static func allows(_ rules: [JSONValue], _ device: DeviceNumber) -> Bool {
        var isAllowed = false
        for rule in rules {
            let isType = ["a", "c", nil].contains(rule["type"]?.string)
            guard isType, matches(rule["major"], device.major), matches(rule["minor"], device.minor) else { continue }
            let access = rule["access"]?.string ?? "rwm"
            if rule["allow"]?.bool == true {
                if access.contains("r"), access.contains("w") { isAllowed = true }
            } else if access.contains("r") || access.contains("w") {
                isAllowed = false
            }
        }
        return isAllowed
    }

    private static func matches(_ value: JSONValue?, _ number: UInt32) -> Bool {
        guard let given = value?.integer, given >= 0 else { return true }
        return given == Int64(number)
    }
}
