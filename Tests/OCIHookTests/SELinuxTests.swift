import Glibc
import Platform
import Testing

@testable import OCIHook

/// What can be tried without a kernel that enforces SELinux: the files of selinuxfs are a fixture, and so are its answers.
@Suite struct SELinuxTests {
    static let process = "system_u:system_r:container_t:s0:c1,c2"
    static let nodes = "system_u:object_r:container_file_t:s0:c1,c2"

    let folder: ScratchFolder

    init() throws {
        folder = try ScratchFolder()
        try folder.write("enforce", "1")
        // As of the policy of Fedora: numbers begin with 1, and the least significant bit is number 1.
        try folder.write("class/chr_file/index", "10")
        for (number, permission) in ["ioctl", "read", "write", "create", "getattr"].enumerated() {
            try folder.write("class/chr_file/perms/\(permission)", "\(number + 1)")
        }
        try folder.write("class/chr_file/perms/open", "18")
    }

    /// getattr, open, read and write.
    static let all = "20016 ffffffff 0 ffffffff 9 0"

    private func policy(
        _ answer: String,
        to expected: String? = nil,
        code: CInt? = nil
    ) -> SELinuxPolicy {
        SELinuxPolicy(path: folder.path) { (question) throws(Failure) in
            if let expected, question != expected { throw Failure("cannot answer", because: question) }
            if let code { throw Failure("cannot write access", call: "write", code: code) }
            return Array(answer.utf8)
        }
    }

    private func config(process: String? = process, mount: String? = nodes) throws -> BundleConfig {
        let label = process.map { "\"selinuxLabel\": \"\($0)\"" } ?? ""
        let mountLabel = mount.map { "\"mountLabel\": \"\($0)\"" } ?? ""
        let text = "{\"process\": {\(label)}, \"linux\": {\(mountLabel)}}"
        return try BundleConfig(parsing: Array(text.utf8), path: "config.json")
    }

    private func refusal(_ answer: String, code: CInt? = nil, _ config: BundleConfig) throws -> String {
        let access = try #require(SELinuxAccess(of: config, policy(answer, code: code)))
        let error = #expect(throws: Failure.self) { try access.require(Self.nodes) }
        return error?.description ?? ""
    }

    @Test func thePolicyIsAskedForTheContainerAndNotForTheHook() throws {
        let question = "\(Self.process) \(Self.nodes) 10"
        let access = try #require(SELinuxAccess(of: config(), policy(Self.all, to: question)))
        #expect(access.nodeLabel == Self.nodes)
        try access.examine()
        try access.require(Self.nodes)
    }

    @Test(arguments: [
        ("0 ffffffff 0 ffffffff 9 0", "getattr open read write"), ("16 ffffffff 0 ffffffff 9 0", "open"),
        ("20012 ffffffff 0 ffffffff 9 0", "write"), ("20014 ffffffff 0 ffffffff 9 2", "read"),
    ])
    func whatThePolicyDeniesIsRefused(answer: String, lacking: String) throws {
        #expect(
            try refusal(answer, config())
                == "cannot give the container its TPM: SELinux does not let \(Self.process) use "
                + "a device labelled \(Self.nodes) (the policy needs: allow container_t container_file_t:chr_file "
                + "{ \(lacking) };)"
        )
        let early = try #require(SELinuxAccess(of: config(), policy(answer)))
        #expect(throws: Failure.self) { try early.examine() }
    }

    @Test func withoutAMountLabelItIsTheConfigurationThatIsWrong() throws {
        let access = try #require(SELinuxAccess(of: config(mount: nil), policy("0 0 0 0 1 0")))
        #expect(access.nodeLabel == nil)
        try access.examine()
        let line = try refusal("0 0 0 0 1 0", config(mount: nil))
        #expect(line.hasSuffix("(config.json needs linux.mountLabel, a label whose devices the container may use)"))
    }

    @Test func whereNothingIsEnforcedNothingIsRefused() throws {
        let denied = "0 ffffffff 0 ffffffff 9 0"
        // A permissive domain.
        try #require(SELinuxAccess(of: config(), policy("0 ffffffff 0 ffffffff 9 1"))).require(Self.nodes)
        // No label: what the process will be, the policy alone decides.
        try #require(SELinuxAccess(of: config(process: nil), policy(denied))).require(Self.nodes)
        try folder.write("enforce", "0")
        try #require(SELinuxAccess(of: config(), policy(denied))).require(Self.nodes)
        try #require(SELinuxAccess(of: config(), policy("", code: EINVAL))).require(Self.nodes)
    }

    @Test func withoutLabelsOrPolicyThereIsNothingToDo() throws {
        #expect(try SELinuxAccess(of: config(process: nil, mount: nil), policy(Self.all)) == nil)
        #expect(try SELinuxAccess(of: config(process: "", mount: ""), policy(Self.all)) == nil)
        #expect(try SELinuxAccess(of: config(), nil) == nil)
        // What only lies where selinuxfs would is none.
        #expect(try SELinuxPolicy.current(Procfs(), at: folder.path) == nil)
        #expect(try SELinuxPolicy.current(Procfs(), at: "\(folder.path)/none") == nil)
    }

    @Test func aQuestionThatCannotBeAskedIsARefusal() throws {
        #expect(try refusal("", code: EINVAL, config()).contains("the policy does not know it, or the device's label"))
        #expect(try refusal("", code: EACCES, config()).contains("write: Permission denied"))
        #expect(try refusal("yes", config()).contains("gave an answer that makes no sense"))
        #expect(try refusal(Self.all, config(process: "a b")).contains("\"a b\" is no label"))
        try folder.write("class/chr_file/index", "none")
        #expect(try refusal(Self.all, config()).contains("class/chr_file/index holds no number"))
    }

    @Test(arguments: ["", "1 2 3", "g 0 0 0 0 0", "0 0 0 0 0 x", "100000000 0 0 0 0 0"])
    func whatIsNoAnswerIsNone(text: String) {
        #expect(AccessVector(parsing: Array(text.utf8)) == nil)
    }
}
