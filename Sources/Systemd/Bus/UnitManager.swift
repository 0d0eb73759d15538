import Platform
import RuntimeControl
import Systemd

/// Systemd's manager, as far as the requests need it. org.freedesktop.systemd1(5)
struct UnitManager {
    private let connection: ManagerConnection

    private static let managerInterface = "org.freedesktop.systemd1.Manager"
    private static let unitInterface = "org.freedesktop.systemd1.Unit"

    /// The timeout for a unit to start, in milliseconds.
    private static let jobTimeout = 15_000

    init(_ connection: ManagerConnection) {
        self.connection = connection
    }

    /// Answers a request.
    ///
    /// If it is repeated, systemd may have carried it out already, and its answer was lost.
    func respond(to request: SystemdRequest, isRepeated: Bool = false) -> SystemdResponse {
        do throws(Failure) {
            switch request {
            case .unit(let name):
                return try unit(name)
            case .allow(let devices, let name):
                try allow(devices, in: name)
                return try unit(name)
            case .startScope(let name, let properties):
                // The names of scopes are not used twice.
                let isStarted = isRepeated ? try object(of: name) != nil : false
                if !isStarted { try startScope(name, properties) }
                try awaitStart(of: name)
                return try unit(name)
            case .version:
                return .version(try property("Version", of: Self.managerInterface))
            }
        } catch {
            return .failure(error)
        }
    }

    /// Returns the path of a unit's object; nil if systemd has no such unit, which this does not load.
    private func object(of name: String) throws(Failure) -> String? {
        let call = try connection.methodCall("GetUnit", of: Self.managerInterface)
        try call.append(name)
        return try connection.send(call, orError: "org.freedesktop.systemd1.NoSuchUnit")?.readPath()
    }

    private func unit(_ name: String) throws(Failure) -> SystemdResponse {
        guard let object = try object(of: name) else { return .noUnit }
        // What only some types of units have is in an interface of the type's own.
        let kind = name.split(separator: ".").last.map(String.init) ?? ""
        let kindInterface = "org.freedesktop.systemd1." + kind.prefix(1).uppercased() + kind.dropFirst()
        return .unit(
            UnitProperties(
                name: try property("Id", of: Self.unitInterface, at: object),
                loadState: try property("LoadState", of: Self.unitInterface, at: object),
                activeState: try property("ActiveState", of: Self.unitInterface, at: object),
                controlGroup: try property("ControlGroup", of: kindInterface, at: object),
                devicePolicy: try property("DevicePolicy", of: kindInterface, at: object),
                deviceAllow: try pairs("DeviceAllow", of: kindInterface, at: object)
                    .map { DeviceRule(device: $0.first, access: $0.second) },
                programs: try pairs("BPFProgram", of: kindInterface, at: object, isOptional: true)
                    .map { PinnedProgram(type: $0.first, path: $0.second) }
            )
        )
    }

    private func property(
        _ name: String,
        of interface: String,
        at object: String = "/org/freedesktop/systemd1"
    ) throws(Failure) -> String {
        let answer = try read(name, of: interface, at: object)
        return try answer.readVariant(of: "s") { () throws(Failure) in try answer.readText() }
    }

    private func pairs(
        _ name: String,
        of interface: String,
        at object: String,
        isOptional: Bool = false
    ) throws(Failure) -> [(first: String, second: String)] {
        let call = try getter(name, of: interface, at: object)
        let unknown = isOptional ? "org.freedesktop.DBus.Error.UnknownProperty" : nil
        guard let answer = try connection.send(call, orError: unknown) else { return [] }
        return try answer.readVariant(of: "a(ss)") { () throws(Failure) in try answer.readPairs() }
    }

    private func read(_ name: String, of interface: String, at object: String) throws(Failure) -> BusMessage {
        try connection.send(try getter(name, of: interface, at: object))
    }

    private func getter(_ name: String, of interface: String, at object: String) throws(Failure) -> BusMessage {
        let call = try connection.methodCall("Get", of: "org.freedesktop.DBus.Properties", at: object)
        try call.append(interface)
        try call.append(name)
        return call
    }
}

// What changes units.
extension UnitManager {
    private func allow(_ devices: [DeviceNumber], in name: String) throws(Failure) {
        let call = try connection.methodCall("SetUnitProperties", of: Self.managerInterface)
        try call.append(name)
        // Only until the next boot.
        try call.append(true)
        try call.appendArray(of: "(sv)") { () throws(Failure) in
            try call.appendStructure(of: "sv") { () throws(Failure) in
                try call.append("DeviceAllow")
                try call.appendVariant(of: "a(ss)") { () throws(Failure) in
                    try call.appendArray(of: "(ss)") { () throws(Failure) in
                        for rule in devices.map(DeviceRule.init) {
                            try call.appendStructure(of: "ss") { () throws(Failure) in
                                try call.append(rule.device)
                                try call.append(rule.access)
                            }
                        }
                    }
                }
            }
        }
        _ = try connection.send(call)
    }

    /// Returns the number at the beginning of the version, or 0 if there is none.
    private func versionNumber() throws(Failure) -> UInt16 {
        let digits = try property("Version", of: Self.managerInterface).utf8.prefix { (0x30...0x39).contains($0) }
        return UInt16(String(decoding: digits, as: UTF8.self)) ?? 0
    }

    /// systemd refuses a whole unit for one property that it does not know.
    private func startScope(_ name: String, _ properties: [UnitProperty]) throws(Failure) {
        let version = properties.contains { $0.since > 0 } ? try versionNumber() : 0
        let call = try connection.methodCall("StartTransientUnit", of: Self.managerInterface)
        try call.append(name)
        // A job that is there already is not replaced.
        try call.append("fail")
        try call.appendArray(of: "(sv)") { () throws(Failure) in
            for property in properties where property.since <= version {
                try call.appendStructure(of: "sv") { () throws(Failure) in
                    try call.append(property.name)
                    try append(property.value, to: call)
                }
            }
        }
        // Other units that it needs.
        try call.appendArray(of: "(sa(sv))") {}
        _ = try connection.send(call)
    }

    private func append(_ value: UnitProperty.Value, to call: BusMessage) throws(Failure) {
        switch value {
        case .text(let text):
            try call.appendVariant(of: "s") { () throws(Failure) in try call.append(text) }
        case .flag(let flag):
            try call.appendVariant(of: "b") { () throws(Failure) in try call.append(flag) }
        case .number(let number):
            try call.appendVariant(of: "t") { () throws(Failure) in try call.append(number) }
        case .texts(let texts):
            try call.appendVariant(of: "as") { () throws(Failure) in
                try call.appendArray(of: "s") { () throws(Failure) in
                    for text in texts { try call.append(text) }
                }
            }
        case .processes(let processes):
            try call.appendVariant(of: "au") { () throws(Failure) in
                try call.appendArray(of: "u") { () throws(Failure) in
                    for process in processes { try call.append(UInt32(bitPattern: process)) }
                }
            }
        }
    }

    /// Waits until a unit is active, has no job any more, or is gone.
    private func awaitStart(of name: String) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.jobTimeout)
        let isDone = try deadline.wait { () throws(Failure) in
            guard let object = try object(of: name) else { return true }
            do throws(Failure) {
                let job = try read("Job", of: Self.unitInterface, at: object)
                let number = try job.readVariant(of: "(uo)") { () throws(Failure) in
                    try job.readStructure(of: "uo") { () throws(Failure) in
                        let number = try job.readNumber()
                        _ = try job.readPath()
                        return number
                    }
                }
                guard number != 0 else { return true }
                return try property("ActiveState", of: Self.unitInterface, at: object) == "active"
            } catch {
                // It may have gone between the two calls.
                if try self.object(of: name) == nil { return true }
                throw error
            }
        }
        guard isDone else { throw Failure("cannot wait for \(name)", because: "it does not become active") }
    }
}
