import CLinux
import Glibc
import Platform
import RuntimeControl

/// What prepares a container's TPM, seen from the process that becomes the runtime.
struct Preparer {
    private let creation: Invocation.Creation
    private let bundle: String

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
        let arguments = ["prepare", verb.rawValue, creation.id, bundle]
        try PreparingProcess(arguments, of: "vtpm-runtime")
            .awaitAnswer("cannot prepare a TPM for container \"\(creation.id)\"")
    }
}
