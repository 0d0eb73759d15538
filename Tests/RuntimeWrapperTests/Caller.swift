import Glibc
import Platform
import Testing

/// How the tests start a program that becomes another: from a process in which nothing is as usual.
struct Caller {
    let folder: WrapperFolder

    /// A script that writes down in `$OUT` what it got, and ends with 42.
    ///
    /// It redirects nothing of its own, as it is what is looked at. Other shells than bash unblock all signals. Even bash blocks
    /// some while it forks, so it reads its own status itself.
    static let script = """
        #!/bin/bash
        mkdir -p "$OUT"
        mapfile -t lines <"/proc/$$/status"
        printf '%s\n' "${lines[@]}" >"$OUT/status"
        for file in cmdline environ limits oom_score_adj cgroup; do cat "/proc/$$/$file" >"$OUT/$file"; done
        readlink "/proc/$$/cwd" >"$OUT/cwd"
        for number in 0 1 2 3 4 5 6 7 8 9; do
            readlink "/proc/$$/fd/$number" >>"$OUT/descriptors" || echo none >>"$OUT/descriptors"
        done
        [ ! -e "/proc/$$/task/$$/children" ] || cat "/proc/$$/task/$$/children" >"$OUT/children"
        orphan=$(sh -c 'sleep 3 >/dev/null 2>&1 & echo $!')
        { echo $$; sed -n 's/^PPid:.//p' "/proc/$orphan/status"; kill "$orphan"; } >"$OUT/adopter"
        exit 42
        """

    /// What is not usual of a process, and is passed on by execve(2).
    private static let setUp = """
        cd "$1" && shift && umask 0027 && ulimit -S -n 77 && ulimit -c 0 && exec <in >out 2>err \
            3<3 4<4 5>>5 6<6 7<7 9<9 && exec env -i --block-signal=USR2 --ignore-signal=HUP "$@"
        """

    var environment: [String] {
        [
            "PATH=/usr/bin:/bin", "OUT=\(folder.path)/got", "NOTIFY_SOCKET=/run/notify", "EMPTY=",
            "ODD=a b\nc=d\u{1b}",
            "LISTEN_FDS=3", "LISTEN_PID=1", "_OCI_STARTPIPE=4",
        ]
    }

    /// Makes the files that become the descriptors.
    func prepare() throws {
        for name in ["in", "3", "4", "5", "6", "7", "8", "9"] { try folder.write(name, "") }
    }

    @discardableResult
    func start(_ arguments: [String], program: String) throws -> WaitStatus {
        let words = ["sh", "-c", Self.setUp, "sh", folder.path] + environment
        return try ProgramLaunch("/bin/sh", words + ["\(folder.path)/\(program)"] + arguments).start()
            .wait(until: Deadline(milliseconds: 60_000))
    }

    /// The lines of /proc/PID/status that execve(2) keeps, and that do not count what happens.
    func attributes(_ out: String) throws -> [String] {
        let names = [
            "Umask", "Uid", "Gid", "Groups", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd",
            "CapAmb",
            "NoNewPrivs", "Seccomp", "Cpus_allowed", "NSpid",
        ]
        return try folder.read("\(out)/status").split(separator: "\n").map(String.init).filter { line in
            names.contains { line.hasPrefix("\($0):") && $0 != "NSpid" }
        }
    }

    /// What a program gets of the one that becomes it is what it would get of the caller.
    func expectTheSame(direct: (arguments: [String], program: String), _ arguments: [String], of program: String) throws
    {
        #expect(try start(direct.arguments, program: direct.program) == .exited(42))
        #expect(rename("\(folder.path)/got", "\(folder.path)/direct") == 0)
        let status = try start(arguments, program: program)
        let errors = try folder.read("err")
        #expect(status == .exited(42), "\(errors)")
        for file in ["environ", "limits", "cwd", "descriptors", "cmdline", "oom_score_adj", "cgroup"] {
            #expect(try folder.read("got/\(file)") == folder.read("direct/\(file)"), "\(file)")
        }
        let (got, direct) = (try attributes("got"), try attributes("direct"))
        #expect(got == direct, "\(Set(got).symmetricDifference(direct).sorted())")
        #expect(try folder.read("out") == "")
        #expect(try folder.read("err") == "")
    }
}
