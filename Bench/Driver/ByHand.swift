import CLinux
import Glibc
import Platform

/// A hook that does what a person without this project does.
///
/// It starts `swtpm chardev --vtpm-proxy`, or the floor, waits for its device, and makes the nodes. The container's
/// configuration allows the devices beforehand. It leaves the server's process ID in FOLDER/ID.pid, for whoever stops it.
struct ByHand {
    let folder: String
    let server: [String]

    /// Runs as a `createRuntime` hook.
    func run() throws(Failure) {
        let state = String(
            decoding: try Descriptor(owning: STDIN_FILENO).readAll(limit: 1 << 20, "state"),
            as: UTF8.self
        )
        guard let id = value("id", in: state), let bundle = value("bundle", in: state),
            let pid = value("pid", in: state).flatMap({ pid_t($0) })
        else { throw Failure("cannot read the container's state", because: "it is \(state)") }
        let number = try start(id)
        let nodes = try [("tpm", "tpm0"), ("tpmrm", "tpmrm0")].map { (kind, name) throws(Failure) in
            (name, try wait(for: "/sys/class/\(kind)/\(kind)\(number)/dev"))
        }
        let initProcess = try ProcessHandle(pid)
        let descriptor = initProcess.descriptor.number
        try systemCall("setns", "cannot enter the container") { setns(descriptor, clinux_clone_newns) }
        for (name, device) in nodes {
            let path = "\(bundle)/rootfs/dev/\(name)"
            try systemCall("mknod", "cannot make \(path)") { mknod(path, S_IFCHR | 0o666, device) }
        }
    }

    /// The text or number of a member, as far as a runtime's own JSON goes.
    private func value(_ name: String, in json: String) -> String? {
        guard let key = json.range(of: "\"\(name)\":") else { return nil }
        let rest = json[key.upperBound...].drop { $0 == " " || $0 == "\"" }
        return String(rest.prefix { $0 != "\"" && $0 != "," && $0 != "}" && $0 != "\n" })
    }

    private func start(_ id: String) throws(Failure) -> UInt32 {
        let directory = "\(folder)/\(id)"
        if mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw Failure("cannot create \(directory)", call: "mkdir", code: errno)
        }
        var ends: [CInt] = [-1, -1]
        try systemCall("pipe2", "cannot make a pipe") { pipe2(&ends, O_CLOEXEC) }
        let output = Descriptor(owning: ends[0])
        let arguments = server.map { $0 == "STATE" ? "dir=\(directory)" : $0 }
        var launch = ProgramLaunch(arguments[0], arguments)
        launch.standardOutput = ends[1]
        launch.ownSession = true
        let process = try launch.start()
        close(ends[1])
        let record = try Descriptor.open(
            "\(folder)/\(id).pid",
            OpenOptions(O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
        )
        try record.writeAll(Array("\(process.process)\n".utf8), "the record")

        var line: [UInt8] = []
        var byte: UInt8 = 0
        while try systemCall("read", "cannot hear the server", { read(output.number, &byte, 1) }) == 1, byte != 10 {
            line.append(byte)
        }
        let text = String(decoding: line, as: UTF8.self)
        guard let name = text.range(of: "/dev/tpm"),
            let number = UInt32(text[name.upperBound...].prefix { $0.isNumber })
        else { throw Failure("cannot start \(arguments[0])", because: "it says \"\(text)\"") }
        return number
    }

    private func wait(for path: String) throws(Failure) -> dev_t {
        let deadline = Deadline(milliseconds: 60_000)
        var waited: UInt32 = 0
        while true {
            do {
                let text = String(decoding: try Descriptor.open(path, .read).readAll(limit: 100, path), as: UTF8.self)
                let parts = text.split { $0 == ":" || $0 == "\n" }.compactMap { UInt32($0) }
                if parts.count == 2 { return clinux_makedev(parts[0], parts[1]) }
            } catch let error where error.code == ENOENT {
                guard !deadline.hasPassed else { throw error }
            }
            // As our hook does.
            let pause = min(max(waited / 8, 1), 50)
            usleep(pause * 1000)
            waited += pause
        }
    }
}

extension String {
    fileprivate func range(of part: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(part) { return start..<index(start, offsetBy: part.count) }
            start = index(after: start)
        }
        return nil
    }
}
