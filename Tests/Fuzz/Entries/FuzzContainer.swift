import Configuration
import Platform
import RuntimeLease
import RuntimeState

@testable import OCIHook

/// The state of a container, as a runtime hands it to the hook, and what follows from it.
func fuzzContainerState(_ bytes: UnsafeRawBufferPointer) {
    guard let state = accepted({ () throws(Failure) in try ContainerState(parsing: Array(bytes)) }) else { return }
    require(!state.id.isEmpty && state.bundle.utf8.first == UInt8(ascii: "/"), "a state without an ID or a bundle")
    let lease = must { () throws(Failure) in try Lease.name(containerID: state.id, bundle: state.bundle) }
    require(lease.utf8.count == 32, "a lease's name is no digest")
    decide(state.id, state.bundle, state.annotations, nil)
    // What a runtime hands on and what the bundle has is the same.
    decide(state.id, state.bundle, state.annotations, state.annotations)
}

/// A bundle's configuration, and what the hook derives from it.
func fuzzBundleConfig(_ bytes: UnsafeRawBufferPointer) {
    let config = accepted { () throws(Failure) in try BundleConfig(parsing: Array(bytes), path: "/bundle/config.json") }
    guard let config else { return }
    if let root = accepted({ () throws(Failure) in try config.rootPath(bundle: "/bundle") }) {
        require(root.utf8.first == UInt8(ascii: "/") && !root.utf8.contains(0), "a root that is no absolute path")
    }
    _ = config.mountsOwnDev
    let map = IDMap([IDMap.Extent(containerID: 0, hostID: 100_000, size: 65536)])
    let namespace = UserNamespace(users: map, groups: map)
    if let owner = accepted({ () throws(Failure) in try namespace.deviceOwner(of: config, group: nil) }) {
        let itsOwn: Range<UInt32> = 100_000..<165_536
        require(itsOwn.contains(owner.uid) && itsOwn.contains(owner.gid), "an ID of the host's")
    }
    let subtree = accepted { () throws(Failure) in try ContainerSubtree(cgroupsPath: config.linux?.cgroupsPath) }
    if let subtree { examine(subtree, config.linux?.cgroupsPath ?? "") }
    decide("container", "/bundle", nil, config.annotations)
}

/// Whatever the configuration names, the cgroups that are taken for the container's hold it and not the hook.
private func examine(_ subtree: ContainerSubtree, _ path: String) {
    let texts = ["/a/b/c", "/system.slice/runc-web.scope", path, "/a" + path, path + "/init"]
    for leaf in texts.compactMap({ CgroupPath($0.utf8) }) {
        for own in [nil, CgroupPath.root, CgroupPath("/a".utf8), CgroupPath(path.utf8), leaf] {
            for level in subtree.levels(from: leaf, hook: own) {
                require(!level.names.isEmpty && level.contains(leaf), "a cgroup above or beside the container's")
                require(own.map { !level.contains($0) } ?? true, "a cgroup of the hook's own")
            }
        }
    }
}

private let policies: [Configuration.State] = {
    var policies = [Configuration.State()]
    for scope in Configuration.State.Scope.allCases {
        var policy = Configuration.State()
        (policy.source, policy.scope, policy.allowsEphemeral) = (.annotation, scope, scope == .none)
        policies.append(policy)
        if scope.podAnnotations != nil {
            policy.source = .pod
            policies.append(policy)
        }
    }
    return policies
}()

/// Whatever annotations say, a state has a directory's name, and nobody leaves the namespace that the engine gave.
private func decide(_ containerID: String, _ bundle: String, _ state: [String: String]?, _ given: [String: String]?) {
    guard let annotations = accepted({ () throws(Failure) in try Annotations(state: state, bundle: given) }) else {
        return
    }
    for policy in policies {
        let evidence = evidence(containerID, bundle, policy)
        let identity = accepted { () throws(Failure) in
            try StateIdentity.decide(
                containerID: containerID,
                annotations: annotations,
                allowed: policy,
                bundle: evidence
            )
        }
        guard let identity else { continue }
        guard let stateID = identity.stateID else {
            require(policy.allowsEphemeral, "an ephemeral TPM that is not allowed")
            continue
        }
        let name = must { () throws(Failure) in try StateDirectoryName.encoded(stateID) }
        require(StateDirectoryName.isEncoded(name) && name.utf8.count <= 240, "a name that no directory can have")
        require(annotations[.stateID] == nil || policy.source == .annotation, "an annotation names a state and may not")
        let slashes = stateID.utf8.filter { $0 == UInt8(ascii: "/") }.count
        guard policy.scope != .none, policy.source != .container else {
            require(slashes == 0, "a name or an ID reaches into a namespace")
            continue
        }
        let isScoped = stateID.utf8.starts(with: "\(policy.scope.rawValue)/".utf8)
        if policy.source == .pod {
            require(evidence != nil, "a pod's state for a container that is of none")
            require(isScoped && slashes == 4, "a pod leaves its namespace")
        } else {
            let expected = annotations[.stateID] == nil ? 3 : 2
            require(isScoped && slashes == expected, "a name leaves its namespace")
        }
    }
}

/// What shows that a container is of a pod: with a bundle of that engine's alone.
private func evidence(_ containerID: String, _ bundle: String, _ policy: Configuration.State) -> CRIBundle? {
    let evidence = accepted { () throws(Failure) in
        try CRIBundle.check(of: containerID, at: bundle, cgroupsPath: ":crio:\(containerID)", policy) { (_, _) in }
    }
    guard let evidence = evidence ?? nil else { return nil }
    let root = must { () throws(Failure) in
        guard let root = policy.bundleRoot else { throw Failure("cannot be", because: "it has no pods") }
        return root
    }
    let rest = evidence.path.utf8.dropFirst(root.utf8.count)
    require(evidence.path.utf8.starts(with: "\(root)/".utf8), "a bundle that is not below the root")
    let depth = rest.filter { $0 == UInt8(ascii: "/") }.count
    require(depth == (policy.scope == .crio ? 2 : 1), "a bundle that is not the container's own")
    return evidence
}
