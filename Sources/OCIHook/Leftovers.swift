import Configuration
import Glibc
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState

/// The leftovers of creations whose hook and supervisor were both killed.
///
/// These are leases without an owner, and states that were made for containers which were never created.
struct Leftovers {
    private let hostPaths: HostPaths
    private let setting: HookSetting
    /// The process that stands for the init of a container which does not come to be, while it still lives.
    private let givenUp: ProcessID?

    /// Takes the host's paths, and the setting that leads to the configuration and so to the keys.
    ///
    /// A vTPM that is prepared has the runtime in its container's place; `givenUp` is that process, once nothing comes of it.
    init(on hostPaths: HostPaths, _ setting: HookSetting, of givenUp: ProcessID? = nil) {
        self.hostPaths = hostPaths
        self.setting = setting
        self.givenUp = givenUp
    }

    /// Removes all leftovers.
    ///
    /// One that cannot be read or removed is logged and skipped.
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

    /// Removes the lease of this name if it is a leftover.
    func remove(_ name: String, in runDirectory: borrowing Descriptor) throws(Failure) {
        guard let opened = try OpenLease.open(name, in: runDirectory) else { return }
        try remove(opened, opened.read(), in: runDirectory)
    }

    private func remove(
        _ opened: borrowing OpenLease,
        _ lease: Lease?,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) {
        // The number of a living container stays reserved, even if its supervisor was killed.
        if let lease {
            guard try !isAlive(lease.container), try !lease.supervisor.isAlive() else { return }
        }
        // The lock is held during the removal, so that no other process removes it too.
        guard try opened.lock() else { return }
        // The made state goes only once the container is dead: while it is alive, its creation may still be under way.
        if let made = try opened.madeState(), try isAlive(made.user.container) { return }
        try undo(opened, in: runDirectory)
    }

    private func isAlive(_ container: ContainerIdentity) throws(Failure) -> Bool {
        guard container.initProcess != givenUp else { return false }
        return try container.isAlive()
    }

    /// Removes a lease whose supervisor has ended, and the state that it made for a container which was never created.
    ///
    /// If the state cannot be removed, the lease stays too, so that the next call tries again.
    func undo(_ lease: borrowing OpenLease, in runDirectory: borrowing Descriptor) throws(Failure) {
        if let made = try lease.madeState() { try discard(made) }
        guard try restoreBundle(of: lease, in: runDirectory) else { return }
        try lease.remove(from: runDirectory)
        try VTPMCgroups.open(Procfs())?.remove(lease.name)
    }

    /// Puts a bundle's own `config.json` back, which the process that has prepared a vTPM was killed before it did.
    ///
    /// Returns false if another creation uses the bundle: then the lease stays for the next call.
    private func restoreBundle(
        of lease: borrowing OpenLease,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> Bool {
        guard try lease.isPrepared(), let bundle = try lease.read()?.bundle else { return true }
        do {
            return try BundleDirectory(bundle).restoreUnlessUsed(in: runDirectory, but: lease.name)
        } catch let error where error.code == ENOENT || error.code == ENOTDIR {
            // The bundle is gone, and its config.json with it.
            return true
        }
    }

    private func discard(_ made: MadeState) throws(Failure) {
        let outcome = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
            let host = try HostContext(
                hostPaths,
                setting.loadConfiguration(),
                credentialsDirectory: setting.credentialsDirectory
            )
            return try host.repository().discard(made)
        }
        guard outcome == .removed else { return }
        Log.notice(
            "state \"\(made.stateID)\" was made for a container that never came to be, and is removed",
            .removed,
            about: LogSubject(container: made.user.containerID, state: made.stateID)
        )
    }
}
