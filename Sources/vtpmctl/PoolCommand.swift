import ArgumentParser
import Configuration
import Platform
import RuntimeAdministration
import RuntimeControl
import RuntimeKeys
import RuntimePool

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
            try host.open(hostPaths).keys,
            of: try HostBinding(of: hostPaths, configuration.hostTPM),
            keys: configuration.manufacture.keys
        )
    }
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
            What cannot be used is thrown away: what another host has made, what needs another master key, what has other keys \
            than the configuration names, and what another version of libtpms has made than this one. \
            container-vtpm-pool.timer runs this command.
            """
    )

    @OptionGroup var host: HostOptions

    func run() throws {
        try report("filling the pool of TPMs") { () throws(Failure) in
            let hostPaths = try host.hostPaths()
            let pool = TPMPool(hostPaths)
            let manufacture = try host.configuration().manufacture
            guard manufacture.poolSize > 0 else {
                try pool.clear()
                return try Output.write(line: "The configuration names no pool.")
            }
            // The host's TPM need not give the master key out once a minute.
            guard try pool.count() != manufacture.poolSize else {
                return try Output.write(line: "The pool is full.")
            }
            let made = try fill(pool, manufacture, hostPaths)
            try Output.write(line: "Made \(made) TPMs; the pool has \(pool.count()) of \(manufacture.poolSize).")
        }
    }

    /// Fills the pool; returns the number of the TPMs that were made, which is at most what the pool is to have.
    private func fill(
        _ pool: TPMPool,
        _ manufacture: Configuration.Manufacture,
        _ hostPaths: HostPaths
    ) throws(Failure) -> Int {
        let filling = try pool.fill()
        let trial = TrialStart(worker: hostPaths.program("vtpm-worker"))
        var (made, library) = (0, LibraryVersion?.none)
        while true {
            // Not for long: a change of the master key waits for it.
            let count = try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let demand = try PoolCommand.demand(host, hostPaths)
                return try filling.tidy(demand, to: manufacture.poolSize, library: library)
            }
            guard count < manufacture.poolSize, made < manufacture.poolSize else { return made }
            let (state, maker) = try trial.manufacture(keeping: manufacture.keys)
            library = maker
            try HostContext.withKeysLock(hostPaths, shared: true) { () throws(Failure) in
                let tpm = PooledTPM(state: state, keys: manufacture.keys, library: maker)
                try filling.add(tpm, PoolCommand.demand(host, hostPaths))
            }
            made += 1
        }
    }
}

struct PoolClear: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Throws away the TPMs of the pool, which no container has had."
    )

    func run() throws {
        try report("emptying the pool of TPMs") { () throws(Failure) in
            let count = try TPMPool(.current()).clear()
            try Output.write(line: "Threw away \(count) TPMs.")
        }
    }
}
