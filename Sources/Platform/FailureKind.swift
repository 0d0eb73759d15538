import Glibc

/// What kind of thing an error is about: few words, for what counts errors.
///
/// The text of an error names containers, states and files, which no metric may tell. docs/log.md has the meanings.
public enum FailureKind: String, CaseIterable, Sendable {
    /// The master key cannot be had.
    case key
    /// The host's own TPM refuses, or does not answer.
    case hostTPM = "host-tpm"
    /// A state or the index of states is in use, damaged, older than it was, missing, or another's.
    case state
    /// The file system is full, broken or read-only.
    case disk
    /// The container is one that cannot have a TPM, or asks for what it may not have.
    case container
    /// The kernel does not make the device, or does not let it be used.
    case device
    /// systemd does not answer, or refuses.
    case systemd
    /// The vTPM's own processes cannot start, or have ended.
    case process
    /// Any other.
    case other

    /// Returns the kind for a word; ``other`` if this version does not know it.
    public init(word: String?) { self = word.flatMap(Self.init(rawValue:)) ?? .other }

    /// What errors of each kind begin with; the first that fits counts.
    package static let beginnings: [(text: String, kind: FailureKind)] = [
        ("cannot use the host's TPM", .hostTPM), ("cannot use the host TPM", .hostTPM),
        ("cannot unseal the secret", .hostTPM), ("cannot seal a secret", .hostTPM),
        ("cannot use the TPM's storage key", .hostTPM), ("cannot read the counter", .hostTPM),
        ("cannot increment the counter", .hostTPM), ("cannot define the counter", .hostTPM),
        ("cannot look for the counter", .hostTPM),
        ("cannot load the master key", .key), ("cannot use a master key", .key),
        ("cannot load the sealed secret", .key),
        ("cannot load the index", .state), ("cannot write the index", .state), ("cannot trust the index", .state),
        ("cannot load the host's index", .state), ("cannot load the state", .state),
        ("cannot create the state", .state),
        ("cannot use the state", .state), ("cannot begin the state", .state), ("cannot find the state", .state),
        ("cannot tell whose state", .state), ("cannot record the use of the state", .state),
        ("cannot remember the state", .state), ("cannot write the state", .state), ("cannot load the record", .state),
        ("cannot obey the annotation", .container), ("cannot use the bundle", .container),
        ("cannot find the bundle", .container), ("cannot read the container's state", .container),
        ("cannot find the container", .container), ("cannot use linux.cgroupsPath", .container),
        ("cannot give the container", .container), ("cannot put the TPM into the container", .container),
        ("cannot enter the container", .container), ("cannot find the control group", .container),
        ("cannot allow the container", .device), ("cannot create a vTPM", .device), ("cannot open /dev/vtpmx", .device),
        ("cannot load the kernel module", .device), ("cannot register the vTPM", .device),
        ("cannot make the device node", .device), ("cannot label the device nodes", .device),
        ("cannot ask the device cgroup", .device), ("cannot load a device filter", .device),
        ("cannot attach a device filter", .device), ("cannot extend a device filter", .device),
        ("cannot connect to systemd", .systemd), ("cannot start systemd's unit", .systemd),
        ("cannot use systemd's unit", .systemd), ("cannot read systemd's", .systemd),
        ("cannot start the TPM", .process), ("cannot start a TPM", .process), ("cannot start the vTPM", .process),
        ("cannot start the supervisor", .process), ("cannot keep the vTPM", .process),
        ("cannot keep the TPM's state", .process), ("cannot manufacture the TPM", .process),
        ("cannot shut the TPM down", .process), ("cannot serve the vTPM", .process),
        ("cannot trust the worker", .process), ("cannot confine the worker", .process),
        ("cannot prepare a TPM", .process), ("cannot take over the vTPM", .process),
    ]
}

extension Failure {
    /// What kind of thing it is about.
    ///
    /// It is read from our own words at the beginning of the text, which an error keeps on its way through our processes.
    public var kind: FailureKind {
        if isOfDisk { return .disk }
        return FailureKind.beginnings.first { what.hasPrefix($0.text) }?.kind ?? .other
    }

    /// Whether a file system is the cause; an error of another process has no ``code``, but the same words.
    private var isOfDisk: Bool {
        [ENOSPC, EDQUOT, EROFS, EIO, EFBIG].contains { error in
            code == error || code == nil && why.hasSuffix(": \(String(cString: strerror(error)))")
        }
    }
}
