import Glibc
import Platform
import Testing

// `vtpmctl state backup`, by the real program.
extension VTPMControlTests {
    private func backUp(_ script: String, importing: Bool = true) throws -> (code: Int, error: String) {
        if importing {
            let tpm = try SWTPMUnderTest("tpm", in: temporary)
            _ = try tpm.endorsementKey()
            try tpm.stop()
        }
        let first = importing ? "vtpmctl state import web tpm/tpm2-00.permall --swtpm && " : ""
        return try run(first + script, mounts: "mount -t tmpfs -o mode=0755 tests /var/lib")
    }

    private func text(_ name: String) throws -> String { String(decoding: try temporary.read(name), as: UTF8.self) }

    @Test func aBackupIsRestoredByACopy() throws {
        let result = try backUp(
            """
            vtpmctl state backup /var/lib/backup >said &&
            rm -r /var/lib/container-vtpm/states /var/lib/container-vtpm/index &&
            cp -a /var/lib/backup/. /var/lib/container-vtpm/ && vtpmctl state verify >verified &&
            find /var/lib/backup -name '*master*' >keys
            """
        )
        #expect(result.code == 0 && result.error == "", "\(result)")
        #expect(try text("said") == "1 states are in /var/lib/backup, without the master key\n")
        #expect(try text("verified") == "good: web\n")
        #expect(try text("keys") == "")
    }

    @Test(arguments: [
        ("vtpmctl state backup backup", "it is no absolute path of a new directory"),
        ("vtpmctl state backup /var/lib/", "it is no absolute path of a new directory"),
        ("vtpmctl state backup /var/lib/..", "it is no absolute path of a new directory"),
        ("vtpmctl state backup /var/lib/../lib/b", "/var/lib/../lib is not a plain absolute path"),
        ("ln -s /var/lib /var/lib/link; vtpmctl state backup /var/lib/link/b", "/var/lib/link is a symbolic link"),
        (
            "mkdir -m 1777 /var/lib/open; vtpmctl state backup /var/lib/open/b",
            "another user could change it: the mode of /var/lib/open is 01777 "
                + "(choose a place that only root can change, such as /var/backups)"
        ),
        (
            "mkdir -m 755 /var/lib/theirs; chown 1000 /var/lib/theirs; vtpmctl state backup /var/lib/theirs/b",
            "another user could change it: /var/lib/theirs belongs to user 1000"
        ),
        (
            "mkdir /var/lib/b; vtpmctl state backup /var/lib/b",
            "cannot create /var/lib/b: there is something of that name"
        ),
        (
            "mkdir /var/lib/full; mount -t tmpfs -o size=64k,mode=0755 tests /var/lib/full; "
                + "vtpmctl state backup /var/lib/full/b || { ls -A /var/lib/full >left; false; }",
            "No space left on device"
        ),
        (
            "mkdir /var/lib/fixed; mount -t tmpfs -o ro,mode=0755 tests /var/lib/fixed; vtpmctl state backup /var/lib/fixed/b",
            "cannot create /var/lib/fixed/b: mkdirat: Read-only file system"
        ),
    ])
    func aPlaceThatWillNotDoIsRefused(command: String, reason: String) throws {
        let result = try backUp("{ \(command); }")
        #expect(result.code == 1)
        #expect(result.error.contains(reason), "\(result.error)")
        if temporary.exists("left") { #expect(try text("left") == "") }
    }

    @Test func whatCannotBeBackedUpIsAnError() throws {
        let damaged = try backUp(
            """
            printf x >>/var/lib/container-vtpm/states/web/state
            vtpmctl state backup /var/lib/backup >said || { ls -A /var/lib/backup >left; false; }
            """
        )
        #expect(damaged.code == 1)
        #expect(damaged.error.hasPrefix("vtpmctl: cannot load the state /var/lib/container-vtpm/states/web/state: its"))
        #expect(damaged.error.contains("1 states cannot be used, see above; all others are there"))
        #expect(try text("left") == "index\nstates\n")
        let new = try backUp("vtpmctl state backup /var/lib/backup", importing: false)
        #expect(new.code == 1)
        #expect(new.error.contains("this host has had no state yet"))
    }
}
