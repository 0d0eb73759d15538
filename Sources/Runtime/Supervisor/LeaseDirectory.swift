import Glibc
import Platform
import RuntimeControl

/// The directory in `/run/container-vtpm` that stands for a container with a vTPM; it goes when its owner goes.
struct LeaseDirectory: ~Copyable {
    /// The socket that poststop and `vtpmctl` connect to.
    let listener: Descriptor
    /// The directory itself.
    let directory: Descriptor
    private let runDirectory: Descriptor
    private let name: String

    /// Makes the directory and its control socket.
    ///
    /// One that is there already is a leftover of a supervisor that was killed: the hook has seen that its init is dead.
    init(_ name: String, in runDirectory: consuming Descriptor) throws(Failure) {
        let what = "cannot create the lease \(name)"
        guard !name.isEmpty, !name.contains("/"), !name.hasPrefix(".") else {
            throw Failure(what, because: "that is no name of a lease")
        }
        try LeaseFiles.remove(name, in: runDirectory)
        let parent = runDirectory.number
        try systemCall("mkdir", what) { mkdirat(parent, name, 0o700) }
        let listener: Descriptor
        do {
            let directory = try Descriptor.open(name, .beneath(O_RDONLY | O_DIRECTORY), at: parent)
            listener = try ControlSocket.listen(in: directory)
            self.directory = directory
        } catch {
            try? LeaseFiles.remove(name, in: runDirectory)
            throw error
        }
        self.listener = listener
        self.runDirectory = runDirectory
        self.name = name
    }

    deinit {
        do throws(Failure) {
            try LeaseFiles.remove(name, in: runDirectory)
        } catch {
            Log.error("\(error)")
        }
    }
}
