import Configuration
import Platform

extension Annotations {
    /// The annotations with which a CRI engine marks the container that only keeps a pod's namespaces.
    ///
    /// containerd and CRI-O set their own after those of the pod. The other's may be the pod's author's.
    private static let kinds = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]

    /// Whether the container is a pod's sandbox, also called its pause or infrastructure container.
    private var isSandbox: Bool {
        let given = Self.kinds.compactMap { self[$0] }
        return !given.isEmpty && given.allSatisfy { $0 == "sandbox" }
    }

    /// Whether the container gets a TPM if nothing is said about it in any of the annotations.
    var areSilent: Bool { self[.enable] == nil && !isSandbox }

    /// Returns whether the container gets a TPM.
    ///
    /// A sandbox runs nothing of the pod's and gets none, although it has the annotations of the pod.
    ///
    /// - Throws: ``Failure`` if the configuration does not admit what the container asks for, or if the container asks
    ///   for more than it would get.
    func selectTPM(_ allowed: Configuration.Container) throws(Failure) -> Bool {
        let enable = self[.enable]
        guard enable == nil || enable == "true" || enable == "false" else {
            throw refusal(of: .enable, "\"\((enable ?? "").excerpt)\" is neither \"true\" nor \"false\"")
        }
        guard !isSandbox else { return false }
        switch allowed.selection {
        case .all:
            guard enable == "false" else { return true }
            guard allowed.allowsOptOut else {
                throw refusal(
                    of: .enable,
                    "the configuration does not let a container do without a TPM",
                    "container.opt-out = true"
                )
            }
            return false
        case .annotated:
            guard enable == nil else { return enable == "true" }
            guard let other = [Key.state, .stateID].first(where: { self[$0] != nil }) else { return false }
            throw refusal(
                of: other,
                "the container does not ask for a TPM",
                "it needs the annotation \(Key.enable.rawValue) = \"true\""
            )
        }
    }

    private func refusal(of key: Key, _ why: String, _ hint: String? = nil) -> Failure {
        Failure("cannot obey the annotation \(key.rawValue)", because: why, hint: hint)
    }
}
