import RuntimeControl
import VTPMProxy

/// The operator's configuration, `/etc/container-vtpm/config.toml`; every key is optional.
///
/// docs/configuration.md explains the keys. A missing key or file stands for the defaults. Only the hook and `vtpmctl`
/// read the file.
public struct Configuration: Equatable, Sendable {
    /// The path of the file unless an argument gives another.
    public static let standardPath = "/etc/container-vtpm/config.toml"

    /// The table `[container]`: which containers get a TPM.
    public var container = Container()
    /// The table `[state]`: which state a container gets.
    public var state = State()
    /// The table `[retention]`: which unused states are removed.
    public var retention = Retention()
    /// The table `[manufacture]`: what a TPM has from its first start on.
    public var manufacture = Manufacture()
    /// The table `[authority]`: who certifies a TPM's endorsement keys.
    public var authority = Authority()
    /// The table `[launch]`: what of a container's launch is measured into its TPM.
    public var launch = Launch()
    /// The table `[device]`: who in a container may use its TPM.
    public var device = Device()
    /// The table `[key]`: where the master key comes from.
    public var key = Key.file(path: Key.standardFile)
    /// The table `[key.next]`: the new master key of `vtpmctl key rotate`; nil if no rotation is prepared.
    public var nextKey: Key?
    /// The table `[host-tpm]`: the host's own TPM.
    public var hostTPM = HostTPM()
    /// The table `[proof]`: what the host attests.
    public var proof = Proof()
    /// The table `[rollback]`: how the restore of an older state is detected.
    public var rollback = Rollback()

    /// The table `[runtime]`: what `vtpm-runtime` stands in for.
    public var runtime = Runtime()

    /// Creates the configuration of a missing file.
    public init() {}

    /// What `vtpm-runtime` stands in for.
    public struct Runtime: Equatable, Sendable {
        /// Where the real runtime is without the key `path`, the first one that is there.
        public static let usualPaths = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/bin/crun"]

        /// The key `path`: the absolute path of the real runtime; nil without it.
        public var path: String?

        /// Returns the absolute path of the real runtime.
        ///
        /// A host without any has the first usual one named in its error.
        public func path(where exists: (String) -> Bool) -> String {
            path ?? Self.usualPaths.first(where: exists) ?? Self.usualPaths[0]
        }

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Which of the containers that the hook is called for get a TPM.
    public struct Container: Equatable, Sendable {
        /// The containers that get a TPM.
        public enum Selection: String, CaseIterable, Sendable {
            /// All of them.
            case all
            /// Those with the annotation `org.container-vtpm.enable = "true"`.
            case annotated
        }

        /// The key `tpm`: the containers that get a TPM.
        public var selection = Selection.all
        /// The key `opt-out`: whether a container may do without, by `org.container-vtpm.enable = "false"`; only used
        /// with ``Selection/all``.
        public var allowsOptOut = false

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Which state a container gets.
    public struct State: Equatable, Sendable {
        /// The source of a state's name.
        public enum Source: String, CaseIterable, Sendable {
            /// The container's ID alone; the annotation `org.container-vtpm.state-id` is refused.
            case container
            /// The annotation `org.container-vtpm.state-id`; the container's ID if there is no such annotation.
            case annotation
            /// The names of a pod and its container, as the CRI engine ``State/scope`` gives them; containers of others
            /// are refused, and so is the annotation `org.container-vtpm.state-id`.
            case pod
        }

        /// The engine whose annotation gives the namespace of a state's name.
        public enum Scope: String, CaseIterable, Sendable {
            /// containerd's CRI: `io.kubernetes.cri.sandbox-namespace`.
            case containerd
            /// CRI-O: `io.kubernetes.pod.namespace`.
            case crio = "cri-o"
            /// nerdctl: `nerdctl/namespace`.
            case nerdctl
            /// No engine: whoever sets annotations may use any state on the host, even that of any container ID.
            case none

            /// The annotation that the engine sets by itself, with the container's namespace; nil for ``none``.
            public var annotation: String? {
                switch self {
                case .containerd: "io.kubernetes.cri.sandbox-namespace"
                case .crio: "io.kubernetes.pod.namespace"
                case .nerdctl: "nerdctl/namespace"
                case .none: nil
                }
            }

            /// The annotations that a CRI engine sets by itself, with the names of a container and its pod; nil for
            /// those that know no pods.
            public var podAnnotations: (namespace: String, pod: String, container: String)? {
                switch self {
                case .containerd:
                    (
                        "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name",
                        "io.kubernetes.cri.container-name"
                    )
                case .crio:
                    ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name")
                case .nerdctl, .none: nil
                }
            }

            /// The directory below which a CRI engine keeps its containers' bundles, as it is by default; nil for those
            /// that know no pods.
            public var standardBundles: String? {
                switch self {
                case .containerd: "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
                case .crio: "/run/containers/storage/overlay-containers"
                case .nerdctl, .none: nil
                }
            }
        }

        /// The key `id`: the source of a state's name.
        public var source = Source.container
        /// The key `scope`: the engine that scopes names and container IDs, or whose pods they are; not used with
        /// ``Source/container``.
        public var scope = Scope.none
        /// The key `bundles`: the directory below which the CRI engine keeps its containers' bundles, an absolute path.
        ///
        /// It is nil for the engine's default, and only used with ``Source/pod``.
        public var bundles: String?
        /// The directory below which the CRI engine keeps its containers' bundles; nil if the engine knows no pods.
        public var bundleRoot: String? { scope.podAnnotations == nil ? nil : bundles ?? scope.standardBundles }
        /// The retention of states of containers whose ID an engine made at random for one run.
        public enum RandomIDs: Equatable, Sendable {
            /// The state stays until somebody removes it.
            case persistent
            /// There is no state: the TPM is gone when the container stops.
            case ephemeral
            /// `vtpmctl state prune` removes the state after this time without use, in seconds.
            case kept(UInt64)
        }

        /// The key `random-ids`: the retention of states of containers with a random ID.
        public var randomIDs = RandomIDs.persistent
        /// The key `ephemeral`: whether a container may ask for a TPM that is gone when it stops.
        public var allowsEphemeral = true

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Which unused states `vtpmctl state prune` removes.
    public struct Retention: Equatable, Sendable {
        /// The key `unused-for`: the time without use, in seconds, after which a state is removed; nil for no limit.
        public var unusedFor: UInt64?

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Who in a container may use its TPM, in addition to the user of its process.
    public struct Device: Equatable, Sendable {
        /// A group in the container.
        public enum Group: Equatable, Sendable {
            /// The group's ID.
            case id(UInt32)
            /// The group's name in the container's `/etc/group`.
            case name(String)

            /// The ID; nil if the configuration gives a name.
            public var id: UInt32? { if case .id(let id) = self { id } else { nil } }
            /// The name; nil if the configuration gives an ID.
            public var name: String? { if case .name(let name) = self { name } else { nil } }

            /// The valid IDs, which exclude 2^32 - 1. chown(2)
            public static let ids: ClosedRange<UInt32> = 0...0xffff_fffe
        }

        /// The key `group`: the devices' group, with the mode 0660; nil for the process's group and 0600.
        public var group: Group?

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Where a master key comes from.
    public enum Key: Equatable, Sendable {
        /// The default path of the key's file.
        public static let standardFile = "/var/lib/container-vtpm/keys/master.key"

        /// A file that belongs to root, at this absolute path; created at first use.
        case file(path: String)
        /// A systemd credential. systemd.exec(5), "Credentials"
        ///
        /// `directory` is an absolute path, for engines that do not pass `$CREDENTIALS_DIRECTORY` on to hooks.
        case credential(name: String, directory: String?)
        /// A program that prints the key, by its absolute path and its arguments.
        ///
        /// `timeout` is in seconds, from 1 to 60.
        case command([String], timeout: Int)
        /// A key that is sealed to the host's TPM.
        case hostTPM
    }

    /// The host's own TPM.
    public struct HostTPM: Equatable, Sendable {
        /// The key `device`: the device's absolute path; nil to find it.
        public var device: String?
        /// The key `pcrs`: the PCRs that a sealed key is bound to, in the syntax of `PCRSelection`.
        public var pcrs = "sha256:0-4,6-14"

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// What the host attests.
    public struct Proof: Equatable, Sendable {
        /// The key `pcrs`: the PCRs that the host's TPM quotes, of one bank, in the syntax of `PCRSelection`.
        public var pcrs = "sha256:0-15"

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// How the restore of an older state is detected.
    public struct Rollback: Equatable, Sendable {
        /// A counter that cannot be turned back by whoever controls the disk.
        public enum Counter: String, CaseIterable, Sendable {
            /// No counter.
            case none
            /// An NV counter of the host's TPM.
            case hostTPM = "host-tpm"
        }

        /// The NV indices that are reserved for the TPM's owner. TCG Registry of Reserved TPM 2.0 Handles, 2.2.2
        public static let ownerIndices: ClosedRange<UInt32> = 0x0180_0000...0x01bf_ffff

        /// The key `counter`: the counter; by default the host's TPM if it seals the key, else none.
        public var counter = Counter.none
        /// The key `nv-index`: the counter's NV index, one of ``ownerIndices``.
        public var nvIndex: UInt32 = 0x0180_7654

        /// Creates the configuration of a missing table.
        public init() {}
    }
}
