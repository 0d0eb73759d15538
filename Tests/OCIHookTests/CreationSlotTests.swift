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
        // A slot is free again when its file is closed, however its process ended. The process of another test can
        // be forked while the file is open: its copy holds the slot until it executes another program.
        try CreationSlot.acquire(on: second, of: 2, until: Deadline(milliseconds: 60_000))
        let late = try open()
        #expect(try !CreationSlot.tryAcquire(on: late, of: 2))
        withExtendedLifetime(path) {}
        _ = (first.number, second.number)
    }

    /// Whichever slot it sleeps for, any that becomes free is its own.
    @Test(arguments: [0, 1]) func `a slot is had whichever becomes free`(free: Int) throws {
        var holders = [Holder(try open()), Holder(try open())]
        let third = try open()
        for (slot, holder) in holders.enumerated() { #expect(try holder.take(slot)) }
        var looks = 0
        try CreationSlot.acquire(on: third, of: 2, until: Deadline(milliseconds: 60_000)) { () throws(Failure) in
            looks += 1
            // By the second it has been asleep.
            if looks == 2 { holders[free].release() }
        }
        #expect(looks >= 2)
        let late = try open()
        #expect(try !CreationSlot.tryAcquire(on: late, of: 2))
        holders = []
        withExtendedLifetime(third.number) {}
    }

    /// An open file that holds a slot.
    private final class Holder {
        private var file: Descriptor?

        init(_ file: consuming Descriptor) { self.file = consume file }

        func take(_ slot: Int) throws(Failure) -> Bool {
            switch file {
            case .some(let file): try file.tryLock(byte: slot, "cannot take a slot")
            case .none: false
            }
        }

        func release() { file = nil }
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
