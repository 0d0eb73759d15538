import Configuration
import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys

/// Our own programs.
enum ProgramChecks {
    private static let names = [
        "vtpm-ca", "vtpm-hook", "vtpm-run", "vtpm-runtime", "vtpm-supervisor", "vtpm-systemd", "vtpm-worker", "vtpmctl",
    ]

    /// Whether the programs are there, and nobody but root can change them.
    static func installed(_ host: Host) throws(Failure) -> Finding {
        let folder = host.withoutRoot(host.paths.programs)
        for name in names {
            let path = host.paths.program(name)
            guard access(path, X_OK) == 0 else {
                return .refusal("\(folder)/\(name) is not there, or cannot be run", remedy: "make install")
            }
            do {
                try TrustedProgram(path: path, what: "cannot trust \(folder)/\(name)").check()
            } catch {
                return .problem(
                    "\(error.what): \(error.why)",
                    remedy: error.hint ?? "chown root: \("\(folder)/\(name)".shellWord)"
                )
            }
        }
        return .ok("\(names.joined(separator: ", ")) in \(folder)")
    }

    /// Whether the hook's program can be started, under its AppArmor profile and with its libraries.
    static func hook(_ host: Host) throws(Failure) -> Finding {
        do {
            _ = try host.output(host.paths.program("vtpm-hook"), ["check-grant"])
        } catch {
            return .refusal(error, remedy: "ldd \(host.withoutRoot(host.paths.program("vtpm-hook")))")
        }
        return .ok("it starts")
    }

    /// The runtimes that the tests run behind the wrapper.
    private static let testedRuntimes = ["runc", "crun"]

    /// The runtime behind our wrapper, if that is installed.
    static func runtime(_ host: Host) throws(Failure) -> Finding {
        guard access(host.paths.program("vtpm-runtime"), X_OK) == 0 else { return .ok("vtpm-runtime is not installed") }
        let file = Configuration.standardPath
        let path: String
        do {
            path = try Configuration.loadRuntime(path: host.root + file).path { access(host.root + $0, F_OK) == 0 }
            // Tests have their root in a folder with the sticky bit.
            let what = "vtpm-runtime does not execute \(path)"
            try TrustedProgram(path: host.root + path, what: what, allowsSticky: !host.root.isEmpty).check()
        } catch {
            return .problem("\(error.what): \(error.why)", remedy: "name the real one in \(file): [runtime] path")
        }
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        guard name != "vtpm-runtime" else {
            return .problem("\(path) is the wrapper itself", remedy: "name the real one in \(file): [runtime] path")
        }
        guard testedRuntimes.contains(name) else {
            return .note(
                "vtpm-runtime executes \(path), which is untested: tests run \(testedRuntimes.joined(separator: " and "))"
            )
        }
        let version = Engines.version(of: path, host).map { ", version \($0)" } ?? ""
        return .ok("vtpm-runtime executes \(path)\(version)")
    }

    /// Whether a worker confines itself here and runs a TPM.
    static func worker(_ host: Host) throws(Failure) -> Finding {
        guard host.user == 0 else { return .unknown("only root can start one") }
        do {
            let library = try TrialStart(worker: host.paths.program("vtpm-worker")).manufacture()
            return .ok(["a new TPM starts", library.map { "libtpms \($0)" }].compactMap { $0 }.joined(separator: ", "))
        } catch {
            return .refusal(error, remedy: "vtpmctl log; journalctl --dmesg --grep vtpm-worker")
        }
    }
}
