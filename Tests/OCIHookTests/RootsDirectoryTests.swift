import Glibc
import Platform
import Testing

/// What counts as a directory that only root could have put in its place.
@Suite struct RootsDirectoryTests {
    let folder: ScratchFolder

    init() throws {
        folder = try ScratchFolder()
        try folder.write("run/k8s.io/ab/config.json", "{}")
    }

    /// Why the path is refused below the folder; nil if it is not.
    func refusal(_ path: String) -> String? {
        do {
            try requireRootsDirectory(path, below: folder.path, "cannot test")
            return nil
        } catch {
            return error.description
        }
    }

    @Test func aDirectoryOfTheCallersIsAccepted() {
        #expect(refusal("/run/k8s.io/ab") == nil)
        #expect(refusal("/run") == nil)
    }

    @Test(arguments: ["/run", "/run/k8s.io", "/run/k8s.io/ab"])
    func aLinkOnTheWayIsRefused(place: String) throws {
        try #require(rename("\(folder.path)\(place)", "\(folder.path)/moved") == 0)
        try #require(symlink("\(folder.path)/moved", "\(folder.path)\(place)") == 0)
        #expect(refusal("/run/k8s.io/ab") == "cannot test: \(folder.path)\(place) is a symbolic link")
    }

    @Test(arguments: ["", "/run", "/run/k8s.io", "/run/k8s.io/ab"], [0o720, 0o702, 0o1777] as [mode_t])
    func whatOthersCanWriteIsRefused(place: String, mode: mode_t) throws {
        try #require(chmod("\(folder.path)\(place)", mode) == 0)
        let digits = String(mode, radix: 8)
        let line = "cannot test: another user could change it: the mode of \(folder.path)\(place) is 0\(digits)"
        #expect(refusal("/run/k8s.io/ab") == "\(line) (chmod go-w \(folder.path)\(place))")
    }

    @Test(.enabled(if: geteuid() == 0, "needs root"), arguments: ["/run", "/run/k8s.io", "/run/k8s.io/ab"])
    func whatIsAnothersIsRefused(place: String) throws {
        try #require(chown("\(folder.path)\(place)", 4711, 0) == 0)
        #expect(refusal("/run/k8s.io/ab")?.contains("\(folder.path)\(place) belongs to user 4711") ?? false)
    }

    @Test func whatIsNoDirectoryIsRefused() {
        #expect(refusal("/run/k8s.io/ab/config.json")?.hasSuffix("config.json is no directory") ?? false)
        #expect(
            refusal("/run/k8s.io/ac") == "cannot open \(folder.path)/run/k8s.io/ac: open: No such file or directory"
        )
    }

    @Test(arguments: ["", "run", "/run/", "//run", "/run/../run", "/run/.", "/", "/run\0"])
    func whatIsNoPlainPathIsRefused(path: String) {
        #expect(refusal(path)?.hasSuffix("is not a plain absolute path") ?? false, "\(path)")
    }
}
