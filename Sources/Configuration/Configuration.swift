/// What the operator decided: `/etc/container-vtpm/config.toml`, every key of which is optional.
///
/// docs/configuration.md explains the keys; the defaults are those of a missing file. Only the hook and `vtpmctl` read
/// the file.
public struct Configuration: Equatable, Sendable {
    /// Where the file is unless an argument says otherwise.
    public static let standardPath = "/etc/container-vtpm/config.toml"

    /// `[state]`: which state a container gets.
    public var state = State()
    /// `[retention]`: which states are removed that nobody uses any more.
    public var retention = Retention()
    /// `[device]`: who in a container may use its TPM.
    public var device = Device()
    /// `[key]`: where the master key comes from.
    public var key = Key.file(path: Key.standardFile)
    /// `[key.next]`: the master key that `vtpmctl key rotate` goes to; nil if no rotation is prepared.
    public var nextKey: Key?
    /// `[host-tpm]`: the host's own TPM.
    public var hostTPM = HostTPM()
    /// `[rollback]`: how an older state that was put back is noticed.
    public var rollback = Rollback()

    /// What holds where there is no file.
    public init() {}

    /// Which state a container gets.
    public struct State: Equatable, Sendable {
        /// What names a container's state.
        public enum Source: String, CaseIterable, Sendable {
            /// The container's ID alone; the annotation `org.container-vtpm.state-id` is refused.
            case container
            /// The annotation `org.container-vtpm.state-id`, or the container's ID where it is not given.
            case annotation
        }

        /// Whose annotation tells the namespace that the names of annotations count in.
        public enum Scope: String, CaseIterable, Sendable {
            /// containerd's CRI: `io.kubernetes.cri.sandbox-namespace`.
            case containerd
            /// CRI-O: `io.kubernetes.pod.namespace`.
            case crio = "cri-o"
            /// nerdctl: `nerdctl/namespace`.
            case nerdctl
            /// Nothing: whoever sets annotations may name any state on the host, that of any container ID too.
            case none

            /// The annotation that the engine itself sets.
            public var annotation: String? {
                switch self {
                case .containerd: "io.kubernetes.cri.sandbox-namespace"
                case .crio: "io.kubernetes.pod.namespace"
                case .nerdctl: "nerdctl/namespace"
                case .none: nil
                }
            }
        }

        /// `id`: what names a container's state.
        public var source = Source.container
        /// `scope`: what the names of annotations are scoped by.
        public var scope = Scope.none
        /// What becomes of the state of a container whose ID an engine has made at random, for one run.
        public enum RandomIDs: Equatable, Sendable {
            /// It stays until somebody removes it.
            case persistent
            /// There is none: the TPM is gone when the container stops.
            case ephemeral
            /// `vtpmctl state prune` removes it so many seconds after its last use.
            case kept(UInt64)
        }

        /// `random-ids`: what becomes of the states of containers whose ID nobody will use again.
        public var randomIDs = RandomIDs.persistent
        /// `ephemeral`: whether a container may ask for a TPM that is gone when it stops.
        public var allowsEphemeral = true

        /// What holds where the table is missing.
        public init() {}
    }

    /// Which states `vtpmctl state prune` removes that nobody uses any more.
    public struct Retention: Equatable, Sendable {
        /// `unused-for`: how long after its last use, in seconds; nil if none is removed for that.
        public var unusedFor: UInt64?

        /// What holds where the table is missing.
        public init() {}
    }

    /// Who in a container may use its TPM, beside the user of its process.
    public struct Device: Equatable, Sendable {
        /// A group, as the container has it.
        public enum Group: Equatable, Sendable {
            /// Its ID.
            case id(UInt32)
            /// Its name in the container's `/etc/group`.
            case name(String)

            /// The ID, where the configuration gives one.
            public var id: UInt32? { if case .id(let id) = self { id } else { nil } }
            /// The name, where the configuration gives one.
            public var name: String? { if case .name(let name) = self { name } else { nil } }

            /// The numbers that are IDs: 2^32 - 1 is none. chown(2)
            public static let ids: ClosedRange<UInt32> = 0...0xffff_fffe
        }

        /// `group`: the group that the devices have, with the mode 0660; nothing for the group of the process and 0600.
        public var group: Group?

        /// What holds where the table is missing.
        public init() {}
    }

    /// Where a master key comes from.
    public enum Key: Equatable, Sendable {
        /// The file of ``Configuration/key`` unless the configuration names another.
        public static let standardFile = "/var/lib/container-vtpm/keys/master.key"

        /// A file of root's, made at first use, at this absolute path.
        case file(path: String)
        /// A credential of systemd's, systemd.exec(5), "Credentials".
        ///
        /// `directory` is an absolute path for where `$CREDENTIALS_DIRECTORY` is not passed on to hooks.
        case credential(name: String, directory: String?)
        /// A program that prints the key: its absolute path and its arguments. `timeout` is in seconds, 1 to 60.
        case command([String], timeout: Int)
        /// Sealed to the host's TPM.
        case hostTPM
    }

    /// The host's own TPM.
    public struct HostTPM: Equatable, Sendable {
        /// `device`: its absolute path; nil if it is to be found.
        public var device: String?
        /// `pcrs`: the PCRs that a sealed key is bound to, as `PCRSelection` has them.
        public var pcrs = "sha256:0-4,6-14"

        /// What holds where the table is missing.
        public init() {}
    }

    /// How an older state that was put back is noticed.
    public struct Rollback: Equatable, Sendable {
        /// What counts, where the operator of the disk cannot turn it back.
        public enum Counter: String, CaseIterable, Sendable {
            /// Nothing.
            case none
            /// An NV counter of the host's TPM.
            case hostTPM = "host-tpm"
        }

        /// The NV indices that the TPM's owner hands out. TCG Registry of Reserved TPM 2.0 Handles, 2.2.2
        public static let ownerIndices: ClosedRange<UInt32> = 0x0180_0000...0x01bf_ffff

        /// `counter`: what counts; the host's TPM where it seals the key, else nothing.
        public var counter = Counter.none
        /// `nv-index`: the counter's NV index, one of ``ownerIndices``.
        public var nvIndex: UInt32 = 0x0180_7654

        /// What holds where the table is missing.
        public init() {}
    }
}
