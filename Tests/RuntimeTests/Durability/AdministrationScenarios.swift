import Glibc
import Platform
import RuntimeAdministration
import Testing

@testable import RuntimeState

/// What `vtpmctl` does to states. After a crash the same command is given again, which completes it.
extension Scenario {
    static let administration = [
        Scenario(
            name: "a rename",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                host.promise(.holds(state: "web", .fresh, generation: 0))
                host.promise(.begins(state: "db", .content("one")))
            },
            run: { (host) throws(Failure) in
                try host.repository().rename("web", to: "db")
                host.promise(.holds(state: "db", .content("one"), generation: 1))
            },
            repair: { (host) throws(Failure) in
                if try host.isUnfinished("web", "one") { try host.repository().rename("web", to: "db") }
                let found = try host.find("db").outcome
                guard found == .content("one") || found == .content("again") else {
                    throw Failure("cannot find the renamed state", because: "it is \(found)")
                }
            }
        ),
        Scenario(
            name: "a purge",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                try host.runContainer("db", writing: ["first"])
                host.promise(.holds(state: "web", .fresh, generation: 0))
            },
            run: { (host) throws(Failure) in try host.repository().purge("web") },
            repair: { (host) throws(Failure) in
                if try host.isUnfinished("web", "one") { try host.repository().purge("web") }
            }
        ),
        Scenario(
            name: "a reset",
            states: ["web"],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                _ = try openOwnDirectory("\(host.root)/quarantine")
                host.promise(.holds(state: "web", .fresh, generation: 0))
            },
            run: { (host) throws(Failure) in
                _ = try host.repository().reset("web", to: Quarantine("\(host.root)/quarantine"))
            },
            repair: { (host) throws(Failure) in
                let quarantine = Quarantine("\(host.root)/quarantine")
                if try host.isUnfinished("web", "one") {
                    _ = try host.repository().reset("web", to: quarantine)
                }
                guard try quarantine.list().contains(where: { $0.stateID == "web" && $0.generation == 1 }) else {
                    throw Failure("cannot find the old state", because: "it is not in quarantine")
                }
            }
        ),
        Scenario(name: "an import", states: ["web"]) { (host) throws(Failure) in
            host.promise(.begins(state: "web", .content("one")))
            let permanent = try SecretBytes(capacity: 3)
            _ = permanent.append(copying: Array("one".utf8))
            try host.repository().importState("web", permanent)
            host.promise(.holds(state: "web", .content("one"), generation: 1))
            host.promise(.remembers(state: "web", generation: 1))
        },
        Scenario(
            name: "another key for everything",
            states: ["db", "web"],
            keysAfterwards: [2, 1],
            keysInTheEnd: [2],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one"])
                try host.runContainer("db", writing: [large("f")])
            },
            run: { (host) throws(Failure) in
                host.keys = [2, 1]
                try host.rotate()
            },
            repair: { (host) throws(Failure) in try host.rotate() }
        ),
        Scenario(
            name: "a state that is accepted",
            states: ["web"],
            before: { (host) throws(Failure) in
                try host.runContainer("web", writing: ["one", "two"])
                try host.index().transact { (records) throws(Failure) in
                    try records.update("web") { $0.generation = 99 }
                }
                host.promise(.holds(state: "web", .refused("older than the last one seen"), generation: 0))
                host.promise(.remembers(state: "web", generation: 0))
                host.promise(.begins(state: "web", .content("two")))
            },
            run: { (host) throws(Failure) in
                try host.repository().accept("web")
                host.promise(.holds(state: "web", .content("two"), generation: 2))
            },
            repair: { (host) throws(Failure) in try host.repository().accept("web") }
        ),
        Scenario(
            name: "all states accepted, with a counter",
            states: ["db", "web"],
            before: { (host) throws(Failure) in
                host.addCounter()
                try host.runContainer("web", writing: ["one"])
                try host.runContainer("db", writing: ["first"])
            },
            run: { (host) throws(Failure) in _ = try host.repository().acceptAll() },
            repair: { (host) throws(Failure) in _ = try host.repository().acceptAll() }
        ),
    ]
}

extension HostUnderTest {
    /// All of `vtpmctl key rotate` but for the keys' own files.
    fileprivate func rotate() throws(Failure) {
        let rotation = KeyRotation(
            try repository(),
            quarantine: Quarantine("\(root)/quarantine"),
            leases: "\(root)/run"
        )
        if let refused = try rotation.run(timeout: 1000).refused.first { throw refused }
        guard try rotation.remaining() == [] else { throw Failure("cannot rotate", because: "states remain") }
    }

    /// Whether what was done to a state with this content has to be done again: a new one, which a start has made since,
    /// is none of its business.
    fileprivate func isUnfinished(_ stateID: String, _ content: String) throws(Failure) -> Bool {
        let name = try StateDirectoryName.encoded(stateID)
        let entry = try index().entry(name)
        if let entry, !entry.renamedTo.isEmpty { return true }
        if entry == nil { return access("\(root)/states/\(name)/state", F_OK) == 0 }
        let permanent = try? repository().exportState(stateID)
        return permanent?.withBytes { String(decoding: $0, as: UTF8.self) } == content
    }
}
