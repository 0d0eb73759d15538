import Glibc
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys

/// Our own programs.
enum ProgramChecks {
    private static let names = [
        "vtpm-hook", "vtpm-run", "vtpm-runtime", "vtpm-supervisor", "vtpm-systemd", "vtpm-worker", "vtpmctl",
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
                return .problem("\(error.what): \(error.why)", remedy: error.hint ?? "chown root: \(folder)/\(name)")
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
