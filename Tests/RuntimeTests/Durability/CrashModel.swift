import Glibc
import Platform
import TestSupport

@testable import RuntimeState

/// Where in a recording the power fails, and what the disk makes of what it was not asked to keep.
struct CrashPoint: CustomStringConvertible {
    enum Luck: Equatable {
        /// All that was not synced is lost.
        case lost
        /// All is kept: what a process finds that is started again after it was killed.
        case kept
        /// All names are kept, and nothing of a file's content that was not synced.
        case namesKept
        /// All is kept but the changes of this directory that were not synced.
        case lostIn(Recording.Node)
        /// Anything that may happen, chosen by this seed.
        case any(UInt64)
    }

    /// So many events were begun and ended.
    var events: Int
    /// So many bytes of the next one, a write, have got into the file.
    var written: Int?
    var luck: Luck

    var description: String {
        "after \(events) events" + (written.map { " and \($0) bytes" } ?? "") + ", luck: \(luck)"
    }
}

/// What can be on a disk after a power failure.
///
/// What is assumed is what POSIX promises and no more:
/// - A file's content is on stable storage as it was at its last fsync(2). Whatever was written or truncated since may be
///   there in any part, at any length, with zeros where a block was allotted and not written.
/// - A write over what is on stable storage, which leaves the file's length, may be there in any part. What it does not
///   write over stays: disks write whole sectors, and of each either the old or the new content is there. A state's file
///   is written in sectors of 512 bytes; the index's files need not even that.
/// - A directory's entries are on stable storage as they were at its last fsync. Each change since may be there or not,
///   whatever became of those before and after it. That a file was synced says nothing about its name.
/// - rename(2) within a directory is one change: never both names, never none. Between two directories it is one change
///   of each, of which either may be there without the other: what was moved can be found twice or not at all.
/// - A directory that has no name any more is lost with all in it.
struct CrashModel {
    /// A file, or a directory, as it is on stable storage and as processes see it.
    private enum Object {
        case file(stable: [UInt8], current: [UInt8], isOverwritten: Bool = false)
        case directory(stable: [String: Recording.Node], pending: [Change])
    }

    /// A change of one directory's entries, all of it or nothing.
    private typealias Change = [(name: String, node: Recording.Node?)]

    private var objects: [Recording.Node: Object] = [:]
    /// What was promised to whom.
    private(set) var promises = Promises()

    /// The disk and the promises at one moment.
    init(_ recording: Recording, at point: CrashPoint) {
        for (node, contents) in recording.base {
            objects[node] =
                switch contents {
                case .file(let bytes): .file(stable: bytes, current: bytes)
                case .directory(let names): .directory(stable: names, pending: [])
                }
        }
        for event in recording.events.prefix(point.events) { apply(event) }
        if let written = point.written { apply(recording.events[point.events].cut(after: written)) }
    }

    private mutating func apply(_ event: Recording.Event) {
        switch event {
        case .create(let node, let place):
            objects[node] = .file(stable: [], current: [])
            change(place.directory, [(place.name, node)])
        case .makeDirectory(let node, let place):
            objects[node] = .directory(stable: [:], pending: [])
            change(place.directory, [(place.name, node)])
        case .truncate(let node):
            if case .file(let stable, _, _) = objects[node] { objects[node] = .file(stable: stable, current: []) }
        case .write(let node, let bytes):
            if case .file(let stable, let current, _) = objects[node] {
                objects[node] = .file(stable: stable, current: current + bytes)
            }
        case .overwrite(let node, let offset, let bytes):
            if case .file(let stable, var current, _) = objects[node] {
                let missing = offset + bytes.count - current.count
                if missing > 0 { current += [UInt8](repeating: 0, count: missing) }
                current.replaceSubrange(offset..<offset + bytes.count, with: bytes)
                objects[node] = .file(stable: stable, current: current, isOverwritten: true)
            }
        case .synchronize(let node):
            switch objects[node] {
            case .file(_, let current, _): objects[node] = .file(stable: current, current: current)
            case .directory(let stable, let pending):
                objects[node] = .directory(stable: Self.entries(stable, pending), pending: [])
            case .none: break
            }
        case .rename(let node, let from, let to) where from.directory == to.directory:
            change(from.directory, [(from.name, nil), (to.name, node)])
        case .rename(let node, let from, let to):
            change(from.directory, [(from.name, nil)])
            change(to.directory, [(to.name, node)])
        case .link(let node, let place):
            change(place.directory, [(place.name, node)])
        case .remove(let place):
            change(place.directory, [(place.name, nil)])
        case .promise(let promise):
            promises.add(promise)
        }
    }

    private mutating func change(_ directory: Recording.Node, _ change: Change) {
        guard case .directory(let stable, let pending) = objects[directory] else { return }
        objects[directory] = .directory(stable: stable, pending: pending + [change])
    }

    private static func entries(
        _ stable: [String: Recording.Node],
        _ changes: [Change]
    ) -> [String: Recording.Node] {
        var entries = stable
        for change in changes { for (name, node) in change { entries[name] = node } }
        return entries
    }

    /// The directories that have changes which were not synced, in order.
    var unsynced: [Recording.Node] {
        objects.filter { if case .directory(_, let pending) = $0.value { !pending.isEmpty } else { false } }.keys
            .sorted()
    }

    // MARK: - What is left

    /// Writes what is left into an empty directory.
    func materialize(_ luck: CrashPoint.Luck, in path: String) throws(Failure) {
        var generator = SeededGenerator(seed: 0)
        if case .any(let seed) = luck { generator = SeededGenerator(seed: seed) }
        try materialize(Recording.root, luck, &generator, in: path)
    }

    private func materialize(
        _ directory: Recording.Node,
        _ luck: CrashPoint.Luck,
        _ generator: inout SeededGenerator,
        in path: String
    ) throws(Failure) {
        guard case .directory(let stable, let pending) = objects[directory] else { return }
        let odds = [0.1, 0.5, 0.9].randomElement(using: &generator) ?? 0.5
        let kept = pending.filter { _ in
            switch luck {
            case .lost: false
            case .kept, .namesKept: true
            case .lostIn(let unlucky): directory != unlucky
            case .any: Double.random(in: 0..<1, using: &generator) < odds
            }
        }
        // In order, so that a seed gives the same disk each time.
        for (name, node) in Self.entries(stable, kept).sorted(by: { $0.key < $1.key }) {
            let own = "\(path)/\(name)"
            switch objects[node] {
            case .file(let stable, let current, let isOverwritten):
                let content =
                    switch luck {
                    case .lost, .namesKept: stable
                    case .kept, .lostIn: current
                    case .any where isOverwritten:
                        Self.mixed(stable, current, least: name == StateStore.fileName ? 512 : 1, &generator)
                    case .any: Self.torn(stable, current, &generator)
                    }
                try Descriptor.open(own, OpenOptions(O_WRONLY | O_CREAT | O_EXCL, mode: 0o600)).writeAll(content, own)
            case .directory:
                try systemCall("mkdir", "cannot create \(own)") { mkdir(own, 0o700) }
                try materialize(node, luck, &generator, in: own)
            case .none: break
            }
        }
    }

    /// Any mixture of what a file was and what was written over it.
    private static func mixed(
        _ stable: [UInt8],
        _ current: [UInt8],
        least: Int,
        _ generator: inout SeededGenerator
    ) -> [UInt8] {
        let block = [1, 16, 64, 512, 4096].filter { $0 >= least }.randomElement(using: &generator) ?? least
        // What goes beyond the old end may be there or not, with zeros where a block was allotted and not written.
        let size = Int.random(in: stable.count...max(stable.count, current.count), using: &generator)
        var result = stable + [UInt8](repeating: 0, count: size - stable.count)
        let current = current.prefix(size)
        for start in stride(from: 0, to: size, by: block) where Bool.random(using: &generator) {
            let range = start..<min(start + block, size, max(start, current.count))
            result.replaceSubrange(range, with: current[range])
        }
        return result
    }

    /// Any mixture of what a file was and what it was to be.
    private static func torn(
        _ stable: [UInt8],
        _ current: [UInt8],
        _ generator: inout SeededGenerator
    ) -> [UInt8] {
        guard stable != current else { return stable }
        let longest = max(stable.count, current.count)
        let size =
            [stable.count, current.count, Int.random(in: 0...longest, using: &generator)]
            .randomElement(using: &generator) ?? 0
        let block = [1, 16, 64, 512, 4096].randomElement(using: &generator) ?? 1
        // Each block from one of three sources; or all of one source up to a byte, and of another from there on.
        let isMixed = Bool.random(using: &generator)
        let seam = Int.random(in: 0...longest, using: &generator)
        let ends = [Int.random(in: 0..<3, using: &generator), Int.random(in: 0..<3, using: &generator)]
        var result: [UInt8] = []
        var source = 0
        for index in 0..<size {
            if isMixed {
                if index % block == 0 { source = Int.random(in: 0..<3, using: &generator) }
            } else {
                source = ends[index < seam ? 0 : 1]
            }
            switch source {
            case 0: result.append(index < current.count ? current[index] : 0)
            case 1: result.append(index < stable.count ? stable[index] : 0)
            default: result.append(0)
            }
        }
        return result
    }
}
