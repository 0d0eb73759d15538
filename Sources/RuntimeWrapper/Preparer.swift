import CLinux
import Glibc
import Platform
import RuntimeControl

/// The process that prepares a container's TPM, seen from the one that becomes the runtime.
///
/// It is no child of this process: runtimes wait for all of their children.
struct Preparer {
    private let creation: Invocation.Creation
    private let bundle: String

    /// The timeout for the answer, in milliseconds; each of its steps has a shorter one of its own.
    private static let timeout = 240_000

    /// Creates the preparation of a container, whose bundle is the working directory unless it is named.
    init(_ creation: Invocation.Creation) throws(Failure) {
        self.creation = creation
        let given = creation.bundle ?? "."
        guard let path = realpath(given, nil) else {
            throw Failure("cannot find the bundle \(given.excerpt)", call: "realpath", code: errno)
        }
        defer { free(path) }
        bundle = String(cString: path)
    }

    /// Prepares the TPM, unless the container gets none; when it returns, the runtime can be executed.
    ///
    /// If the process was killed, another one puts the bundle's `config.json` back.
    func run() throws(Failure) {
        do {
            try answer(to: creation.verb)
        } catch let error where error.code == EPIPE {
            try? answer(to: .undo)
            throw error
        }
    }

    private func answer(to verb: PreparationVerb) throws(Failure) {
        let program = try HostPaths.current().program("vtpm-hook")
        let what = "cannot prepare a TPM for container \"\(creation.id)\""
        let channel = try start(["vtpm-hook", "prepare", verb.rawValue, creation.id, bundle], program)
        let deadline = Deadline(milliseconds: Self.timeout)
        guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
            throw Failure(what, because: "nothing answers within \(Self.timeout / 1000) s")
        }
        guard let message = try channel.receive(into: Channel.makeBuffer()) else {
            throw Failure(what, because: "the preparing process ended", code: EPIPE, hint: "see the system log")
        }
        switch PreparationReply(message) {
        case .prepared, .nothing: return
        case .failure(let failure): throw failure
        case .none: throw Failure(what, because: "the preparing process's answer makes no sense")
        }
    }

    /// Starts the process; the end of its channel is closed here, so that its end is noticed.
    private func start(_ arguments: [String], _ program: String) throws(Failure) -> Channel {
        let pair = try Channel.pair(near: "vtpm-runtime", far: "preparing process")
        var launch = ProgramLaunch(program, arguments)
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        try launch.startDetached()
        return pair.near
    }
}
