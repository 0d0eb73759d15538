import Glibc

/// A container whose end a process waits for.
///
/// If the init is the first process of a PID namespace of its own, the container ends with it: the kernel then kills
/// all other processes in the namespace (pid_namespaces(7)). The processes of any other container can outlive its init.
/// It has ended once its init is dead and no process is in its cgroup or in one below it.
public struct ContainerWatch: ~Copyable {
    /// The init's pidfd.
    private let initProcess: Descriptor
    /// `cgroup.events` of the container's cgroup; nil if the init's end is the container's.
    private let cgroupEvents: Descriptor?
    /// Whether the init is known to be dead, after which only the cgroup is of interest.
    public private(set) var isInitDead = false

    /// How long to wait before the cgroup is looked at again, in milliseconds.
    ///
    /// The kernel reports a change of the file at most every 10 ms. It drops a report that is due if the cgroup is
    /// removed meanwhile, and reports the removal to nobody who waits already. kernel/cgroup/cgroup.c,
    /// `cgroup_file_notify`, `cgroup_rm_file`
    ///
    /// It is less than what `poststop` waits before it takes the supervisor for stuck.
    private static let patience = 2000

    /// Takes ownership of the init's pidfd and, for a container that has to be watched by its cgroup, of that one's
    /// open ``CgroupEvents/name``.
    public init(initProcess: consuming Descriptor, cgroupEvents: consuming Descriptor?) {
        self.initProcess = initProcess
        self.cgroupEvents = cgroupEvents
    }

    /// Returns a second watch of the same container.
    public borrowing func duplicate() throws(Failure) -> ContainerWatch {
        let initProcess = try initProcess.duplicate()
        switch cgroupEvents {
        case .none: return ContainerWatch(initProcess: initProcess, cgroupEvents: nil)
        case .some(let events):
            return ContainerWatch(initProcess: initProcess, cgroupEvents: try events.duplicate())
        }
    }

    /// The descriptors for a message to another process, in the order of the initializer's parameters.
    public var descriptors: [CInt] {
        switch cgroupEvents {
        case .none: [initProcess.number]
        case .some(let events): [initProcess.number, events.number]
        }
    }

    /// Returns whether the init is running.
    public borrowing func isInitAlive() throws(Failure) -> Bool {
        try wait(for: initProcess.number, until: Deadline(milliseconds: 0)) == 0
    }

    /// Adds what shows the container's end to a poll set; returns its index.
    ///
    /// If it is ready, ask ``hasEnded()``. Do so at ``nextLook`` as well.
    public borrowing func watch(in set: inout PollSet) -> Int {
        guard isInitDead else { return set.add(initProcess.number) }
        switch cgroupEvents {
        case .none: return set.add(initProcess.number)
        case .some(let events): return set.add(events.number, CInt(POLLPRI))
        }
    }

    /// When to ask ``hasEnded()`` at the latest; nil if the kernel reports the end for certain.
    public var nextLook: Deadline? {
        switch cgroupEvents {
        case .none: nil
        case .some: isInitDead ? Deadline(milliseconds: Self.patience) : nil
        }
    }

    /// Returns whether the container has ended; does not wait.
    public mutating func hasEnded() throws(Failure) -> Bool {
        if !isInitDead {
            guard try !isInitAlive() else { return false }
            isInitDead = true
        }
        switch cgroupEvents {
        case .none: return true
        case .some(let events): return try !CgroupEvents.isPopulated(events)
        }
    }
}
