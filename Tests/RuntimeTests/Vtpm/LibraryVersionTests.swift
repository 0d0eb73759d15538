import CLinux
import Glibc
import Platform
import RuntimeControl
import Testing

@testable import RuntimeConfinement

/// libtpms changes under a state: the host's is upgraded or downgraded, or the state moves to another host.
@Suite(.serialized) struct LibraryVersionTests {
    let temporary: TemporaryDirectory
    static let newer = VTPMUnderTest.program("OtherLibrary")
    var older: String { "\(temporary.path)/older" }

    init() throws {
        temporary = try TemporaryDirectory()
        try temporary.write("older", Array("#!/bin/sh\nexec '\(Self.newer)' older\n".utf8))
        chmod(older, 0o700)
    }

    /// libtpms' `permall`, of the form that a library writes; what follows the profile is what any of them writes.
    ///
    /// libtpms: src/tpm2/NVMarshal.c, PERSISTENT_ALL_Marshal
    static func permall(format: UInt16, profile: String? = nil) -> [UInt8] {
        var state = ByteWriter()
        state.write(format)
        state.write(UInt32(0xab36_4723))
        state.write(format)
        if let profile {
            state.write(UInt16(profile.utf8.count + 1))
            state.write(Array(profile.utf8) + [0])
        }
        state.write([UInt8](repeating: 0, count: 1000))
        return state.bytes
    }

    private func refusal(of state: [UInt8], worker: String? = nil) throws -> String {
        try OwnStates.write(secretCopy(of: state), "web", in: temporary)
        let tpm = try VTPMUnderTest(in: temporary, worker: worker)
        let heard = try tpm.hear()
        #expect(heard.kind == .failure)
        #expect(try tpm.reap() == .exited(1))
        // It is there as it was, for the library that can read it.
        #expect(plain(try OwnStates.read("web", in: temporary)) == state)
        return String(decoding: heard.body, as: UTF8.self)
    }

    @Test func aStateThatOnlyANewerLibraryReadsIsRefusedWithTheseWords() throws {
        let profile = #"{"Name":"default-v1","StateFormatLevel":7}"#
        let text = try refusal(of: Self.permall(format: 4, profile: profile), worker: older)
        #expect(text.contains("only libtpms 0.10 or newer can read its state, which has format 4 and the profile"))
        #expect(text.contains(profile))
        #expect(text.contains("and this is libtpms 0.9.2"))
        #expect(text.contains("(upgrade libtpms)"))
        let next = try refusal(of: Self.permall(format: 5), worker: older)
        #expect(next.contains("only libtpms 0.10 or newer can read its state, which has format 5, and"))
    }

    @Test func aNewLibraryDecidesForItself() throws {
        let text = try refusal(of: Self.permall(format: 5, profile: "{}"), worker: Self.newer)
        #expect(text.contains("libtpms 0.10.1: loading its state, which has format 5 and the profile {}: error 0x"))
    }

    @Test func theStateOfATPM12IsNamed() throws {
        #expect(try refusal(of: [0, 1, 0, 0x22] + [UInt8](repeating: 0, count: 1000)).contains("one of a TPM 1.2"))
        #expect(try refusal(of: Array("no state at all".utf8)).contains("its state is none of libtpms'"))
        #expect(try refusal(of: [0, 3, 0xab]).contains("its state is none of libtpms'"))
    }

    @Test func aDamagedStateIsSaidWithTheLibrary() throws {
        let text = try refusal(of: Self.permall(format: 3))
        #expect(text.hasPrefix("cannot start the TPM: libtpms 0."))
        #expect(text.contains("loading its state, which has format 3: error 0x"))
    }

    /// Without it, a host could not go back to the library of before, and no older host could take the state.
    @Test func theProfileOfOlderLibrariesIsPinned() throws {
        let tpm = try VTPMUnderTest(in: temporary, worker: Self.newer)
        try tpm.create()
        #expect(tpm.library == LibraryVersion(0, 10, 1))
        let key = try tpm.endorsementKey()
        #expect(try tpm.stop() == .exited(0))
        let older = try VTPMUnderTest(in: temporary)
        try older.create()
        #expect(try older.endorsementKey() == key)
        #expect(try older.stop() == .exited(0))
    }

    @Test func aVersionIsWrittenAsUsual() {
        #expect(LibraryVersion(number: 0x0009_02).description == "0.9.2")
        #expect(LibraryVersion(1, 22, 255).description == "1.22.255")
        #expect(LibraryVersion(0, 9, 7) < LibraryVersion(0, 10, 0))
    }

    /// What a worker may lock is limited where there is no CAP_SYS_RESOURCE to raise it with.
    @Test(arguments: ["0", "64", "256"]) func littleLockedMemoryIsTheReason(limit: String) throws {
        let script = """
            #!/bin/sh
            ulimit -l \(limit)
            exec /usr/bin/setpriv --bounding-set -sys_resource --inh-caps -sys_resource \
            \(VTPMUnderTest.program("vtpm-worker")) "$@"
            """
        try temporary.write("worker", Array("\(script)\n".utf8))
        chmod("\(temporary.path)/worker", 0o700)
        let large = Self.permall(format: 3) + [UInt8](repeating: 0, count: 121_000)
        try OwnStates.write(secretCopy(of: large), "large", in: temporary)
        for stateID in ["new", "large"] {
            let tpm = try VTPMUnderTest(in: temporary, stateID: stateID, worker: "\(temporary.path)/worker")
            let heard = try tpm.hear()
            // A new TPM has little to keep.
            guard stateID == "large" || limit == "0" else {
                #expect(heard.kind == .ready)
                continue
            }
            #expect(heard.kind == .failure)
            let text = String(decoding: heard.body, as: UTF8.self)
            #expect(text.contains(" bytes of locked memory: mlock: "), "\(text)")
            #expect(text.contains("(raise RLIMIT_MEMLOCK)"), "\(text)")
        }
    }

    /// Who may raise it does.
    @Test(
        .enabled(if: (try? Capabilities.has(CAP_SYS_RESOURCE)) == true, "needs CAP_SYS_RESOURCE"),
        arguments: [0, 16]
    )
    func aLimitThatCanBeRaisedIsNoReason(kilobytes: Int) throws {
        let limited = "ulimit -l \(kilobytes); exec \"$@\""
        let tpm = try VTPMUnderTest(in: temporary, starter: ["/bin/sh", "-c", limited, "sh"])
        try tpm.create()
        #expect(try tpm.stop() == .exited(0))
    }

    /// The same of a supervisor, which a worker inherits its limit from: found out before a state is made.
    @Test(arguments: [0, 16]) func tooLittleLockedMemoryMakesNoState(kilobytes: Int) throws {
        let limited = """
            ulimit -l \(kilobytes)
            exec /usr/bin/setpriv --bounding-set -sys_resource --inh-caps -sys_resource "$@"
            """
        let tpm = try VTPMUnderTest(in: temporary, starter: ["/bin/sh", "-c", limited, "sh"])
        let heard = try tpm.hear()
        #expect(heard.kind == .failure)
        let text = String(decoding: heard.body, as: UTF8.self)
        #expect(text.contains("out of swap: \(kilobytes << 10) bytes of memory may be locked"), "\(text)")
        #expect(text.contains("(raise RLIMIT_MEMLOCK)"), "\(text)")
        for name in ["states", "index"] {
            #expect(try entries(of: temporary.directory(name), name).isEmpty)
        }
    }
}
