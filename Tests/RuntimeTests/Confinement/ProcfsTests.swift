import FoundationEssentials
import Glibc
import Platform
import Testing

/// Whoever reads what the kernel says of processes makes sure that it is the kernel who says it.
@Suite struct ProcfsTests {
    static let beliefs = [
        "believes what a process is", "believes that its score is set", "believes that a worker is locked",
        "believes that a worker is confined", "believes where it is", "believes that a worker has its namespace",
        "believes where its lease is",
    ]

    /// The fixture mounts a tmpfs there, which has all that is looked for.
    @Test(arguments: beliefs) func whatOnlyLooksLikeItIsRefused(_ belief: String) throws {
        let program = VTPMUnderTest.program("HostileSupervisor")
        let launch = ProgramLaunch(program, ["HostileSupervisor", "nowhere", belief])
        #expect(try launch.start().wait() == .exited(2))
    }

    /// Nothing else than `Procfs` opens anything there: a path is only for what is said of it.
    @Test func nobodyElseReadsIt() throws {
        let root = "/" + #filePath.split(separator: "/").dropLast(4).joined(separator: "/") + "/Sources"
        var readers: [String] = []
        for file in try FileManager.default.subpathsOfDirectory(atPath: root) where file.hasSuffix(".swift") {
            let text = String(decoding: try Data(contentsOf: URL(filePath: "\(root)/\(file)")), as: UTF8.self)
            for line in text.split(separator: "\n") where line.contains(/(open|readlink|access|stat)\("\/proc/) {
                readers.append("\(file): \(line)")
            }
        }
        // That there is no /proc any more is what it checks.
        #expect(readers.filter { !$0.hasPrefix("Runtime/Confinement/EmptyRoot.swift") } == [])
    }
}
