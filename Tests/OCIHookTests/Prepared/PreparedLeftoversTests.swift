import Foundation
import Glibc
import Platform
import RuntimeControl
import RuntimeLease
import Testing

@testable import OCIHook

/// What a preparation leaves whose processes were killed: a lease, and another file in the place of `config.json`.
@Suite final class PreparedLeftoversTests {
    private let folder: ScratchFolder
    private let hostPaths: HostPaths
    private let runDirectory: Descriptor
    private let leaseName: String
    private let state: ContainerState
    private let original = "{ \"a\" : 1 }\n"
    private let prepared: String

    init() throws {
        folder = try ScratchFolder()
        hostPaths = HostPaths(below: folder.path, programs: "/nowhere")
        runDirectory = try openOwnDirectory(hostPaths.leases)
        try folder.write("config.toml", "")
        try folder.write("bundle/config.json", original)
        let bundle = "\(folder.path)/bundle"
        let config = try BundleConfig(parsing: Array(original.utf8), path: bundle)
        state = try ContainerState(of: "web", bundle: bundle, config)
        leaseName = try Lease.name(containerID: "web", bundle: bundle)
        prepared = try PreparedConfigTests.edited(original)
        try BundleDirectory(bundle).exchange(Array(original.utf8), for: Array(prepared.utf8))
    }

    private let dead = ProcessID(process: getpid(), startTime: 1)
    private var setting: HookSetting {
        var setting = HookSetting()
        setting.configurationPath = "\(folder.path)/config.toml"
        return setting
    }

    /// Leaves a lease with the record of a vTPM that waits for its hook.
    private func makeLease(of runtime: ProcessID, supervisor: ProcessID? = nil) throws -> OpenLease {
        let opened = OpenLease(leaseName, try openOwnDirectory("\(hostPaths.leases)/\(leaseName)"))
        let lease = Lease(
            containerID: "web",
            bundle: state.bundle,
            stateID: nil,
            initProcess: runtime,
            supervisor: supervisor ?? dead,
            worker: dead,
            library: LibraryVersion(0, 9, 2),
            tpmNumber: 0,
            tpm: "10:224",
            tpmrm: "253:65536"
        )
        try opened.write(lease)
        let token = [UInt8](repeating: 7, count: AdoptionRequest.tokenSize)
        try opened.write(PreparedVTPM(token: token, config: Array(prepared.utf8)))
        return opened
    }

    private func leases() throws -> [String] { try Leases.names(in: runDirectory) }

    private func config() throws -> String {
        let file = try Descriptor.open("\(state.bundle)/config.json", .read)
        return String(decoding: try file.readAll(limit: 1 << 20, "config.json"), as: UTF8.self)
    }

    private func expectUndone() throws {
        #expect(try leases() == [])
        #expect(try config() == original)
        #expect(try entries(of: .open(state.bundle, .directory), "bundle") == ["config.json"])
    }

    private func expectKept() throws {
        #expect(try leases() == [leaseName])
        #expect(try config() == prepared)
    }

    @Test func `the next creation puts config.json back`() throws {
        _ = try makeLease(of: dead)
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        try expectUndone()
    }

    @Test func `a living runtime has it as it is`() throws {
        let me = try ProcessID(of: getpid())
        _ = try makeLease(of: me)
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        try expectKept()
        // Another runtime's end does not count.
        Leftovers(on: hostPaths, setting, of: dead).removeAll(in: runDirectory)
        try expectKept()
        // One of which nothing comes does.
        Leftovers(on: hostPaths, setting, of: me).removeAll(in: runDirectory)
        try expectUndone()
    }

    @Test func `a living supervisor undoes it itself`() throws {
        _ = try makeLease(of: dead, supervisor: ProcessID(of: getpid()))
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        try expectKept()
    }

    /// What another lease says of it counts, and so does whoever creates from it at this moment.
    @Test func `a bundle that is in use is left alone`() throws {
        _ = try makeLease(of: dead)
        let lock = try BundleLock(
            of: BundleDirectory(state.bundle),
            in: runDirectory,
            checkCancellation: { () throws(Failure) in }
        )
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        try expectKept()
        lock.release()
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        try expectUndone()
    }

    @Test func `a bundle that is gone keeps nothing`() throws {
        _ = try makeLease(of: dead)
        try FileManager.default.removeItem(atPath: state.bundle)
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        #expect(try leases() == [])
    }

    /// Otherwise nothing would say any more which bundle has to get its own back.
    @Test func `a lease stays while config.json cannot be put back`() throws {
        _ = try makeLease(of: dead)
        try folder.write("bundle/config.json", "{")
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        #expect(try leases() == [leaseName])
    }

    /// An earlier version was killed while it wrote it.
    @Test func `an empty record counts as long as its runtime lives`() throws {
        for (runtime, user) in [(dead, nil), (try ProcessID(of: getpid()), "web")] {
            let lease = try makeLease(of: runtime)
            try folder.write("run/\(leaseName)/prepared", "")
            #expect(try BundleDirectory(state.bundle).user(in: runDirectory) == user)
            try lease.removePrepared()
        }
    }

    /// A lease without the record is not a bundle's business.
    @Test func `without a record config.json stays`() throws {
        let lease = try makeLease(of: dead)
        try lease.removePrepared()
        Leftovers(on: hostPaths, setting).removeAll(in: runDirectory)
        #expect(try leases() == [])
        #expect(try config() == prepared)
    }

    @Test func `poststop undoes what was never adopted`() throws {
        // The runtime lives: it is what calls poststop.
        _ = try makeLease(of: ProcessID(of: getpid()))
        var setting = setting
        let digits = String(repeating: "07", count: AdoptionRequest.tokenSize)
        setting.prepared = PreparedName("\(digits)/10:224/253:65536")
        try Removal(of: state, on: hostPaths, setting).run()
        try expectUndone()
    }

    /// It may come before the new runtime has read config.json.
    @Test(arguments: [nil, "08"]) func `an earlier container's poststop changes nothing`(digits: String?) throws {
        _ = try makeLease(of: ProcessID(of: getpid()))
        var setting = setting
        setting.prepared = digits.flatMap {
            PreparedName("\(String(repeating: $0, count: AdoptionRequest.tokenSize))/10:224/253:65536")
        }
        try Removal(of: state, on: hostPaths, setting).run()
        try expectKept()
    }

    @Test func `poststop leaves a living container's lease`() throws {
        let lease = try makeLease(of: ProcessID(of: getpid()))
        try lease.removePrepared()
        try? Removal(of: state, on: hostPaths, setting).run()
        #expect(try leases() == [leaseName])
    }

    // MARK: - A container that gets no TPM any more

    private static let unselected = Failure(
        "cannot give the container its TPM",
        because: "one was prepared for it, and now it asks for none",
        hint: BundleOrigin.hint
    )

    /// The hook would refuse it at each start.
    @Test func `a container that gets none any more gets its own config.json back`() throws {
        var setting = setting
        setting.prepared = PreparedConfigTests.first
        let lock = try BundleLock(
            of: BundleDirectory(state.bundle),
            in: runDirectory,
            checkCancellation: { () throws(Failure) in }
        )
        let creation = Creation(of: state, on: hostPaths, setting)
        #expect(throws: Self.unselected) { try creation.refuseUnselected() }
        #expect(try config() == prepared)
        lock.release()
        // A program that another test starts has a copy of the descriptor until it is executed.
        let deadline = Deadline(milliseconds: 60_000)
        while try config() != original, !deadline.hasPassed {
            #expect(throws: Self.unselected) { try creation.refuseUnselected() }
        }
        try expectUndone()
        setting.prepared = nil
        try Creation(of: state, on: hostPaths, setting).refuseUnselected()
    }

    /// The runtime must not read what an earlier creation has left.
    @Test func `the same is done before its runtime is executed`() throws {
        try folder.write("config.toml", "[container]\ntpm = \"annotated\"\n")
        let bundle = try BundleDirectory(state.bundle)
        #expect(try bundle.restore())
        let file = "\(folder.path)/config.toml"
        let call = #"{"path":"/vtpm-hook","args":["vtpm-hook","createRuntime","--config","\#(file)"]}"#
        let own = "{\"hooks\":{\"createRuntime\":[\(call)]}}"
        try folder.write("bundle/config.json", own)
        let left = try PreparedConfigTests.edited(own, configuration: file)
        try bundle.exchange(Array(own.utf8), for: Array(left.utf8))
        let pair = try Channel.pair(near: "wrapper", far: "preparing process")
        let preparation = Preparation(verb: .create, id: "web", bundlePath: state.bundle, hostPaths: hostPaths)
        // Nothing is prepared, so that an error would still refuse the container.
        try preparation.run(pair.far) { Issue.record("it says that a TPM is prepared") }
        guard let answer = try pair.near.receive(into: Channel.makeBuffer()),
            case .nothing? = PreparationReply(answer)
        else { throw Failure("cannot prepare nothing", because: "the answer is another") }
        #expect(try config() == own)
        #expect(try entries(of: .open(state.bundle, .directory), "bundle") == ["config.json"])
    }

    @Test(arguments: [("", "/b"), (String(repeating: "x", count: 1 << 16), "/b"), ("web", "b"), ("web", "")])
    func `a state of nothing is refused`(id: String, bundle: String) throws {
        let config = try BundleConfig(parsing: Array("{}".utf8), path: "f")
        let why = "the container's ID or bundle is malformed"
        #expect(throws: Failure("cannot prepare a TPM", because: why)) {
            try ContainerState(of: id, bundle: bundle, config)
        }
    }

    @Test func `a state is what a runtime will give to the hook`() throws {
        let text = #"{"annotations":{"org.container-vtpm.state":"ephemeral","a":"b"}}"#
        let config = try BundleConfig(parsing: Array(text.utf8), path: "f")
        let state = try ContainerState(of: "web", bundle: "/b", config)
        let given = #"{"id":"web","bundle":"/b","status":"creating","# + text.dropFirst()
        #expect(try state == ContainerState(parsing: Array(given.utf8)))
    }
}
