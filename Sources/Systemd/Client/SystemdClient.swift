import Glibc
import Platform
import RuntimeControl

/// The host's systemd, which is asked by the program `vtpm-systemd`.
///
/// That program is a child that ends with ``end()``. It loads libsystemd, which takes long and could start threads, and
/// a process with threads cannot enter a mount namespace (setns(2)). ``end()`` must be called when the client is no
/// longer needed.
///
/// After a failure of the child's, all later requests fail as well.
public final class SystemdClient {
    /// The child; nil once it has been reaped.
    private var child: ChildProcess?
    private var channel: Channel?
    private let buffer = Channel.makeBuffer()

    /// The timeout for a request in milliseconds.
    ///
    /// systemd answers in some, but not while it reloads its units (`systemctl daemon-reload`), which takes seconds on
    /// a host with thousands. It is longer than the child's own, so that the child can say what took too long.
    private static let timeout = 25_000
    /// The timeout for the child's end in milliseconds.
    private static let endTimeout = 1000

    /// Returns whether systemd manages this host. sd_booted(3)
    public static func isRunning() -> Bool {
        var status = stat()
        return lstat("/run/systemd/system", &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Starts the child, which connects to systemd in the background; call it early.
    ///
    /// `program` is the path of `vtpm-systemd`. An error of the connection is thrown by the first request.
    public convenience init(program: String) throws(Failure) {
        let pair = try Channel.pair(near: "client", far: "vtpm-systemd")
        var launch = ProgramLaunch(program, ["vtpm-systemd"])
        launch.passed = [pair.far.descriptor.number]
        self.init(to: try launch.start(), over: pair.near)
    }

    /// Takes over a running child and the channel to it.
    init(to child: consuming ChildProcess, over channel: Channel) {
        self.child = consume child
        self.channel = channel
    }

    /// Closes the channel, on which the child ends, and waits for it; kills it at the timeout.
    public func end() {
        channel = nil
        switch child.take() {
        case .none: break
        case .some(let child): _ = try? child.wait(until: Deadline(milliseconds: Self.endTimeout))
        }
    }

    /// Returns the properties of a unit; nil if systemd has none of this name.
    public func unit(_ name: String) throws(Failure) -> UnitProperties? {
        let what = "cannot read the properties of systemd's unit \(name)"
        switch try ask(.unit(name), what) {
        case .unit(let unit) where unit.name == name: return unit
        case .noUnit: return nil
        case .failure(let failure): throw Failure(what, because: failure.why, hint: Self.hint(for: name))
        default: throw Failure(what, because: "the answer is about something else")
        }
    }

    /// Lets a unit read and write character devices, and checks that its properties say so.
    ///
    /// Only a unit that restricts devices may be given one (``UnitProperties/restrictsDevices``): the first rule would
    /// make systemd deny all other devices. The rules end with the unit.
    ///
    /// - Returns: The unit's properties afterwards.
    /// - Throws: ``Failure`` if systemd refuses, or if a device is not among those that it allows afterwards.
    @discardableResult
    public func allow(_ devices: [DeviceNumber], in name: String) throws(Failure) -> UnitProperties {
        let names = devices.map(\.description).joined(separator: ", ")
        let what = "cannot add \(names) to the devices of systemd's unit \(name)"
        switch try ask(.allow(devices, unit: name), what) {
        case .unit(let unit) where unit.name == name:
            guard devices.allSatisfy(unit.allows) else {
                throw Failure(what, because: "it does not list them afterwards", hint: Self.hint(for: name))
            }
            return unit
        case .noUnit: throw Failure(what, because: "there is no such unit")
        case .failure(let failure): throw Failure(what, because: failure.why, hint: Self.hint(for: name))
        default: throw Failure(what, because: "the answer is about something else")
        }
    }

    /// Begins to start a scope, a unit that holds processes which exist already, while the caller goes on.
    ///
    /// The property `PIDs` names the processes. A unit of this name must not exist. ``awaitScope(_:)`` must come before
    /// the next request. systemd.scope(5)
    public func beginScope(_ name: String, _ properties: [UnitProperty]) throws(Failure) {
        try send(.startScope(name, properties), Self.starting(name))
    }

    /// Waits until the scope is active that ``beginScope(_:_:)`` has asked for.
    ///
    /// systemd has moved the processes into the scope's cgroup then; the caller has to check that they are there.
    ///
    /// - Returns: The scope's properties when it is active.
    /// - Throws: ``Failure`` if systemd refuses, or if the scope does not become active.
    public func awaitScope(_ name: String) throws(Failure) -> UnitProperties {
        let what = Self.starting(name)
        let hint = "systemctl status \(name.shellWord), and journalctl -u \(name.shellWord), may say more"
        switch try receive(what) {
        case .unit(let unit) where unit.name == name && unit.activeState == "active": return unit
        case .unit(let unit) where unit.name == name:
            throw Failure(what, because: "it is \(unit.activeState.excerpt)", hint: hint)
        case .noUnit: throw Failure(what, because: "it ended at once", hint: hint)
        case .failure(let failure): throw Failure(what, because: failure.why, hint: hint)
        default: throw Failure(what, because: "the answer is about something else")
        }
    }

    /// Returns systemd's version, such as `257.13-1~deb13u1`.
    public func version() throws(Failure) -> String {
        let what = "cannot read systemd's version"
        switch try ask(.version, what) {
        case .version(let version): return version
        case .failure(let failure): throw Failure(what, because: failure.why)
        default: throw Failure(what, because: "the answer is about something else")
        }
    }

    private static func hint(for unit: String) -> String {
        "systemctl show -p LoadState,ActiveState,DevicePolicy,DeviceAllow \(unit) shows what systemd has"
    }

    private static func starting(_ unit: String) -> String { "cannot start systemd's unit \(unit)" }

    private func ask(_ request: SystemdRequest, _ what: String) throws(Failure) -> SystemdResponse {
        try send(request, what)
        return try receive(what)
    }

    private func send(_ request: SystemdRequest, _ what: String) throws(Failure) {
        try endingOnFailure(what) { (channel) throws(Failure) in try channel.send(request) }
    }

    private func receive(_ what: String) throws(Failure) -> SystemdResponse {
        try endingOnFailure(what) { (channel) throws(Failure) in
            guard try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.timeout)) != 0 else {
                throw Failure(what, because: "vtpm-systemd did not answer within \(Self.timeout / 1000) seconds")
            }
            guard let received = try channel.receive(into: buffer) else {
                throw Failure(what, because: "vtpm-systemd ended", hint: "journalctl -k may say what has killed it")
            }
            guard let response = SystemdResponse(received) else {
                throw Failure(what, because: "vtpm-systemd gave an answer that is none")
            }
            return response
        }
    }

    private func endingOnFailure<Result>(
        _ what: String,
        _ body: (Channel) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        do throws(Failure) {
            guard let channel else { throw Failure(what, because: "vtpm-systemd has been ended") }
            return try body(channel)
        } catch {
            // A late answer must not be taken for that to the next request.
            channel = nil
            switch child {
            case .none: break
            case .some(let child): child.kill()
            }
            throw Failure(what, because: error.why, code: error.code, hint: error.hint)
        }
    }
}
