import Glibc
import Platform

/// A container's root filesystem, before the runtime changes to it.
///
/// All calls are made in the container's mount namespace.
struct ContainerRoot: ~Copyable {
    private let path: String
    private let directory: Descriptor

    /// Opens it by the path that the engine gave.
    init(_ path: String) throws(Failure) {
        let directory = try Descriptor.open(
            path,
            .withoutMagicLinks(openPathOnly | O_DIRECTORY),
            as: "the container's root filesystem \(path)"
        )
        self.path = path
        self.directory = directory
    }

    /// Opens it by its path again, wherever that leads by now.
    func openAgain() throws(Failure) -> ContainerRoot { try ContainerRoot(path) }

    /// Opens something in it, without following any link.
    func open(_ path: String, _ flags: CInt) throws(Failure) -> Descriptor {
        try .open(path, .beneath(flags), at: directory.number, as: "the container's /\(path)")
    }

    /// Opens something in it as the container would find it: links lead where they would lead there.
    func openAsContainer(_ path: String, _ flags: CInt) throws(Failure) -> Descriptor {
        try .open(path, .inRoot(flags), at: directory.number, as: "the container's /\(path)")
    }
}
