import Configuration
import Platform

/// The evidence that the CRI engine of the configuration has made a container: the place of its bundle.
///
/// Any engine can give a container the annotations with which a CRI engine names pods. But only the CRI engine makes
/// bundles below its own root, which belongs to it: whoever can write there, or use its socket, is that engine.
struct CRIBundle: Equatable, Sendable {
    /// The bundle's path.
    let path: String

    /// Checks that a container is the CRI engine's, if the configuration names states by pod.
    ///
    /// The bundle must be `<root>/<container's ID>`, in CRI-O `<root>/<container's ID>/userdata`, byte by byte. It must
    /// be reached without a link, and only root may be able to change the way to it.
    ///
    /// - Parameters:
    ///   - containerID: The container's ID.
    ///   - bundle: The bundle's path, as the runtime gave it.
    ///   - cgroupsPath: `linux.cgroupsPath` of its `config.json`.
    ///   - allowed: The operator's configuration.
    ///   - requireDirectory: Throws unless a path leads to a directory that only root could have put there.
    /// - Returns: The evidence; nil if the configuration does not name states by pod.
    /// - Throws: ``Failure`` if the container is not the CRI engine's, or may not be.
    static func check(
        of containerID: String,
        at bundle: String,
        cgroupsPath: String?,
        _ allowed: Configuration.State,
        requireDirectory: (_ path: String, _ what: String) throws(Failure) -> Void = {
            (path, what) throws(Failure) in try requireRootsDirectory(path, what)
        }
    ) throws(Failure) -> CRIBundle? {
        guard allowed.source == .pod else { return nil }
        let what = "cannot tell whose state \"\(containerID.excerpt)\" is"
        guard let root = allowed.bundleRoot else {
            throw Failure(what, because: "the scope \"\(allowed.scope.rawValue)\" has no pods")
        }
        let hint = "with state.id = \"pod\" only containers of that engine get a TPM, and state.bundles is its root"
        // A name of its own in the root: an ID with a slash, or `..`, would lead elsewhere.
        let isName = !["", ".", ".."].contains(containerID) && !containerID.utf8.contains(UInt8(ascii: "/"))
        let expected = "\(root)/\(containerID)\(allowed.scope == .crio ? "/userdata" : "")"
        guard isName, bundle.utf8.elementsEqual(expected.utf8) else {
            throw Failure(
                what,
                because: "its bundle \(bundle.excerpt) is not where \(allowed.scope.rawValue) keeps that of a pod's "
                    + "container, \(expected.excerpt)",
                hint: hint
            )
        }
        guard allowed.scope != .crio || isCRIO(cgroupsPath ?? "", containerID) else {
            throw Failure(
                what,
                because: "its cgroupsPath \"\((cgroupsPath ?? "").excerpt)\" is not one of CRI-O's",
                hint: hint
            )
        }
        try requireDirectory(bundle, what)
        return CRIBundle(path: bundle)
    }

    /// Returns whether a cgroup has the name that CRI-O gives a container's.
    ///
    /// podman can share CRI-O's storage, and then makes its bundles in the same place. It calls each cgroup
    /// `libpod-<ID>`, whatever its parent is. CRI-O, internal/config/cgmgr; podman, libpod/container_internal_linux.go
    private static func isCRIO(_ cgroupsPath: String, _ containerID: String) -> Bool {
        [":crio:\(containerID)", "/crio-\(containerID)"].contains { suffix in
            cgroupsPath.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
        }
    }
}
