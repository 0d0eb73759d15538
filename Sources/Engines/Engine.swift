/// A container engine whose configuration this project can change.
public enum Engine: String, CaseIterable, Sendable {
    case docker
    case podman
    case containerd
    case crio
    case k3s
    case nerdctl

    /// The ways that an engine has, the one that is taken unless another is named first: one that fails closed.
    public var ways: [Way] {
        switch self {
        case .docker: [.runtime, .cdi]
        case .podman: [.cdi, .runtime, .hooks]
        case .containerd, .crio, .k3s: [.runtime]
        case .nerdctl: [.runtime, .cdi]
        }
    }

    /// The program by which one sees whether the engine is installed.
    public var program: String {
        switch self {
        case .docker: "dockerd"
        default: rawValue
        }
    }

    /// The command that puts a change of the engine's configuration into force; nil if none is needed.
    public func activation(of way: Way) -> String? {
        switch (self, way) {
        // dockerd reads runtimes again on SIGHUP, but looks for CDI devices only at its start. dockerd(8)
        case (.docker, .runtime): "systemctl reload docker"
        case (.docker, _): "systemctl restart docker"
        case (.containerd, _): "systemctl restart containerd"
        case (.crio, _): "systemctl restart crio"
        case (.k3s, _): "systemctl restart k3s, or k3s-agent"
        // podman and nerdctl are no daemons.
        case (.podman, _), (.nerdctl, _): nil
        }
    }

    /// What gives a container a TPM once the way is configured.
    public func use(of way: Way, _ layout: ProgramLayout) -> String {
        let annotation = "--annotation org.container-vtpm.state=persistent"
        switch (self, way) {
        case (.docker, .runtime): return "docker run --runtime vtpm \(annotation) IMAGE"
        case (.podman, .hooks): return "podman run \(annotation) IMAGE"
        case (.podman, .runtime): return "podman --runtime vtpm run \(annotation) IMAGE"
        case (.nerdctl, .runtime): return "nerdctl run --runtime \(layout.runtime) \(annotation) IMAGE"
        case (_, .cdi): return "\(rawValue) run --device \(ProgramLayout.device) IMAGE"
        default: return "a RuntimeClass with the handler vtpm, and the pod's annotation org.container-vtpm.state"
        }
    }
}

/// How an engine gets to this project's programs.
public enum Way: String, CaseIterable, Sendable {
    /// A runtime of the engine's that is our wrapper.
    case runtime
    /// A device of the Container Device Interface that carries our hooks.
    case cdi
    /// Files in the engine's folder of hooks.
    case hooks

    /// Whether a container that asks for a TPM by this way never starts without one.
    public var failsClosed: Bool { self != .hooks }

    /// What the way promises, in one sentence.
    public var promise: String {
        switch self {
        case .runtime:
            "fails closed: the wrapper runs for each container of this runtime, or the container does not start"
        case .cdi: "fails closed: an engine that does not find the device does not start the container"
        case .hooks: "fails open: a container that asks for a TPM and whose hook is not called starts without one"
        }
    }
}

/// Where this project's programs are.
public struct ProgramLayout: Sendable {
    /// The name of our runtime in the files of all engines.
    public static let runtimeName = "vtpm"
    /// The name of our device in the Container Device Interface.
    public static let device = "container-vtpm.org/tpm=auto"

    /// The folder of the programs.
    public let programs: String

    /// Creates the layout with the programs in this folder.
    public init(programs: String) { self.programs = programs }

    /// The runtime wrapper.
    public var runtime: String { "\(programs)/vtpm-runtime" }
    /// The hook.
    public var hook: String { "\(programs)/vtpm-hook" }

    /// Whether a path is that of a runtime wrapper of ours, wherever it is installed.
    static func isRuntime(_ path: String?) -> Bool { path?.split(separator: "/").last == "vtpm-runtime" }
    /// Whether a path is that of a hook of ours, wherever it is installed.
    static func isHook(_ path: String?) -> Bool { path?.split(separator: "/").last == "vtpm-hook" }

    /// Whether the paths can be written into every engine's file as they are.
    ///
    /// Anything else would have to be escaped, in JSON, in TOML and in the records.
    var isPlain: Bool {
        programs.hasPrefix("/") && programs.utf8.count < 1024
            && programs.unicodeScalars.allSatisfy { scalar in
                switch scalar {
                case "a"..."z", "A"..."Z", "0"..."9", "/", "-", "_", ".", "+", "~": true
                default: false
                }
            }
    }
}
