import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState

/// What hooks and supervisors that were both killed have left: leases that nobody owns, and states that were made for
/// containers which never came to be.
struct Leftovers {
    private let hostPaths: HostPaths
    private let setting: HookSetting

    /// Those on a host; the setting tells where the keys are.
    init(on hostPaths: HostPaths, _ setting: HookSetting) {
        self.hostPaths = hostPaths
        self.setting = setting
    }

    /// Removes all; what cannot be read or removed is named in the log, and passed over.
    func removeAll(in runDirectory: borrowing Descriptor) {
        do throws(Failure) {
            let problems = try Leases.each(in: runDirectory) { (opened, lease) throws(Failure) in
                do throws(Failure) {
                    try remove(opened, lease, in: runDirectory)
                } catch {
                    let subject = LogSubject(container: lease?.containerID, state: lease?.stateID)
                    Log.error("\(error)", about: subject)
                }
            }
            for problem in problems { Log.error("\(problem)", about: LogSubject()) }
        } catch {
            Log.error("\(error)", about: LogSubject())
        }
    }

    /// Removes one, where it is a leftover.
    func remove(_ name: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let opened = try OpenLease.open(name, in: runDirectory) else { return }
        try remove(opened, opened.read(), in: runDirectory)
    }

    private func remove(
        _ opened: borrowing OpenLease,
        _ lease: Lease?,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        // The number of a living container stays its own, also where its supervisor was killed.
        if let lease {
            guard try !lease.initProcess.isAlive(), try !lease.supervisor.isAlive() else { return }
        }
        // Held while it is removed, so that nobody else does.
        guard try opened.lock() else { return }
        // Nor did its container execute anything while its hook was at it.
        if let made = try opened.madeState(), try made.user.initProcess.isAlive() { return }
        try undo(opened, in: runDirectory)
    }

    /// Removes a lease whose supervisor has ended, and the state that it made for a container which never came to be.
    ///
    /// Where that fails both stay, so that it is tried again.
    func undo(_ lease: borrowing OpenLease, in runDirectory: borrowing Descriptor) throws(Failure) {
        if let made = try lease.madeState() { try discard(made) }
        try lease.remove(from: runDirectory)
    }

    private func discard(_ made: MadeState) throws(Failure) {
        let isDiscarded = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            let host = try HostContext(
                hostPaths,
                setting.loadConfiguration(),
                credentialsDirectory: setting.credentialsDirectory
            )
            return try host.repository().discard(made)
        }
        guard isDiscarded else { return }
        Log.notice(
            "state \"\(made.stateID)\" was made for a container that never came to be, and is removed",
            .removed,
            about: LogSubject(container: made.user.containerID, state: made.stateID)
        )
    }
}
