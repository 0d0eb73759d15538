import CryptoPrimitives
import JSONText
import Launch
import Platform
import VTPMProxy

// The file: canonical JSON, RFC 8785. Numbers of 64 bits are strings, as JSON has none.
extension RunManifest {
    private static let version: Int64 = 1
    private static let type = "container-vtpm manifest"
    /// The largest file that is read, in bytes.
    public static let sizeLimit = 1 << 17

    /// The file's contents.
    public var encoded: [UInt8] {
        CanonicalJSON.members([
            "bundle": .string(bundle),
            "container": .string(container),
            "counter": counter.map { Self.json($0) } ?? .null,
            "endorsementKeys": Self.json(endorsementKeys),
            "generation": .string("\(generation)"),
            "instance": .string(instance),
            "launch": .members([
                "digest": .hexadecimal(launch.digest),
                "instanceDigest": .hexadecimal(launch.instanceDigest),
                "pcr17": .hexadecimal(launch.pcr17),
                "pcr18": .hexadecimal(launch.pcr18),
            ]),
            "quotingKey": .hexadecimal(quotingKey),
            "resetCount": .integer(Int64(resets.resetCount)),
            "restartCount": .integer(Int64(resets.restartCount)),
            "software": .members([
                "digests": Self.json(software.digests),
                "libtpms": .string(software.libtpms),
                "version": .string(software.version),
            ]),
            "state": .string(state),
            "time": .string(time),
            "type": .string(Self.type),
            "version": .integer(Self.version),
        ]).bytes
    }

    private static func json(_ counter: Counter) -> CanonicalJSON {
        .members([
            "index": .string(handleText(counter.index)),
            "name": .hexadecimal(counter.name),
            "value": .string("\(counter.value)"),
        ])
    }

    private static func json(_ values: [String: [UInt8]]) -> CanonicalJSON {
        .object(values.map { .init($0.key, .hexadecimal($0.value)) })
    }

    private static func handleText(_ handle: UInt32) -> String {
        let digits = String(handle, radix: 16)
        return "0x" + String(repeating: "0", count: 8 - digits.utf8.count) + digits
    }

    /// Reads what ``encoded`` has written; `path` is for errors.
    ///
    /// - Throws: ``Failure`` if it is any other text, if only by one byte.
    public init(reading bytes: [UInt8], _ path: String) throws(Failure) {
        let refusal = Failure("cannot read \(path)", because: "it is no manifest of this version of the project")
        let text = try JSONText(parsing: bytes, path: path, limit: Self.sizeLimit)
        guard text.root["type"]?.string == Self.type, text.root["version"]?.integer == Self.version,
            let manifest = RunManifest(text.root), manifest.encoded == bytes
        else { throw refusal }
        self = manifest
    }

    private init?(_ root: JSONValue) {
        guard let container = root["container"]?.string, let bundle = root["bundle"]?.string,
            let state = root["state"]?.string, let instance = root["instance"]?.string,
            let generation = root["generation"]?.string.flatMap({ UInt64($0) }),
            let resets = root["resetCount"]?.integer.flatMap({ UInt32(exactly: $0) }),
            let restarts = root["restartCount"]?.integer.flatMap({ UInt32(exactly: $0) }),
            let keys = root["endorsementKeys"]?.bytesByName, let quotingKey = root["quotingKey"]?.bytes,
            let launch = root["launch"].flatMap({ Launch($0) }), let counter = root["counter"],
            let software = root["software"].flatMap({ Software($0) }),
            let time = root["time"]?.string
        else { return nil }
        var found: Counter?
        if counter.kind != .null {
            guard let read = Counter(counter) else { return nil }
            found = read
        }
        self.init(
            container: container,
            bundle: bundle,
            state: state,
            instance: instance,
            generation: generation,
            resets: TPMResets(resetCount: resets, restartCount: restarts),
            endorsementKeys: keys,
            quotingKey: quotingKey,
            launch: launch,
            counter: found,
            software: software,
            time: time
        )
    }
}

extension RunManifest.Launch {
    fileprivate init?(_ value: JSONValue) {
        guard let digest = value["digest"]?.bytes, let instanceDigest = value["instanceDigest"]?.bytes,
            let pcr17 = value["pcr17"]?.bytes, let pcr18 = value["pcr18"]?.bytes
        else { return nil }
        self.init(digest: digest, instanceDigest: instanceDigest, pcr17: pcr17, pcr18: pcr18)
    }
}

extension RunManifest.Counter {
    fileprivate init?(_ value: JSONValue) {
        guard let text = value["index"]?.string, text.utf8.starts(with: "0x".utf8),
            let index = UInt32(text.dropFirst(2), radix: 16), let name = value["name"]?.bytes,
            let number = value["value"]?.string.flatMap({ UInt64($0) })
        else { return nil }
        self.init(index: index, name: name, value: number)
    }
}

extension RunManifest.Software {
    fileprivate init?(_ value: JSONValue) {
        guard let version = value["version"]?.string, let libtpms = value["libtpms"]?.string,
            let digests = value["digests"]?.bytesByName
        else { return nil }
        self.init(version: version, libtpms: libtpms, digests: digests)
    }
}

extension CanonicalJSON {
    /// Creates a string of hexadecimal digits.
    static func hexadecimal(_ bytes: [UInt8]) -> CanonicalJSON { .string(Hexadecimal.encode(bytes)) }
}

extension JSONValue {
    /// The bytes of a string of hexadecimal digits; nil if it is none.
    var bytes: [UInt8]? { string.flatMap { Hexadecimal.decode($0) } }

    /// The bytes of each member, by its name; nil if it is no such object.
    var bytesByName: [String: [UInt8]]? {
        guard let members else { return nil }
        var values: [String: [UInt8]] = [:]
        for member in members {
            guard let bytes = member.value.bytes, values.updateValue(bytes, forKey: member.name) == nil else {
                return nil
            }
        }
        return values
    }
}
