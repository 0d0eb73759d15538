import Foundation
import Platform
import Testing

@testable import RuntimeState

/// A fixture: threads that use a host's states, as supervisors do, until they are stopped.
final class StatesUnderLoad: @unchecked Sendable {
    private let lock = NSLock()
    private var isStopped = false
    private var acknowledged: [String: Int] = [:]
    private var failures: [String] = []
    private var threads: [Thread] = []

    /// What was acknowledged last, by the IDs of the states; each content is a number.
    func acknowledgedSoFar() -> [String: Int] { lock.withLock { acknowledged } }

    /// The content with a number: of several pages, so that a reader can come in between.
    static func content(_ number: Int) -> [UInt8] {
        Array("\(number)\n".utf8) + [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 40_000)
    }

    static func number(in payload: StatePayload) -> Int? {
        payload.permanent.withBytes { bytes in
            let digits = bytes.prefix { $0 != UInt8(ascii: "\n") }
            guard let number = Int(String(decoding: digits, as: UTF8.self)) else { return nil }
            return bytes.elementsEqual(content(number)) ? number : nil
        }
    }

    /// Writes a state again and again; with `restarting`, also starts and stops its TPM again and again.
    func write(_ stateID: String, of host: HostWithStates, _ keys: KeyRing, restarting: Bool = false) throws {
        var store: StateStore? = try host.open(stateID, keys).store
        begin { load in
            var number = 0
            while load.goesOn {
                if store == nil { store = try host.open(stateID, keys).store }
                for _ in 0..<(restarting ? 3 : 100) where load.goesOn {
                    number += 1
                    let payload = StatePayload(permanent: try secretCopy(of: Self.content(number)), isComplete: true)
                    try store?.write(payload)
                    load.lock.withLock { load.acknowledged[stateID] = number }
                }
                if restarting {
                    try store?.recordUse()
                    store = nil
                }
            }
        }
        // What was there before is no content of ours.
        while acknowledgedSoFar()[stateID] == nil, lock.withLock({ failures.isEmpty }) { sleep(milliseconds: 1) }
    }

    /// Runs `body` again and again.
    func `repeat`(_ body: @escaping () throws -> Void) {
        begin { load in while load.goesOn { try body() } }
    }

    private var goesOn: Bool { lock.withLock { !isStopped } }

    /// What a thread does; nothing that it has is used by two threads.
    private struct Work: @unchecked Sendable {
        let body: (StatesUnderLoad) throws -> Void
    }

    private func begin(_ body: @escaping (StatesUnderLoad) throws -> Void) {
        let work = Work(body: body)
        let thread = Thread { [self] in
            do { try work.body(self) } catch { lock.withLock { failures.append("\(error)") } }
        }
        threads.append(thread)
        thread.start()
    }

    /// Ends all threads; returns their errors.
    func stop() -> [String] {
        lock.withLock { isStopped = true }
        for thread in threads { while !thread.isFinished { sleep(milliseconds: 1) } }
        return failures
    }
}
