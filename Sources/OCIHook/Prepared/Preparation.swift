import Configuration
import Glibc
import JSONText
import Launch
import Platform
import RuntimeControl
import RuntimeKeys
import RuntimeLease
import RuntimeState
import Systemd
import VTPMProxy

/// `vtpm-hook prepare VERB ID BUNDLE`: makes a container's vTPM before its runtime is executed.
///
/// Descriptor 3 is a channel to the process that becomes the runtime. The vTPM lives as long as that process, until the hook
/// that `config.json` names for this one creation has adopted it. This process waits for the hook, and puts the bundle's
/// own `config.json` back.
struct Preparation {
    let verb: PreparationVerb
    let id: String
    let bundlePath: String
    let hostPaths: HostPaths

    /// Answers the process at the other end, and then keeps what was prepared until it is adopted or given up.
    ///
    /// `whenPrepared` is called once the process knows that it can go on. An error after that refuses no container.
    func run(_ channel: Channel, whenPrepared: () -> Void) throws(Failure) {
        do throws(Failure) {
            let runtime = try RuntimeProcess(at: channel)
            let bundle = try BundleDirectory(bundlePath)
            if verb == .undo {
                try undo(bundle, runtime)
            } else if try hasWork(bundle) {
                return try prepare(bundle, runtime, channel, whenPrepared)
            }
            try channel.send(PreparationReply.nothing)
        } catch {
            try? channel.send(PreparationReply.failure(error))
            throw error
        }
    }

    private static let noCheckpoint = Failure(
        "cannot restore the container",
        because: "it asks for a TPM, of which a checkpoint has nothing",
        hint: "create it anew"
    )

    /// A container that gets a TPM.
    private struct Asked {
        let creation: Creation
        let file: [UInt8]
        let config: BundleConfig

        /// Returns the event about what the container runs, from its own `config.json`; nil if it is not measured.
        func launchEvent(path: String, _ runtime: borrowing RuntimeProcess) throws(Failure) -> [UInt8]? {
            let configuration = try creation.setting.loadConfiguration()
            guard configuration.launch.isMeasured else { return nil }
            let root = try configuration.launch.root(of: file, path: path, bundle: creation.state.bundle) {
                () throws(Failure) in
                try runtime.check()
            }
            return try creation.launchEvent(of: file, path: path, configuration, root)
        }
    }

    /// Returns whether the container gets a TPM, or an earlier creation has left its `config.json` there.
    ///
    /// The hook in that one would refuse a container that gets none any more.
    private func hasWork(_ bundle: borrowing BundleDirectory) throws(Failure) -> Bool {
        if try asksForTPM() { return true }
        return try bundle.isExchanged()
    }

    /// Returns whether the container gets a TPM.
    ///
    /// A container that gets none is the runtime's affair alone, whatever its `config.json` looks like.
    private func asksForTPM() throws(Failure) -> Bool {
        let file = try BundleConfig.load(bundle: bundlePath)
        return try asks(file.config, HookSetting(configurationPath: file.config.hookArgument(after: "--config")))
    }

    private func asks(_ config: BundleConfig, _ setting: HookSetting) throws(Failure) -> Bool {
        let annotations = try Annotations(state: config.annotations, bundle: config.annotations)
        return try annotations.selectTPM(setting.loadConfiguration().container)
    }

    /// Reads what the container asks for, once nobody else changes the bundle; returns nil if it gets no TPM.
    private func asked(_ bundle: borrowing BundleDirectory) throws(Failure) -> Asked? {
        let path = "\(bundlePath)/config.json"
        let file = try bundle.readConfig()
        let configuration = try PreparedConfig.configuration(of: file, path: path)
        let setting = HookSetting(configurationPath: configuration)
        let config = try BundleConfig(parsing: file, path: path)
        guard try asks(config, setting) else { return nil }
        let state = try ContainerState(of: id, bundle: bundlePath, config)
        let creation = Creation(of: state, on: hostPaths, setting)
        return Asked(creation: creation, file: file, config: config)
    }

    /// Puts `config.json` back after another process was killed, unless somebody uses what is there.
    private func undo(
        _ bundle: borrowing BundleDirectory,
        _ runtime: borrowing RuntimeProcess
    ) throws(Failure) {
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        let name = try Lease.name(containerID: id, bundle: bundlePath)
        try bundle.restoreUnlessUsed(in: runDirectory, but: name)
        let setting = HookSetting(
            configurationPath: try BundleConfig.load(bundle: bundlePath).config.hookArgument(after: "--config")
        )
        let leftovers = Leftovers(on: hostPaths, setting, of: runtime.identity)
        // The supervisor has noticed that the process is gone, and leaves the lease, as it cannot reach the bundle. Neither its
        // end nor that of another creation from the bundle, which keeps the lease too, has a descriptor here.
        _ = try Deadline(milliseconds: Self.undoTimeout).wait { () throws(Failure) in
            try leftovers.remove(name, in: runDirectory)
            return try OpenLease.open(name, in: runDirectory) == nil
        }
    }

    /// How long a supervisor may take to undo what it has made, in milliseconds.
    private static let undoTimeout = 5000

    private func prepare(
        _ bundle: borrowing BundleDirectory,
        _ runtime: borrowing RuntimeProcess,
        _ channel: Channel,
        _ whenPrepared: () -> Void
    ) throws(Failure) {
        let runDirectory = try openOwnDirectory(hostPaths.leases)
        try runDirectory.requireOwn(files: [], hostPaths.leases)
        let lock = try BundleLock(
            of: bundle,
            in: runDirectory,
            checkCancellation: { () throws(Failure) in
                try runtime.check()
            }
        )
        if let user = try bundle.user(in: runDirectory) {
            throw Failure(
                "cannot use the bundle \(bundlePath)",
                because: "container \"\(user)\" is being created from it"
            )
        }
        _ = try bundle.restore()
        guard let asked = try asked(bundle) else { return try channel.send(PreparationReply.nothing) }
        guard verb != .restore else { throw Self.noCheckpoint }
        let launch = try asked.launchEvent(path: "\(bundlePath)/config.json", runtime)
        let vTPM = try PreparedCreation(
            asked.creation,
            hookTimeout: asked.config.timeout(ofHook: "vtpm-hook"),
            unit: ContainerSubtree(cgroupsPath: asked.config.linux?.cgroupsPath).unitName,
            for: runtime,
            in: runDirectory
        ) { () throws(Failure) in
            var request = try asked.creation.request(asked.config, asked.creation.setting.loadConfiguration())
            request.launch = launch
            Log.subject.state = request.stateIdentity.stateID
            try SELinuxAccess(of: asked.config, SELinuxPolicy.current(runtime.procfs))?.examine()
            return request.state
        }
        defer { vTPM.abandonUnlessHandedOver(in: runDirectory) }
        let name = try PreparedName(of: [vTPM.registered.tpm, vTPM.registered.tpmrm])
        let contents = try PreparedConfig.contents(
            of: asked.file,
            path: "\(bundlePath)/config.json",
            naming: name,
            hook: hostPaths.program("vtpm-hook"),
            configuration: asked.creation.setting.configurationPath
        )
        do {
            let listener = try vTPM.announce(PreparedVTPM(token: name.token, config: contents))
            try bundle.exchange(asked.file, for: contents)
            try channel.send(PreparationReply.prepared)
            whenPrepared()
            try vTPM.awaitAdoption(of: name, listener, runtime) { () throws(Failure) in _ = try bundle.restore() }
        } catch {
            withdraw(vTPM, bundle)
            throw error
        }
        lock.release()
    }

    /// Puts `config.json` back; if that fails, the lease goes on to say so to whoever comes next.
    private func withdraw(_ vTPM: PreparedCreation, _ bundle: borrowing BundleDirectory) {
        do throws(Failure) {
            _ = try bundle.restore()
            try vTPM.withdraw()
        } catch {
            Log.error("\(error)")
        }
    }
}

extension ContainerSubtree {
    /// The name of the unit that the runtime will make; nil if it makes none.
    fileprivate var unitName: String? {
        guard case .systemd(let name) = self, UnitName.isPlain(name) else { return nil }
        return name
    }
}
