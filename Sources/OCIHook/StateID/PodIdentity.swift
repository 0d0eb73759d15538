import Configuration
import Platform

extension StateIdentity {
    /// Makes the state ID of a pod's container.
    ///
    /// It has one part more than any other form, so no name and no container's ID comes to it. A container keeps its
    /// state when it starts again, and when its pod is made anew under the same name.
    ///
    /// - Parameters:
    ///   - containerID: The container's ID, for errors.
    ///   - annotations: The container's annotations.
    ///   - scope: The CRI engine.
    ///   - bundle: The evidence that this engine made the container, without which the names say nothing.
    /// - Returns: `<scope>/<namespace>/pod/<pod>/<container>`.
    /// - Throws: ``Failure`` if there is no such evidence, or if a name is missing, empty or too long.
    static func pod(
        of containerID: String,
        _ annotations: Annotations,
        _ scope: Configuration.State.Scope,
        _ bundle: CRIBundle?
    ) throws(Failure) -> String {
        let what = "cannot tell whose state \"\(containerID.excerpt)\" is"
        guard let keys = scope.podAnnotations, bundle != nil else {
            throw Failure(
                what,
                because: "nothing shows that the CRI engine \"\(scope.rawValue)\" has made the container"
            )
        }
        var names: [String] = []
        for key in [keys.namespace, keys.pod, keys.container] {
            guard let name = annotations[key], !name.utf8.isEmpty else {
                throw Failure(
                    what,
                    because: "the annotation \(key) is missing or empty",
                    hint: "state.scope must be the engine that made the container"
                )
            }
            names.append(name)
        }
        return try checked([scope.rawValue, names[0], "pod", names[1], names[2]], "the name of its pod or its own")
    }
}
