import ArgumentParser
import Configuration
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimePool
import RuntimeState

/// The commands for the TPMs that are made ahead of need.
struct PoolCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pool",
        abstract: "Shows, fills and empties the pool of TPMs that are made ahead of need.",
        subcommands: [PoolShow.self, PoolFill.self, PoolClear.self]
    )

    /// Returns what a TPM of the pool has to be like.
    static func demand(_ host: HostOptions, _ hostPaths: HostPaths) throws(Failure) -> TPMPool.Demand {
        let configuration = try host.configuration()
        return TPMPool.Demand(
            of: try HostBinding(of: hostPaths, configuration.hostTPM),
            configuration.manufacture.provision,
            ring: try host.open(hostPaths).keys
        )
    }

    /// Names a number of TPMs.
    static func text(_ count: Int) -> String { count == 1 ? "1 TPM" : "\(count) TPMs" }
}

struct PoolShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Prints how many TPMs the pool has, and how many it is to have."
    )

    @OptionGroup var host: HostOptions
    @Flag(help: "Print a JSON object.")
    var json = false

    private struct Report: Encodable {
        let ready: Int
        let size: Int
    }

    func run() throws {
        try report("reading the pool of TPMs") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let ready = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                try TPMPool(hostPaths).count { () throws(Failure) in try PoolCommand.demand(host, hostPaths) }
            }
            let report = Report(ready: ready, size: try host.configuration().manufacture.poolSize)
            try json ? Output.write(json: report) : Output.write(line: "\(report.ready) of \(report.size) TPMs")
        }
    }
}

struct PoolFill: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fill",
        abstract: "Makes TPMs until the pool has as many as the configuration names.",
        discussion: """
            What cannot be used is thrown away: what another host has made, what needs another master key, what has other \
            keys or banks of PCRs than the configuration names, and what another version of libtpms has made than this one. \
            container-vtpm-pool.timer runs this command.
            """
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("filling the pool of TPMs") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let configuration = try host.configuration()
            let size = configuration.manufacture.poolSize
            guard size > 0 else {
                try TPMPool(hostPaths).clear()
                return try Output.write(line: "The configuration names no pool.")
            }
            let filling = try PoolFilling(TPMPool(hostPaths))
            let binding = try HostBinding(of: hostPaths, configuration.hostTPM)
            // The master key is not loaded where there is nothing to do, which is once a minute: a host's TPM may have it. What is
            // encrypted by another one is taken for good until a TPM is missing.
            let plain = TPMPool.Demand(of: binding, configuration.manufacture.provision)
            guard try filling.tidy(plain, to: size) < size else { return try Output.write(line: "The pool is full.") }
            let made = try fill(filling, configuration.manufacture, binding, hostPaths)
            try Output.write(line: "Made \(PoolCommand.text(made)); the pool has \(filling.count()) of \(size).")
        }
    }

    /// Makes the TPMs that are missing; returns their number, which is at most what the pool is to have.
    private func fill(
        _ filling: borrowing PoolFilling,
        _ manufacture: Configuration.Manufacture,
        _ binding: HostBinding,
        _ hostPaths: HostPaths
    ) throws(Failure) -> Int {
        let trial = TrialStart(worker: hostPaths.program("vtpm-worker"))
        var (made, library) = (0, LibraryVersion?.none)
        while made < manufacture.poolSize {
            // Not for long: a change of the master key waits for it.
            let count = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let demand = TPMPool.Demand(of: binding, manufacture.provision, ring: try host.open(hostPaths).keys)
                return try filling.tidy(demand, to: manufacture.poolSize, library: library)
            }
            guard count < manufacture.poolSize else { break }
            let (state, maker) = try trial.manufacture(with: manufacture.provision)
            library = maker
            let tpm = PooledTPM(state: state, provision: manufacture.provision, library: maker)
            try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                try filling.add(tpm, for: binding, host.open(hostPaths).keys.current)
            }
            made += 1
        }
        return made
    }
}

struct PoolClear: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Throws away the TPMs of the pool, which no container has had.",
        discussion: "It waits up to a minute for a process that fills the pool."
    )

    func run() throws {
        try report("emptying the pool of TPMs") { () throws(Failure) in
            let filling = try PoolFilling(TPMPool(.current()), until: Deadline(milliseconds: 60_000))
            try Output.write(line: "Threw away \(PoolCommand.text(filling.clear())).")
        }
    }
}
