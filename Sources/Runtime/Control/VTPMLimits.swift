/// The limits of a vTPM's processes: those that the worker sets for itself, and those of their cgroup or unit.
public enum VTPMLimits {
    /// The limit of the worker's private writable memory, in bytes.
    ///
    /// libtpms, the Swift runtime and buffers take 5 MB, and no command needs more than another one.
    public static let workerMemory = 64 << 20
    /// The limit of all memory that the worker maps, in bytes, including the program's code.
    public static let workerAddressSpace = 256 << 20

    /// The limit of the memory of supervisor and worker together, in bytes.
    ///
    /// The supervisor, and what the kernel keeps for both, get 64 MiB. If the limit is reached, the out-of-memory
    /// killer ends the worker, whose score is the higher one.
    public static let memory = workerAddressSpace + (64 << 20)
    /// The limit of processes and threads.
    ///
    /// Supervisor and worker have one thread each. The vTPM of a container that starts again can be in the same cgroup
    /// for a moment.
    public static let tasks = 8
}
