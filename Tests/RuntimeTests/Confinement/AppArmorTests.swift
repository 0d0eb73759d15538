import FoundationEssentials
import Glibc
import Platform
import Testing

/// The profiles let the programs be started wherever a distribution has its libraries, and what follows from it.
///
/// The kernel's word is in `Tests/Guest/cases/66`, for the one distribution that runs there; this is apparmor.d(5), as far
/// as the profiles use it.
@Suite struct AppArmorTests {
    static let root = "/" + #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
    static let programs = ["vtpm-ca", "vtpm-hook", "vtpm-supervisor", "vtpm-systemd", "vtpm-worker", "vtpmctl"]

    @Test(arguments: programs, ["debian-13", "debian-sid", "elsewhere"])
    func theLibrariesOfADistributionAreMapped(_ program: String, _ distribution: String) throws {
        let path = "\(Self.root)/Tests/RuntimeTests/Fixtures/libraries/\(distribution)"
        let libraries = try text(path).split(separator: "\n").map(String.init)
        try #require(libraries.count > 8)
        let profile = try Profile(program)
        #expect(libraries.filter { !profile.allows("mr", to: $0) } == [])
    }

    /// Those of this machine, which need not be Debian's.
    @Test(arguments: programs.dropLast()) func itsOwnLibrariesAreMapped(_ program: String) throws {
        let temporary = try TemporaryDirectory()
        let tested = VTPMUnderTest.built(program == "vtpm-hook" ? "vtpm-supervisor" : program)
        let command = "ldd '\(tested)' | grep -o '/[^ ]*' | xargs -n 1 realpath >'\(temporary.path)/libraries'"
        let shell = ProgramLaunch("/bin/sh", ["sh", "-c", command])
        #expect(try shell.start().wait() == .exited(0))
        let list = String(decoding: try temporary.read("libraries"), as: UTF8.self).split(separator: "\n")
        // A build for tests has Swift's from the toolchain; what is installed has them inside (`--static-swift-stdlib`).
        let libraries = list.filter { !$0.contains("/swift/linux/") }.map(String.init)
        #expect(libraries.count > 4)
        let profile = try Profile(program)
        #expect(libraries.filter { !profile.allows("mr", to: $0) } == [])
    }

    /// What malloc(3) and libcrypto of newer distributions look at when they are loaded.
    @Test(arguments: [
        "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size",
        "/proc/sys/vm/overcommit_memory", "/proc/sys/crypto/fips_enabled", "/etc/ld.so.cache",
    ])
    func whatALibraryReadsIsRead(_ path: String) throws {
        for program in Self.programs { #expect(try Profile(program).allows("r", to: path), "\(program)") }
    }

    @Test(arguments: [
        "/etc/ssl/openssl.cnf", "/etc/pki/tls/openssl.cnf", "/etc/ssl/openssl.cnf.d/policy.cnf",
        "/etc/crypto-policies/back-ends/opensslcnf.config", "/usr/share/crypto-policies/DEFAULT/opensslcnf.txt",
    ])
    func theConfigurationOfLibcryptoIsRead(_ path: String) throws {
        for program in ["vtpm-hook", "vtpmctl"] {
            #expect(try Profile(program).allows("r", to: path), "\(program)")
        }
        // What is installed has nettle.
        for program in ["vtpm-supervisor", "vtpm-worker"] {
            #expect(try !Profile(program).allows("r", to: path), "\(program)")
        }
    }

    /// What a worker must not read lies beside what it may.
    @Test(arguments: [
        "/usr/lib/os-release", "/usr/lib/systemd/systemd", "/lib/modules/6.12/modules.dep", "/etc/ld.so.preload",
        "/etc/passwd", "/etc/ssl/private/key.pem", "/proc/sys/kernel/core_pattern",
        "/var/lib/container-vtpm/keys/master.key",
        "/home/user/lib/libc.so.6", "/tmp/libtpms.so.0",
    ])
    func nothingElseIs(_ path: String) throws {
        #expect(try !Profile("vtpm-worker").allows("r", to: path))
        #expect(try !Profile("vtpm-worker").allows("m", to: path))
    }

    /// The file rules of a profile, with what it includes of ours.
    struct Profile {
        private var rules: [(pattern: Regex<AnyRegexOutput>, access: Set<Character>, denies: Bool)] = []

        init(_ program: String) throws {
            try add("\(AppArmorTests.root)/AppArmor/\(program)")
            try #require(rules.count > 4)
        }

        private mutating func add(_ path: String) throws {
            for line in try text(path).split(separator: "\n") {
                if let match = line.firstMatch(of: /^ *include <(abstractions\/container-vtpm\/\w+)>/) {
                    try add("\(AppArmorTests.root)/AppArmor/\(match.1)")
                }
                guard let match = line.firstMatch(of: /^ *(deny )?((?:\/|@\{PROC\})\S*) ([a-zA-Z]+),/) else { continue }
                let pattern = try Regex("^" + expression(String(match.2)) + "$")
                rules.append((pattern, Set(match.3), match.1 != nil))
            }
        }

        /// As a regular expression: the globs of apparmor.d(5), in which a `*` that follows a `/` stands for one character
        /// at least.
        private func expression(_ glob: String) -> String {
            var result = ""
            let text = glob.replacing("@{PROC}", with: "/proc").replacing("@{pids}", with: "[0-9]+")
                .replacing("@{multiarch}", with: "*-linux-gnu*")
            var rest = Substring(text)
            while let character = rest.popFirst() {
                switch character {
                case "*" where rest.first == "*":
                    rest.removeFirst()
                    result += ".*"
                case "*": result += "[^/]*"
                case "?": result += "[^/]"
                case "{": result += "(?:"
                case "}": result += ")"
                case ",": result += "|"
                case ".", "(", ")", "|", "$", "^": result += "\\\(character)"
                default: result.append(character)
                }
            }
            return result
        }

        func allows(_ access: String, to path: String) -> Bool {
            let fitting = rules.filter { path.wholeMatch(of: $0.pattern) != nil }
            return access.allSatisfy { right in
                let named = fitting.filter { $0.access.contains(right) }
                return !named.isEmpty && !named.contains { $0.denies }
            }
        }
    }
}

private func text(_ path: String) throws -> String {
    String(decoding: try Descriptor.open(path, .read).readAll(limit: 1 << 20, path), as: UTF8.self)
}
