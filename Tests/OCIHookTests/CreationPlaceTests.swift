import Foundation
import Glibc
import Platform
import Testing

@testable import OCIHook

/// Places for creations, on a file that stands in for `/dev/vtpmx`.
@Suite final class CreationPlaceTests {
    private let path = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path

    deinit { unlink(path) }

    private func open() throws(Failure) -> Descriptor {
        try .open(path, OpenOptions(O_RDWR | O_CREAT, mode: 0o600))
    }

    @Test func `there are so many places and no more`() throws {
        let first = try open()
        let second = try open()
        try CreationPlace.take(on: first, of: 2)
        do {
            let last = try open()
            try CreationPlace.take(on: last, of: 2, until: Deadline(milliseconds: 0))
            let error = #expect(throws: Failure.self) {
                try CreationPlace.take(on: second, of: 2, until: Deadline(milliseconds: 20))
            }
            #expect(error?.why.contains("too many other containers") == true)
        }
        // A place is free again when its file is closed, however its process ended.
        try CreationPlace.take(on: second, of: 2, until: Deadline(milliseconds: 0))
        let late = try open()
        #expect(throws: Failure.self) { try CreationPlace.take(on: late, of: 2, until: Deadline(milliseconds: 0)) }
        withExtendedLifetime(path) {}
        _ = (first.number, second.number)
    }
}
