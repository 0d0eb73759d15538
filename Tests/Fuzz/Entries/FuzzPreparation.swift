import JSONText
import Platform
import RuntimeControl
import VTPMProxy

@testable import OCIHook
@testable import RuntimeWrapper

/// A bundle's `config.json` that is changed for one creation of its container.
func fuzzPreparedConfig(_ bytes: UnsafeRawBufferPointer) {
    let file = Array(bytes)
    accepted { () throws(Failure) in _ = try PreparedConfig.configuration(of: file, path: "/config.json") }
    let edited = accepted { () throws(Failure) in try edit(file, names.first) }
    guard let edited else { return }
    require(
        must { () throws(Failure) in try PreparedConfig.isPrepared(edited, path: "/config.json") },
        "what was prepared is not known again"
    )
    require(text(edited).root.members != nil, "another kind of value")
    if !["vtpm-hook", "\\", "null"].contains(where: { contains(file, $0) }) {
        require(isSubsequence(file, of: edited), "something else than insertions")
    }
    guard edited.count < PreparedConfig.sizeLimit - 4096, !contains(file, names.first.devices[0].major.description)
    else {
        return
    }
    let again = must { () throws(Failure) in try edit(edited, names.second) }
    let direct = must { () throws(Failure) in try edit(file, names.second) }
    require(plain(text(again)) == plain(text(direct)), "an earlier creation leaves a trace")
}

/// Numbers that no input has by chance.
private let names = must { () throws(Failure) in
    (
        first: try PreparedName(of: [.init(major: 4001, minor: 17), .init(major: 4002, minor: 18)]),
        second: try PreparedName(of: [.init(major: 10, minor: 224), .init(major: 253, minor: 65536)])
    )
}

private func edit(_ file: [UInt8], _ name: PreparedName) throws(Failure) -> [UInt8] {
    try PreparedConfig.contents(
        of: file,
        path: "/config.json",
        naming: name,
        hook: "/usr/libexec/vtpm-hook",
        configuration: nil
    )
}

private func text(_ bytes: [UInt8]) -> JSONText {
    must { () throws(Failure) in try JSONText(parsing: bytes, path: "/config.json", limit: 1 << 24) }
}

/// The text without the white space between its values.
private func plain(_ text: JSONText) -> [UInt8] {
    var plain: [UInt8] = []
    func write(_ value: JSONValue) {
        switch value.kind {
        case .object(let members):
            plain.append(UInt8(ascii: "{"))
            for member in members {
                plain += text.bytes[member.nameRange]
                write(member.value)
            }
            plain.append(UInt8(ascii: "}"))
        case .array(let elements):
            plain.append(UInt8(ascii: "["))
            for element in elements { write(element) }
            plain.append(UInt8(ascii: "]"))
        default:
            plain += text.bytes[value.range]
            plain.append(UInt8(ascii: ","))
        }
    }
    write(text.root)
    return plain
}

private func contains(_ bytes: [UInt8], _ word: String) -> Bool {
    String(decoding: bytes, as: UTF8.self).utf8.contains(word.utf8)
}

private func isSubsequence(_ part: [UInt8], of whole: [UInt8]) -> Bool {
    var rest = part[...]
    for byte in whole where byte == rest.first { rest = rest.dropFirst() }
    return rest.isEmpty
}

/// The arguments of an engine, with a zero byte between two of them.
func fuzzInvocation(_ bytes: UnsafeRawBufferPointer) {
    let arguments = bytes.split(separator: 0, omittingEmptySubsequences: false).map {
        String(decoding: $0, as: UTF8.self)
    }
    for argument in arguments {
        if let name = PreparedName(argument) {
            require(PreparedName(name.text) == name, "a name that does not come back")
        }
    }
    let invocation = Invocation(arguments)
    if let refusal = invocation.refusal { examine(refusal) }
    if let creation = invocation.creation { examine(creation, arguments, invocation) }
    let debug = arguments.prefix(1) + ["--debug"] + arguments.dropFirst()
    require(Invocation(Array(debug)) == invocation, "an option that means nothing changes what is done")
}

private func examine(_ refusal: Failure) {
    accepted { () throws(Failure) in throw refusal }
    let line = Array(RuntimeLog.line(refusal, isJSON: true).utf8)
    let json = text(line)
    require(json.root["msg"]?.string == "vtpm-runtime: \(refusal)", "an error that does not come back")
}

private func examine(_ creation: Invocation.Creation, _ arguments: [String], _ invocation: Invocation) {
    require(invocation.refusal == nil, "what is refused is created")
    require(creation.verb != .undo && arguments.contains(creation.verb.rawValue), "a verb that nobody has given")
    require(!creation.id.isEmpty && arguments.dropFirst(2).contains(creation.id), "an ID that nobody has given")
    let looksLikeOption = creation.id.utf8.first == UInt8(ascii: "-") && creation.id.utf8.count > 1
    require(!looksLikeOption || arguments.contains("--"), "an option for an ID")
    if let bundle = creation.bundle {
        let isGiven = arguments.contains { $0.utf8.suffix(bundle.utf8.count).elementsEqual(bundle.utf8) }
        require(isGiven, "a bundle that nobody has given")
    }
    for path in [invocation.log].compactMap({ $0 }) {
        let isGiven = arguments.contains { $0.utf8.suffix(path.utf8.count).elementsEqual(path.utf8) }
        require(isGiven, "a log that nobody has given")
    }
}
