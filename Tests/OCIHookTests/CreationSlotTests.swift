import Foundation
import Glibc
import Platform
import Testing

@testable import OCIHook

/// Slots for creations, on a file that stands in for `/dev/vtpmx`.
@Suite final class CreationSlotTests {
    private let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path

    deinit { unlink(path) }

    private func open() throws(Failure) -> Descriptor {
        try .open(path, OpenOptions(O_RDWR | O_CREAT, mode: 0o600))
    }

    @Test func `there are so many slots and no more`() throws {
        let first = try open()
        let second = try open()
        #expect(try CreationSlot.tryAcquire(on: first, of: 2))
        do {
            let last = try open()
            #expect(try CreationSlot.tryAcquire(on: last, of: 2))
            #expect(try !CreationSlot.tryAcquire(on: second, of: 2))
            let error = #expect(throws: Failure.self) {
                try CreationSlot.acquire(on: second, of: 2, until: Deadline(milliseconds: 20))
            }
            #expect(error?.why.contains("too many other containers") == true)
        }
        // A slot is free again when its file is closed, however its process ended.
        try CreationSlot.acquire(on: second, of: 2, until: Deadline(milliseconds: 0))
        let late = try open()
        #expect(try !CreationSlot.tryAcquire(on: late, of: 2))
        withExtendedLifetime(path) {}
        _ = (first.number, second.number)
    }

    @Test func `nothing is waited for once there is nothing to wait for`() throws {
        let first = try open()
        let second = try open()
        #expect(try CreationSlot.tryAcquire(on: first, of: 1))
        let error = #expect(throws: Failure.self) {
            try CreationSlot.acquire(on: second, of: 1, until: Deadline(milliseconds: 60_000)) { () throws(Failure) in
                throw Failure("cannot go on", because: "the container is gone")
            }
        }
        #expect(error?.description == "cannot go on: the container is gone")
    }

    @Test(arguments: [
        (nil, 100), (60, 45), (120, 105), (30, 15), (20, 10), (1, 0), (0, 0), (-5, 0), (Int.max, 86_385),
    ])
    func `it is waited for while the runtime waits`(timeout: Int?, seconds: Int) {
        #expect(CreationSlot.timeout(ofHook: timeout) == seconds * 1000)
    }
}
