import CLinux
import Glibc
import Platform
import RuntimeConfinement
import RuntimeControl
import RuntimeFilter
import RuntimeLease
import RuntimeState
import VTPMProxy

// How a supervisor starts: its process, its state, its confinement, its worker's TPM.
extension Supervisor {
    /// Starts a worker, and the vTPM that the hook requests; returns nil if the hook ended first.
    static func start(
        _ hook: Channel,
        worker program: String,
        in cgroup: OwnCgroup?,
        naming container: inout String
    ) throws(Failure) -> Supervisor? {
        let signals = try prepareProcess()
        let worker = try WorkerLink.start(program: program)
        do {
            // That the hook has ended is noticed when its request does not come.
            try? hook.send(HookReply.started(worker: worker.process))
            // Both have work now. The kernel wakes this process on the processor where the worker has got as far as execve(2),
            // and would let one wait for the other there. Woken by a timer, it goes to a processor that is idle.
            usleep(1)
            let means = try ConfinementMeans()
            guard let start = try ReceivedStart(from: hook, unless: signals) else {
                worker.close()
                return nil
            }
            container = "container \"\(start.request.containerID)\""
            Log.subject = start.request.logSubject
            return try begin(start, hook, signals, worker, means, cgroup)
        } catch {
            worker.close()
            throw error
        }
    }

    private static func prepareProcess() throws(Failure) -> Descriptor {
        try Hardening.protectMemory()
        // Far below an ordinary process: killing it frees little memory, and costs a container its TPM.
        if try !Hardening.setOutOfMemoryScore(-900) {
            Log.notice("cannot lower the supervisor's out-of-memory score: it has no CAP_SYS_RESOURCE")
        }
        // A terminal sends these to all of an engine's children.
        Glibc.signal(SIGHUP, SIG_IGN)
        Glibc.signal(SIGINT, SIG_IGN)
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        try systemCall("sigprocmask", "cannot block signals") { sigprocmask(SIG_BLOCK, &set, nil) }
        return Descriptor(
            owning: try systemCall("signalfd", "cannot watch signals") { signalfd(-1, &set, CInt(SFD_CLOEXEC)) }
        )
    }

    /// Locks and loads the state, and has the worker start its TPM up.
    private static func begin(
        _ start: consuming ReceivedStart,
        _ hook: Channel,
        _ signals: consuming Descriptor,
        _ worker: WorkerLink,
        _ means: borrowing ConfinementMeans,
        _ cgroup: OwnCgroup?
    ) throws(Failure) -> Supervisor {
        let request = start.request
        try worker.confine(for: start.container, with: means)
        // Before a state is made: if this fails, there is no container for it.
        try WorkerConfinement.requireLockableMemory()
        let container = try start.container.duplicate()
        let buffer = try Channel.makeSecretBuffer()
        let lease = try LeaseDirectory(request.leaseName, in: start.runDirectory.duplicate())
        let launch = start.launch
        do throws(Failure) {
            let prepared = try prepare(&start, hook, worker, lease, cgroup)
            return Supervisor(
                request: request,
                hook: hook,
                container: container,
                signals: signals,
                lease: lease,
                store: prepared.store,
                uncommitted: prepared.uncommitted,
                worker: worker,
                manufactures: prepared.manufactures,
                pooled: prepared.pooled,
                isEndorsed: prepared.isEndorsed,
                launch: launch,
                buffer: buffer
            )
        } catch {
            remove(lease)
            throw error
        }
    }

    /// A state that is open, and what a worker does with it.
    private struct Prepared {
        var store: any StateSink
        /// The state that this creation makes; nil if it makes none.
        var uncommitted: UncommittedState?
        var manufactures: Bool
        /// The state of the TPM from the pool that a new state begins with; nil if there is none.
        var pooled: SecretBytes?
        var isEndorsed: Bool
    }

    /// Opens the state, gives it to the worker, and confines this process; without a state the worker manufactures a
    /// TPM.
    private static func prepare(
        _ start: inout ReceivedStart,
        _ hook: Channel,
        _ worker: WorkerLink,
        _ lease: borrowing LeaseDirectory,
        _ cgroup: OwnCgroup?
    ) throws(Failure) -> Prepared {
        var confinement = try SupervisorConfinement()
        if let cgroup { try confinement.allowRemoval(in: cgroup.parent) }
        let states = try start.allowFiles(in: &confinement)
        let (store, uncommitted, state) = try openState(&start, hook, lease, states)
        do {
            let provision = start.request.keys.provision(isNew: state == nil)
            let isEndorsed = Self.lacksEndorsement(store.endorsement, start.request.endorsement, provision.keys)
            // The hook starts the authority while the TPM starts.
            if isEndorsed { try hook.send(HookReply.needsAuthority(isNew: state == nil)) }
            if let states, case .persistent(let storage) = start.request.storage {
                let name = try StateDirectoryName.encoded(storage.stateID)
                let options = OpenOptions.beneath(O_RDONLY | O_DIRECTORY)
                try confinement.allowState(.open(name, options, at: states.number, as: "the state"))
                if uncommitted != nil { try confinement.allowRemoval(in: states) }
            }
            try confinement.allowLease(lease.directory)
            // The worker still loads its libraries, or confines itself.
            let filter = try SystemCallFilter.supervisor.compiled()
            try confinement.begin()
            try worker.requireConfined()
            let pooled = state == nil ? start.pooled(for: worker.libraryVersion) : nil
            try worker.initialize(state ?? pooled, provision)
            if !confinement.restrictsFiles {
                Log.notice("cannot restrict the files that a supervisor may reach: the kernel has no Landlock")
            }
            try confinement.enforce(under: filter)
            return Prepared(
                store: store,
                uncommitted: uncommitted,
                manufactures: state == nil,
                pooled: pooled,
                isEndorsed: isEndorsed
            )
        } catch {
            uncommitted?.discard()
            throw error
        }
    }

    /// Returns whether a record of a TPM's endorsement lacks something of what is asked for.
    private static func lacksEndorsement(
        _ record: [UInt8],
        _ level: EndorsementLevel,
        _ keys: StandardKeys
    ) -> Bool {
        guard level != .none, !keys.isEmpty else { return false }
        let head = EndorsementHead(of: record)
        // The configuration can ask for another key than when the record was made.
        let hasAll = keys.elements.allSatisfy { key in
            !key.isRecorded || head.keys.contains { $0.first == key.rawValue }
        }
        return head.level < level || !hasAll
    }

    /// Opens the store of the state; returns no state if a TPM is to be manufactured.
    private static func openState(
        _ start: inout ReceivedStart,
        _ hook: Channel,
        _ lease: borrowing LeaseDirectory,
        _ states: borrowing Descriptor?
    ) throws(Failure) -> (store: any StateSink, uncommitted: UncommittedState?, state: SecretBytes?) {
        let request = start.request
        guard let (repository, storage) = try start.takeRepository() else { return (InMemoryStore(), nil, nil) }
        let user = StateUser(
            containerID: request.containerID,
            initProcess: request.initProcess,
            cgroup: request.cgroup,
            supervisor: getpid()
        )
        let (store, payload) = try StateStore.open(
            storage.stateID,
            formerly: storage.formerStateID,
            in: repository,
            for: user,
            bundle: request.bundle,
            keptFor: storage.keptFor,
            until: Deadline(milliseconds: lockTimeout),
            checkCancellation: { () throws(Failure) in try start.checkCancellation(hook) },
            making: { (uuid) throws(Failure) in
                let made = MadeState(stateID: storage.stateID, uuid: uuid, user: user)
                try lease.write(LeaseFiles.madeState, made.encoded)
            }
        )
        // What follows in the index is done by a confined process.
        repository.index.mayUseSignals = false
        repository.index.timeout = 60_000
        guard !payload.isComplete else { return (store, nil, payload.permanent) }
        switch states {
        case .none: return (store, nil, nil)
        case .some(let states): return (store, UncommittedState(store, in: try states.duplicate()), nil)
        }
    }
}
