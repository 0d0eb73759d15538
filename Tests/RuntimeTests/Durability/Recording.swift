import Platform

/// What was done to a disk, in order, and what was promised to whom in between.
struct Recording {
    /// A file or directory, whatever its names are; inode numbers are given out again, these are not.
    typealias Node = Int

    /// A name in a directory.
    struct Place: Equatable {
        var directory: Node
        var name: String
    }

    enum Event {
        case create(Node, Place)
        case makeDirectory(Node, Place)
        case truncate(Node)
        case write(Node, [UInt8])
        case overwrite(Node, Int, [UInt8])
        case synchronize(Node)
        case rename(Node, from: Place, to: Place)
        case link(Node, Place)
        case remove(Place)
        case promise(Promise)
    }

    /// The directory that all is in.
    static let root: Node = 0

    /// What was on the disk before, all of it on stable storage.
    var base: [Node: Contents] = [root: .directory([:])]
    var events: [Event] = []

    enum Contents {
        case file([UInt8])
        case directory([String: Node])
    }
}

extension Recording.Event {
    /// The bytes of a write, which a power failure can cut short; nil for all else.
    var written: [UInt8]? {
        switch self {
        case .write(_, let bytes), .overwrite(_, _, let bytes): bytes
        default: nil
        }
    }

    /// The same event with the first bytes of a write alone; of a slot, with its first whole sectors.
    func cut(after count: Int) -> Recording.Event {
        switch self {
        case .write(let node, let bytes): .write(node, Array(bytes.prefix(count)))
        case .overwrite(let node, let offset, let bytes) where bytes.count % 512 == 0 && offset % 512 == 0:
            .overwrite(node, offset, Array(bytes.prefix(count / 512 * 512)))
        case .overwrite(let node, let offset, let bytes): .overwrite(node, offset, Array(bytes.prefix(count)))
        default: self
        }
    }
}

extension Recording.Event: CustomStringConvertible {
    var description: String {
        switch self {
        case .create(let node, let place): "create \(node) as \(place.directory)/\(place.name)"
        case .makeDirectory(let node, let place): "make directory \(node) as \(place.directory)/\(place.name)"
        case .truncate(let node): "truncate \(node)"
        case .write(let node, let bytes): "write \(bytes.count) bytes to \(node)"
        case .overwrite(let node, let offset, let bytes): "write \(bytes.count) bytes to \(node) at \(offset)"
        case .synchronize(let node): "sync \(node)"
        case .rename(let node, let from, let to):
            "rename \(node) from \(from.directory)/\(from.name) to \(to.directory)/\(to.name)"
        case .link(let node, let place): "link \(node) as \(place.directory)/\(place.name)"
        case .remove(let place): "remove \(place.directory)/\(place.name)"
        case .promise(let promise): "\(promise)"
        }
    }
}

/// How a state can be found.
enum Outcome: Hashable {
    /// To be manufactured: nothing was ever promised.
    case fresh
    /// Complete, with this content.
    case content(String)
    /// Refused, with a reason that has these words in it.
    case refused(String)
}

/// What somebody was told, or may find without having been told.
enum Promise {
    /// An operation began: from now on the state may be found like this, too.
    case begins(state: String, Outcome)
    /// It ended: from now on the state is found like this and not otherwise, and not before this generation.
    case holds(state: String, Outcome, generation: UInt64)
    /// The index remembers this generation of the state, or a later one.
    case remembers(state: String, generation: UInt64)
    /// The host has these master keys and no others, by their bytes, the current one first.
    case keys([UInt8])
    /// The host TPM's counter has this value; it needs no disk.
    case counter(RecordingCounter.Value)
}

/// All promises up to one moment.
struct Promises {
    private var outcomes: [String: Set<Outcome>] = [:]
    private var generations: [String: UInt64] = [:]
    private(set) var remembered: [String: UInt64] = [:]
    private(set) var keys: [UInt8]?
    private(set) var counter = RecordingCounter.Value()

    func outcomes(of state: String) -> Set<Outcome> { outcomes[state] ?? [.fresh] }

    func generation(of state: String) -> UInt64 { generations[state] ?? 0 }

    mutating func add(_ promise: Promise) {
        switch promise {
        case .begins(let state, let outcome):
            outcomes[state, default: [.fresh]].insert(outcome)
        case .holds(let state, let outcome, let generation):
            outcomes[state] = [outcome]
            generations[state] = generation
            // A state that begins anew is not remembered as what it was.
            if outcome == .fresh { remembered[state] = nil }
        case .remembers(let state, let generation):
            remembered[state] = generation
        case .keys(let bytes):
            keys = bytes
        case .counter(let value):
            counter = value
        }
    }
}
