import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl

/// What a program takes for the kernel's word, with something else in the place of `/proc`.
enum Falsehoods {
    /// Puts a tmpfs over `/proc`, in a mount namespace of this process's own, with what is looked for, as it is.
    private static func deceive() throws(Failure) {
        var truths: [(path: String, content: [UInt8])] = []
        for path in ["stat", "status", "mountinfo", "oom_score_adj"] {
            truths.append((path, try Procfs().read("self/\(path)")))
        }
        let program = try Procfs().link("self/exe")
        let what = "cannot deceive this process"
        try systemCall("unshare", what) { unshare(clinux_clone_newns) }
        try systemCall("mount", what) { mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) }
        try systemCall("mount", what) { mount("false", "/proc", "tmpfs", 0, nil) }
        for directory in ["self", "self/fd", "self/ns"] {
            try systemCall("mkdir", what) { mkdir("/proc/\(directory)", 0o755) }
        }
        for namespace in ["mnt", "net", "ipc", "uts", "pid"] { truths.append(("ns/\(namespace)", [])) }
        for (path, content) in truths {
            let options = OpenOptions(O_CREAT | O_WRONLY, mode: 0o600)
            try Descriptor.open("/proc/self/\(path)", options).writeAll(content, path)
        }
        try systemCall("symlink", what) { symlink(program, "/proc/self/exe") }
        try systemCall("symlink", what) { symlink("self", "/proc/\(getpid())") }
    }

    /// Returns 0 where it was believed, 2 where `/proc` was refused, 3 where something else failed.
    static func believes(_ what: String) -> CInt {
        do throws(Failure) {
            try deceive()
            switch what {
            case "believes what a process is": _ = try ProcessID(of: getpid())
            case "believes that its score is set": try Hardening.setOutOfMemoryScore(0)
            case "believes that a worker is locked": _ = try WorkerInspection.hasLockedMemory(getpid())
            case "believes that a worker is confined":
                guard let user = WorkerUser(WorkerUser.first + 1) else { return 3 }
                try WorkerInspection.require(getpid(), confinedAs: user)
            case "believes where it is": _ = try HostPaths.current()
            case "believes that a worker has its namespace":
                _ = try WorkerNamespace.start(ProgramLaunch("/bin/true", ["true"])).wait()
            case "believes where its lease is":
                _ = try ControlSocket.connect(in: Descriptor.open("/", .directory))
            default: return 127
            }
            return 0
        } catch {
            return "\(error)" == "cannot use /proc: it is no process file system" ? 2 : 3
        }
    }
}
