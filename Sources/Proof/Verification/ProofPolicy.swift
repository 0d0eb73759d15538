import CryptoPrimitives
import JSONText
import Platform

/// What a verifier wants to have proven: a JSON object, all of whose members but `version` and `hosts` can be left out.
///
/// A member that this version does not know is refused: it would be a demand that nobody looks at.
public struct ProofPolicy: Equatable, Sendable {
    /// A host that is trusted.
    public struct Host: Equatable, Sendable {
        /// What it is called in a verdict.
        public let name: String
        /// The name of its attestation key. TPM 2.0 Library, Part 1, 16
        public let attestationKey: [UInt8]
        /// The values that PCRs of the bank sha256 may have, by the PCR's number.
        public let pcrs: [Int: [[UInt8]]]
    }

    /// The hosts, of which the proof has to be one's.
    public let hosts: [Host]
    /// The values that PCR 17 may have; nil for any.
    public let launches: [[UInt8]]?
    /// The digests of images, as the statement about the launch has them; nil for any, also `not stated`.
    public let images: [String]?
    /// Whether the root file system has to be measured, as whatever.
    public let needsMeasuredRoot: Bool
    /// The digests that the root file system may have, as the statement about the launch has them; nil for any.
    public let roots: [String]?
    /// The names of states; nil for any.
    public let states: [String]?
    /// The names of keys by which TPMs quote; nil for any.
    public let quotingKeys: [[UInt8]]?
    /// The SHA-256 that programs and libraries may have, by their names.
    public let software: [String: [[UInt8]]]
    /// The least generation of the state.
    public let leastGeneration: UInt64
    /// The least value of the host's counter; nil if there need not be one.
    public let leastCounter: UInt64?

    /// The largest policy that is read, in bytes.
    public static let sizeLimit = 1 << 20
    private static let members = [
        "version", "hosts", "launches", "images", "root", "roots", "states", "quotingKeys", "software",
        "leastGeneration",
        "leastCounter",
    ]

    /// Reads a policy; `path` is for errors.
    public init(parsing bytes: [UInt8], _ path: String) throws(Failure) {
        let root = try JSONText(parsing: bytes, path: path, limit: Self.sizeLimit).root
        let reader = PolicyReader(path)
        try reader.check(root, Self.members, "the policy")
        guard root["version"]?.integer == 1 else { throw reader.refusal("its version is not 1") }
        guard let hosts = root["hosts"]?.elements, !hosts.isEmpty else { throw reader.refusal("it names no hosts") }
        var known: [Host] = []
        for host in hosts { known.append(try Self.host(host, reader)) }
        guard Set(known.map(\.attestationKey)).count == known.count else {
            throw reader.refusal("it names two hosts with one attestationKey")
        }
        self.hosts = known
        launches = try reader.list(root, "launches") { $0.bytes }
        images = try reader.list(root, "images") { $0.string }
        roots = try reader.list(root, "roots") { $0.string }
        states = try reader.list(root, "states") { $0.string }
        quotingKeys = try reader.list(root, "quotingKeys") { $0.bytes }
        switch root["root"] {
        case nil: needsMeasuredRoot = false
        case let value? where value.string?.utf8.elementsEqual("measured".utf8) == true: needsMeasuredRoot = true
        default: throw reader.refusal("root is not \"measured\"")
        }
        software = try reader.object(root, "software") { (value, what) throws(Failure) in
            try reader.elements(value, what) { $0.bytes }
        }
        leastGeneration = try reader.number(root, "leastGeneration") ?? 0
        leastCounter = try reader.number(root, "leastCounter")
        guard launches != nil || images != nil || roots != nil || states != nil || quotingKeys != nil else {
            throw reader.refusal(
                "it names neither launches nor images, roots, states or quotingKeys: every container would do"
            )
        }
    }

    private static func host(_ value: JSONValue, _ reader: PolicyReader) throws(Failure) -> Host {
        try reader.check(value, ["name", "attestationKey", "pcrs"], "a host")
        guard let name = value["name"]?.string, let key = value["attestationKey"]?.bytes else {
            throw reader.refusal("a host has no name or no attestationKey")
        }
        let named = try reader.object(value, "pcrs") { (value, what) throws(Failure) in
            try reader.elements(value, what) { $0.bytes }
        }
        var pcrs: [Int: [[UInt8]]] = [:]
        for (text, values) in named {
            guard let number = Int(text), "\(number)" == text, (0..<24).contains(number) else {
                throw reader.refusal("pcrs of the host \(name) has what is no PCR's number")
            }
            pcrs[number] = values
        }
        return Host(name: name, attestationKey: key, pcrs: pcrs)
    }
}

/// Reads members of a policy, and says what is wrong with them.
private struct PolicyReader {
    let path: String

    init(_ path: String) { self.path = path }

    func refusal(_ why: String) -> Failure { Failure("cannot use the policy \(path)", because: why) }

    /// Throws unless a value is an object without other members.
    func check(_ value: JSONValue, _ names: [String], _ what: String) throws(Failure) {
        guard let members = value.members else { throw refusal("\(what) is no object") }
        for member in members where !names.contains(where: { $0.utf8.elementsEqual(member.name.utf8) }) {
            throw refusal("\(what) has the member \(JSONText.quoted(member.name)), which nobody knows")
        }
    }

    func elements<Element>(
        _ value: JSONValue,
        _ what: String,
        _ read: (JSONValue) -> Element?
    ) throws(Failure) -> [Element] {
        guard let elements = value.elements else { throw refusal("\(what) is no array") }
        var found: [Element] = []
        for element in elements {
            guard let read = read(element) else { throw refusal("\(what) has an element of another kind") }
            found.append(read)
        }
        return found
    }

    func list<Element>(
        _ root: JSONValue,
        _ name: String,
        _ read: (JSONValue) -> Element?
    ) throws(Failure) -> [Element]? {
        guard let value = root[name] else { return nil }
        return try elements(value, name, read)
    }

    func object<Element>(
        _ root: JSONValue,
        _ name: String,
        _ read: (JSONValue, String) throws(Failure) -> Element
    ) throws(Failure) -> [String: Element] {
        guard let value = root[name] else { return [:] }
        guard let members = value.members else { throw refusal("\(name) is no object") }
        var found: [String: Element] = [:]
        for member in members { found[member.name] = try read(member.value, "\(name).\(member.name)") }
        return found
    }

    /// A number, as JSON's or, above 53 bits, as a string.
    func number(_ root: JSONValue, _ name: String) throws(Failure) -> UInt64? {
        guard let value = root[name] else { return nil }
        let number = value.string.flatMap { UInt64($0) } ?? value.integer.flatMap { UInt64(exactly: $0) }
        guard let number else { throw refusal("\(name) is no number from 0 on") }
        return number
    }
}
