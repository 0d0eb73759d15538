import CLinux
import Glibc
import Platform
import Testing

@testable import RuntimeAdministration
@testable import RuntimeState

/// Where a backup may be made, and what is left of one that could not be.
extension StateBackupTests {
    @Test func whatIsThereStays() throws {
        try target.write("file", [1])
        symlink("elsewhere", "\(target.path)/link")
        mkdir("\(target.path)/empty", 0o755)
        for name in ["file", "link", "empty"] {
            let failure = #expect(throws: Failure.self) { try backUp(name) }
            #expect(failure?.description == "cannot create \(target.path)/\(name): there is something of that name")
        }
        #expect(try files(below: target.path) == ["755 empty/", "600 file", "777 link"])
    }

    /// Nothing is left of what could not be written, and no directory has the name before it is complete.
    @Test func everyCallOfTheDiskFails() throws {
        var call = 0
        while true {
            let disk = FailingDisk(LocalDisk(), .fails(call: call, code: ENOSPC, written: 3))
            let index = try HostIndex(in: host.temporary.directory("index"), path: "index", keys: keys, disk: disk)
            let states = try host.temporary.directory("states")
            let repository = StateRepository(in: states, path: "states", keys: keys, index: index, disk: disk)
            var failure: Failure?
            do throws(Failure) {
                let parent = try Descriptor.open(target.path, .directory)
                _ = try StateBackup(of: repository).write(to: "backup", in: parent, path: "backup")
            } catch {
                failure = error
            }
            guard disk.firstFailure != nil else { break }
            #expect(failure?.code == ENOSPC, "call \(call)")
            // Only the last one, the sync of the name, leaves the whole backup.
            if target.exists("backup") {
                #expect(try problems(of: restored()) == [])
                _ = try ProgramLaunch("/bin/rm", ["rm", "-r", "\(target.path)/backup"]).start().wait()
                #expect(disk.calls == call + 1)
            }
            #expect(try files(below: target.path) == [], "call \(call)")
            call += 1
        }
        #expect(call > 20)
        #expect(try problems(of: restored()) == [])
        #expect(try problems(of: host) == [])
    }
}
