import Glibc
import Platform
import RuntimeControl
import Testing

@testable import Doctor
@testable import OCIHook

/// A host made of text files, on which everything is as it should be: Debian 13 with podman and no container.
final class FixtureHost {
    let folder: String
    var host: Host
    /// What programs print, by their paths and arguments.
    var printed: [String: String] = [:]

    init() throws {
        var template = Array("/tmp/container-vtpm-doctor.XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        self.folder = folder
        let programs = "\(folder)/usr/libexec/container-vtpm"
        var paths = HostPaths(below: "\(folder)/var/lib/container-vtpm", programs: programs)
        paths.leases = "\(folder)/run/container-vtpm"
        host = Host(paths) { (_, _) throws(Failure) in "" }
        host.root = folder
        host.owner = geteuid()
        host.fileSystem = { (path) throws(Failure) in
            let isRun = path.hasPrefix("\(folder)/run")
            return FileSystem(type: isRun ? 0x0102_1994 : 0xef53, isReadOnly: false, free: 1 << 34, freeFiles: 100_000)
        }
        host.device = { (path) throws(Failure) in path.hasSuffix("/vtpmx") ? DeviceNumber("10:123") : nil }
        host.selinux = { () throws(Failure) in nil }
        host.systemdVersion = { () throws(Failure) in "257.9-1~deb13u1" }
        host.clock = { (1_800_000_000, true) }
        try makeKernel()
        try makeSystem()
        host.output = { [unowned self] (program, arguments) throws(Failure) in
            let command = ([program] + arguments).joined(separator: " ")
            if let text = printed[command] { return text }
            throw Failure("cannot run \(command)", because: "it is not there")
        }
    }

    deinit {
        _ = try? ProgramLaunch("/bin/rm", ["rm", "-rf", folder]).start().wait()
    }

    /// Writes a file, and makes the directories above it.
    func write(_ path: String, _ text: String, mode: mode_t = 0o644) throws {
        try makeDirectory(String(path[..<(try #require(path.lastIndex(of: "/")))]))
        let name = folder + path
        let options = OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: mode)
        try Descriptor.open(name, options).writeAll(Array(text.utf8), name)
        try #require(chmod(name, mode) == 0)
    }

    func makeDirectory(_ path: String) throws {
        var partial = folder
        for component in path.split(separator: "/") {
            partial += "/\(component)"
            try #require(mkdir(partial, 0o755) == 0 || errno == EEXIST)
        }
    }

    func remove(_ path: String) throws {
        try #require(try ProgramLaunch("/bin/rm", ["rm", "-rf", folder + path]).start().wait() == .exited(0))
    }

    /// Runs the check of this name.
    func report(_ id: String) throws -> Report {
        try #require(Check.all.first { $0.id == id }).run(on: host)
    }

    private func makeKernel() throws {
        try write("/proc/sys/kernel/osrelease", "6.12.48+deb13-amd64\n")
        for namespace in ["mnt", "pid", "net", "ipc", "uts"] { try write("/proc/self/ns/\(namespace)", "") }
        try write("/proc/sys/kernel/seccomp/actions_avail", "kill_process kill_thread errno\n")
        try write("/proc/sys/net/core/bpf_jit_harden", "0\n")
        try write("/proc/self/uid_map", "         0          0 4294967295\n")
        try write("/proc/self/status", "Name:\tvtpmctl\nCapBnd:\t000001ffffffffff\n")
        try write("/proc/self/limits", "Max locked memory   8388608   8388608   bytes\n")
        try write("/proc/devices", "Character devices:\n 10 misc\n253 tpm\n\nBlock devices:\n  8 sd\n")
        try write("/proc/self/cgroup", "0::/user.slice/user-0.slice/session-1.scope\n")
        try write(
            "/proc/self/mountinfo",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        try write("/dev/vtpmx", "", mode: 0o600)
        try write("/sys/class/misc/vtpmx/dev", "10:123\n")
        try write("/sys/class/tpm/tpm0/device/name", "")
        try write("/sys/class/tpm/tpm0/tpm_version_major", "2\n")
        try write("/sys/class/misc/hw_random/rng_current", "virtio_rng.0\n")
        try write("/sys/class/misc/hw_random/rng_available", "virtio_rng.0 tpm-rng-0 \n")
        try write("/usr/lib/modules-load.d/container-vtpm.conf", "# The proxy.\ntpm_vtpm_proxy\n")
        try write("/sys/kernel/security/lsm", "lockdown,capability,landlock,yama,apparmor,bpf")
        try write("/sys/module/apparmor/parameters/enabled", "Y\n")
    }

    private func makeSystem() throws {
        try makeDirectory("/run/systemd/system")
        try write("/dev/log", "")
        var profiles = "other (enforce)\n"
        let profiled = ["vtpm-ca", "vtpm-hook", "vtpm-supervisor", "vtpm-systemd", "vtpm-worker", "vtpmctl"]
        for program in profiled + ["vtpm-run", "vtpm-runtime"] {
            try write("/usr/libexec/container-vtpm/\(program)", "#!/bin/true\n", mode: 0o755)
        }
        for program in profiled {
            try write("/etc/apparmor.d/\(program)", "")
            profiles += "\(program) (enforce)\n"
        }
        try write("/sys/kernel/security/apparmor/profiles", profiles)
        try write("/etc/apparmor.d/tunables/container-vtpm", "@{vtpm_programs} = /usr/libexec/container-vtpm\n")
    }
}
