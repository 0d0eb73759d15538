import Glibc
import Platform
import RuntimeTransfer
import Testing

/// The real `vtpmctl`, in a mount namespace of its own with an empty `/var/lib` and `/run`.
@Suite struct VTPMControlTests {
    let temporary: TemporaryDirectory

    init() throws {
        temporary = try TemporaryDirectory()
    }

    /// Runs a script by the shell, in which `vtpmctl` is the program; returns its exit code and standard error.
    func run(_ script: String, mounts: String = "mount -t tmpfs tests /var/lib") throws -> (code: Int, error: String) {
        let program = VTPMUnderTest.program("vtpmctl")
        let text = """
            set -e
            mount -t tmpfs tests /run
            \(mounts)
            cd '\(temporary.path)'
            vtpmctl() { '\(program)' "$@"; }
            set +e
            { \(script)
            } 2>error
            """
        try temporary.write("script", Array(text.utf8))
        let launch = ProgramLaunch(
            "/usr/bin/unshare",
            ["unshare", "--mount", "--propagation", "private", "/bin/bash", "\(temporary.path)/script"]
        )
        let status = try launch.start().wait()
        guard case .exited(let code) = status else {
            Issue.record("\(status)")
            return (-1, "")
        }
        return (Int(code), String(decoding: try temporary.read("error"), as: UTF8.self))
    }

    /// A state of swtpm's, and what it is imported with.
    private func makeState() throws {
        let tpm = try SWTPMUnderTest("tpm", in: temporary)
        _ = try tpm.endorsementKey()
        try tpm.stop()
        try temporary.write("passphrase", Array("correct horse\n".utf8))
    }

    /// What cannot be looked at is named, and the rest is listed; what is none of ours is left alone.
    @Test(.enabled(if: geteuid() == 0, "needs root")) func whatCannotBeOpenedInQuarantineIsNamed() throws {
        let quarantine = "/var/lib/container-vtpm/quarantine"
        let result = try run(
            """
            mkdir -p -m 0700 \(quarantine)/one/web \(quarantine)/two/db && touch \(quarantine)/notes
            chmod 0 \(quarantine)/two/db
            setpriv --bounding-set -dac_override,-dac_read_search \
                '\(VTPMUnderTest.program("vtpmctl"))' state quarantine list --json >output
            """
        )
        #expect(result.error == "vtpmctl: cannot open \(quarantine)/two/db: openat2: Permission denied\n")
        let list = String(decoding: try temporary.read("output"), as: UTF8.self)
        #expect(list.contains("one") && list.contains("web") && !list.contains("two"), "\(list)")
    }

    private let importing = "vtpmctl state import web tpm/tpm2-00.permall --swtpm"

    /// Half a list is not a list.
    @Test(arguments: [
        "list", "list --json", "state list", "state list --json", "state quarantine list",
        "state quarantine list --json",
        "version", "--help", "help state", "--generate-completion-script bash",
    ])
    func outputThatCannotBeWrittenIsAnError(command: String) throws {
        let full = try run("vtpmctl \(command) >/dev/full")
        #expect(full.code == 1)
        #expect(full.error == "vtpmctl: cannot write standard output: write: No space left on device\n")
        let closed = try run("vtpmctl \(command) >&-")
        #expect(closed.code == 1)
        #expect(closed.error.hasPrefix("vtpmctl: cannot write standard output: "))
        // Whoever reads it has had enough; nobody is told.
        let left = try run("trap '' PIPE; vtpmctl \(command) | exec true; exit ${PIPESTATUS[0]}")
        #expect(left.error.isEmpty, "\(left.error)")
        let late = try run("trap '' PIPE; (sleep 0.3; vtpmctl \(command)) | exec true; exit ${PIPESTATUS[0]}")
        #expect(late.code == 1)
        #expect(late.error.isEmpty)
        #expect(try run("vtpmctl \(command) >output").code == 0)
        #expect(try !temporary.read("output").isEmpty)
    }

    @Test(arguments: ["state verify", "state show web", "key show", "state list", "state reset web --yes"])
    func outputAboutAStateThatCannotBeWrittenIsAnError(command: String) throws {
        try makeState()
        let full = try run("\(importing) && vtpmctl \(command) >/dev/full")
        #expect(full.code == 1)
        #expect(full.error == "vtpmctl: cannot write standard output: write: No space left on device\n")
    }

    @Test func aDashIsStandardOutputAndInput() throws {
        try makeState()
        let made = try run(
            """
            \(importing) &&
            vtpmctl state export web - --passphrase-file passphrase >export &&
            vtpmctl state import copy - --passphrase-file passphrase <export &&
            vtpmctl state export copy - --passphrase-file - <passphrase | cat >second &&
            vtpmctl state export copy - --swtpm >third &&
            vtpmctl key export - --passphrase-file passphrase >key && test ! -e ./-
            """
        )
        #expect(made.code == 0, "\(made.error)")
        let passphrase = try secretText("correct horse")
        let first = try StateExport.open(temporary.read("export"), with: .passphrase(passphrase), path: "")
        let second = try StateExport.open(temporary.read("second"), with: .passphrase(passphrase), path: "")
        #expect(first.stateID == "web")
        #expect(second.stateID == "copy")
        let third = try SWTPMState.decode(secretCopy(of: temporary.read("third")), key: nil, path: "")
        #expect(plain(second.permanent) == plain(third))
        let full = try run("\(importing) && vtpmctl state export web - --swtpm >/dev/full")
        #expect(full.code == 1)
        #expect(full.error.contains("cannot write standard output: write: No space left on device"))
        let twice = try run("vtpmctl state import web - --passphrase-file - </dev/null")
        #expect(twice.code == 64)
        #expect(twice.error.contains("Only one file can be standard input."))
    }

    /// Of a purge nothing is left to chance: not what it takes, and not that somebody wants it.
    @Test func aPurgeTakesAStateOrAScope() throws {
        try makeState()
        let scoped = "\(importing) && vtpmctl state rename web containerd/blue/web &&"
        let cases = [
            ("vtpmctl state purge", 64, "Name one state, or give --scope."),
            ("vtpmctl state purge web --scope containerd", 64, "Name one state, or give --scope."),
            ("vtpmctl state purge web --dry-run", 64, "--dry-run is for --scope."),
            (
                "vtpmctl state purge --scope containerd/ --yes", 1,
                "a part of it is empty (for example containerd/default)"
            ),
            ("vtpmctl state purge --scope containerd --yes", 1, "cannot find a state below containerd: there is none"),
            (
                "\(scoped) vtpmctl state purge --scope containerd </dev/null", 1,
                "cannot remove for ever all states below containerd that no container uses: nobody has confirmed it"
            ),
            ("\(scoped) vtpmctl state purge --scope containerd/b --yes", 1, "cannot find a state below containerd/b:"),
        ]
        for (command, code, reason) in cases {
            let said = try run(command)
            #expect(said.code == code, "\(command): \(said.error)")
            #expect(said.error.contains(reason), "\(command): \(said.error)")
        }
        let purge = "vtpmctl state purge --scope containerd"
        let done = try run(
            "\(scoped) \(purge) --dry-run >shown && \(purge) --yes >gone && vtpmctl state list --json >left"
        )
        #expect(done.code == 0, "\(done.error)")
        #expect(String(decoding: try temporary.read("shown"), as: UTF8.self) == "containerd/blue/web: never used\n")
        let gone = String(decoding: try temporary.read("gone"), as: UTF8.self)
        #expect(gone == "state \"containerd/blue/web\" was removed for ever: never used\n")
        #expect(!String(decoding: try temporary.read("left"), as: UTF8.self).contains("containerd"))
    }

    @Test func whatIsNoExportIsNamed() throws {
        try makeState()
        try temporary.write("crlf", Array("correct horse\r\n".utf8))
        let cases = [
            (
                "vtpmctl state import b /var/lib/container-vtpm/states/web/state --passphrase-file passphrase",
                "it is a state as it lies on its own host (vtpmctl state export, on that host)"
            ),
            (
                "vtpmctl state import b tpm/tpm2-00.permall --passphrase-file passphrase",
                "it is a state of swtpm's (add --swtpm)"
            ),
            (
                "vtpmctl key export key --passphrase-file passphrase; vtpmctl state import b key --passphrase-file passphrase",
                "cannot import key: it holds a master key, not a state (vtpmctl key import)"
            ),
            (
                "vtpmctl state export web e --passphrase-file passphrase; vtpmctl state import b e --swtpm",
                "it is an export of this program's (leave out --swtpm)"
            ),
            (
                "vtpmctl state export web x --passphrase-file crlf",
                "it ends in a carriage return, as files of Windows do"
            ),
        ]
        for (command, words) in cases {
            let said = try run("\(importing) && { \(command); }")
            #expect(said.code == 1)
            #expect(said.error.contains(words), "\(said.error)")
        }
    }

    @Test func aReadOnlyFileSystemIsTheReason() throws {
        try makeState()
        let said = try run(importing, mounts: "mount -t tmpfs -o ro tests /var/lib")
        #expect(said.code == 1)
        #expect(
            said.error.contains("cannot create /var/lib/container-vtpm: mkdir: Read-only file system (mount a writable")
        )
        let states = "mount -t tmpfs tests /var/lib; mkdir -m 700 /var/lib/container-vtpm; mount -o remount,ro /var/lib"
        let below = try run(importing, mounts: states)
        #expect(below.error.contains("cannot create /var/lib/container-vtpm/states: mkdir: Read-only file system"))
    }

    /// Wherever a packager puts the programs, what is in BINDIR finds the worker.
    @Test func aLinkToTheProgramFindsTheWorker() throws {
        try makeState()
        let link =
            "ln -s '\(VTPMUnderTest.program("vtpmctl"))' linked && ./linked state import web tpm/tpm2-00.permall --swtpm"
        let said = try run(link)
        #expect(said.code == 0, "\(said.error)")
    }

    /// A worker's filter is made in a file that nobody could execute.
    @Test(.enabled(if: access("/proc/sys/vm/memfd_noexec", F_OK) == 0, "needs Linux 6.3"))
    func aHostWithoutExecutableFilesInMemoryStartsATPM() throws {
        try makeState()
        let program = VTPMUnderTest.program("vtpmctl")
        let result = try run(
            """
            unshare --pid --fork --mount-proc /bin/sh -euc '
                echo 2 >/proc/sys/vm/memfd_noexec
                exec "$0" state import web tpm/tpm2-00.permall --swtpm' '\(program)'
            """
        )
        #expect(result.code == 0 && result.error == "", "\(result)")
    }

    /// A wait that nothing counts: for the lock of the keys.
    ///
    /// At a terminal it is seen after a second, and is gone in the end.
    @Test func whatTakesLongSaysSoOnStandardErrorAlone() throws {
        let program = VTPMUnderTest.program("vtpmctl")
        let result = try run(
            """
            mkdir -p -m 0700 /run/container-vtpm
            exec 9</run/container-vtpm
            flock 9
            script --quiet --command "'\(program)' key show >standard 9<&-" /dev/null >terminal 9<&- &
            for ((i = 0; i < 600; i++)); do
                grep --quiet ' s' terminal && break
                sleep 0.1
            done
            exec 9<&-
            wait
            """
        )
        #expect(result.error == "")
        let terminal = String(decoding: try temporary.read("terminal"), as: UTF8.self)
        #expect(terminal.contains("vtpmctl: reading the master keys, "), "\(terminal)")
        #expect(terminal.contains(" s\u{1b}[K\r"))
        // The error that follows has its line alone.
        #expect(terminal.contains("\u{1b}[Kvtpmctl: cannot load the master key"), "\(terminal)")
        #expect(try temporary.read("standard") == [])
    }

    /// A host without anything, and one with a state.
    @Test func metricsArePrintedOrWritten() throws {
        let result = try run(
            """
            vtpmctl metrics >printed || exit
            vtpmctl metrics --output written --cursor '\(temporary.path)/totals' || exit
            mkdir -p -m 0700 /var/lib/container-vtpm/states/web /var/lib/container-vtpm/keys
            touch -d @1800000000 /var/lib/container-vtpm/keys/master.key
            vtpmctl metrics >other
            """
        )
        #expect(result.code == 0 && result.error == "", "\(result)")
        let printed = String(decoding: try temporary.read("printed"), as: UTF8.self)
        #expect(printed.hasSuffix("\n# EOF\n") && printed.contains("container_vtpm_states 0\n"))
        #expect(try temporary.read("written") == Array(printed.utf8))
        let other = String(decoding: try temporary.read("other"), as: UTF8.self)
        #expect(other.contains("container_vtpm_states 1\n"))
        #expect(other.contains("container_vtpm_master_key_timestamp_seconds 1800000000\n"))
    }
}
