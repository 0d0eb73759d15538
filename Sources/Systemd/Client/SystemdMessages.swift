import Glibc
import Platform
import RuntimeControl

/// A request to the program `vtpm-systemd`, which answers each with one ``SystemdResponse``.
public enum SystemdRequest: ChannelMessage, Equatable {
    /// Asks for the properties of a unit.
    case unit(String)
    /// Asks to allow a unit to read and write character devices; the properties afterwards are the response.
    case allow([DeviceNumber], unit: String)
    /// Asks to start a scope with these properties; its properties when it is active are the response.
    case startScope(String, [UnitProperty])
    /// Asks for systemd's version.
    case version

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case unit = 1
        case allow = 2
        case startScope = 3
        case version = 4
    }

    public static let maximumSize = 16 * 1024

    public var kind: Kind {
        switch self {
        case .unit: .unit
        case .allow: .allow
        case .startScope: .startScope
        case .version: .version
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .unit(let name): writer.write(text: name)
        case .allow(let devices, let name):
            writer.write(text: name)
            for device in devices {
                writer.write(device.major)
                writer.write(device.minor)
            }
        case .startScope(let name, let properties):
            writer.write(text: name)
            for property in properties { property.encode(into: &writer) }
        case .version: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        var reader = ByteReader(contents.body)
        switch kind {
        case .unit:
            guard let name = reader.readName() else { return nil }
            self = .unit(name)
        case .allow:
            guard let name = reader.readName() else { return nil }
            var devices: [DeviceNumber] = []
            while reader.remaining > 0 {
                guard let major = reader.read(UInt32.self), let minor = reader.read(UInt32.self) else { return nil }
                devices.append(DeviceNumber(major: major, minor: minor))
            }
            self = .allow(devices, unit: name)
        case .startScope:
            guard let name = reader.readName() else { return nil }
            var properties: [UnitProperty] = []
            while reader.remaining > 0 {
                guard let property = UnitProperty(from: &reader) else { return nil }
                properties.append(property)
            }
            self = .startScope(name, properties)
        case .version: self = .version
        }
        guard reader.remaining == 0 else { return nil }
    }
}

/// The response to a ``SystemdRequest``.
public enum SystemdResponse: ChannelMessage, Equatable {
    /// The properties of the unit.
    case unit(UnitProperties)
    /// systemd has no such unit.
    case noUnit
    /// The version of systemd.
    case version(String)
    /// The request failed.
    case failure(Failure)

    /// The numbers of the messages.
    public enum Kind: UInt8, Sendable {
        case unit = 1
        case noUnit = 2
        case version = 3
        case failure = 4
    }

    public static let maximumSize = 30 * 1024

    public var kind: Kind {
        switch self {
        case .unit: .unit
        case .noUnit: .noUnit
        case .version: .version
        case .failure: .failure
        }
    }

    public func encode(into writer: inout ByteWriter) {
        switch self {
        case .unit(let unit): unit.encode(into: &writer)
        case .version(let version): writer.write(text: version)
        case .failure(let failure): failure.encode(into: &writer)
        case .noUnit: break
        }
    }

    public init?(_ kind: Kind, _ contents: borrowing Message) {
        var reader = ByteReader(contents.body)
        switch kind {
        case .unit:
            guard let unit = UnitProperties(from: &reader), reader.remaining == 0 else { return nil }
            self = .unit(unit)
        case .noUnit: self = .noUnit
        case .version:
            guard let version = reader.readName(), reader.remaining == 0 else { return nil }
            self = .version(version)
        case .failure: self = .failure(contents.failure)
        }
    }
}

extension UnitProperties {
    func encode(into writer: inout ByteWriter) {
        for text in [name, loadState, activeState, controlGroup, devicePolicy] { writer.write(text: text) }
        writer.write(UInt16(clamping: deviceAllow.count))
        for rule in deviceAllow {
            writer.write(text: rule.device)
            writer.write(text: rule.access)
        }
        writer.write(UInt16(clamping: programs.count))
        for program in programs {
            writer.write(text: program.type)
            writer.write(text: program.path)
        }
    }

    init?(from reader: inout ByteReader) {
        guard let name = reader.readName(), let loadState = reader.readName(), let activeState = reader.readName(),
            let controlGroup = reader.readName(), let devicePolicy = reader.readName(),
            let rules = reader.readPairs(), let programs = reader.readPairs()
        else { return nil }
        self.init(
            name: name,
            loadState: loadState,
            activeState: activeState,
            controlGroup: controlGroup,
            devicePolicy: devicePolicy,
            deviceAllow: rules.map { DeviceRule(device: $0.first, access: $0.second) },
            programs: programs.map { PinnedProgram(type: $0.first, path: $0.second) }
        )
    }
}

extension UnitProperty {
    /// The numbers of the types of values.
    private enum Kind: UInt8 {
        case text = 1
        case flag = 2
        case number = 3
        case texts = 4
        case processes = 5
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(text: name)
        writer.write(since)
        switch value {
        case .text(let text):
            writer.write(Kind.text.rawValue)
            writer.write(text: text)
        case .flag(let flag):
            writer.write(Kind.flag.rawValue)
            writer.write(UInt8(flag ? 1 : 0))
        case .number(let number):
            writer.write(Kind.number.rawValue)
            writer.write(number)
        case .texts(let texts):
            writer.write(Kind.texts.rawValue)
            writer.write(UInt16(clamping: texts.count))
            for text in texts { writer.write(text: text) }
        case .processes(let processes):
            writer.write(Kind.processes.rawValue)
            writer.write(UInt16(clamping: processes.count))
            for process in processes { writer.write(process) }
        }
    }

    init?(from reader: inout ByteReader) {
        guard let name = reader.readName(), let since = reader.read(UInt16.self),
            let kind = reader.read(UInt8.self).flatMap(Kind.init(rawValue:))
        else { return nil }
        self.name = name
        self.since = since
        switch kind {
        case .text:
            guard let text = reader.readName() else { return nil }
            value = .text(text)
        case .flag:
            guard let flag = reader.read(UInt8.self), flag < 2 else { return nil }
            value = .flag(flag == 1)
        case .number:
            guard let number = reader.read(UInt64.self) else { return nil }
            value = .number(number)
        case .texts:
            guard let texts = reader.readList({ $0.readName() }) else { return nil }
            value = .texts(texts)
        case .processes:
            guard let processes = reader.readList({ $0.read(pid_t.self) }) else { return nil }
            value = .processes(processes)
        }
    }
}

extension ByteReader {
    /// Reads a text that C can hold; returns nil if it has a zero byte.
    fileprivate mutating func readName() -> String? {
        guard let text = readText(), !text.utf8.contains(0) else { return nil }
        return text
    }

    /// Reads a count of 16 bits and this many elements; returns nil if one is malformed.
    fileprivate mutating func readList<Element>(_ readElement: (inout ByteReader) -> Element?) -> [Element]? {
        guard let count = read(UInt16.self) else { return nil }
        var elements: [Element] = []
        for _ in 0..<count {
            guard let element = readElement(&self) else { return nil }
            elements.append(element)
        }
        return elements
    }

    fileprivate mutating func readPairs() -> [(first: String, second: String)]? {
        readList { reader in
            guard let first = reader.readName(), let second = reader.readName() else { return nil }
            return (first, second)
        }
    }
}
