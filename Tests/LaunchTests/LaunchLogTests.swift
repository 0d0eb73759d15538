import CryptoDigests
import Launch
import Platform
import RuntimeControl
import Testing
import VTPMProxy

/// The event log, byte by byte.
struct LaunchLogTests {
    private let log = LaunchLog(
        launch: TaggedEvent.launch.encoded(Array("{}".utf8)),
        instance: TaggedEvent.instance.encoded(Array(#"{"run":"1"}"#.utf8))
    )

    @Test func itIsReadAsItWasWritten() throws {
        let bytes = try log.encoded()
        let read = try LaunchLog(reading: bytes, "it")
        #expect(read == log)
        #expect(read.launchStatement == Array("{}".utf8) && read.instanceStatement == Array(#"{"run":"1"}"#.utf8))
    }

    /// Another program has written it, by what the format says: `Tests/Fuzz/corpora`.
    @Test func theLogOfAnotherWriterIsTheSame() throws {
        let bytes = try Array(file("../Fuzz/Corpus/launch/log"))
        let read = try LaunchLog(reading: bytes, "it")
        #expect(read == log && log.launchStatement == Array("{}".utf8))
        #expect(try log.encoded() == bytes)
    }

    /// The header of TCG's: a first event in the older format, with what the others have.
    @Test func itBeginsWithWhatTheOthersHave() throws {
        let bytes = try log.encoded()
        #expect(bytes[0..<8].elementsEqual([0, 0, 0, 0, 3, 0, 0, 0]))
        #expect(bytes[8..<28].allSatisfy { $0 == 0 })
        #expect(bytes[28..<32].elementsEqual([45, 0, 0, 0]))
        #expect(bytes[32..<48].elementsEqual(Array("Spec ID Event03".utf8) + [0]))
        #expect(
            bytes[60..<76].elementsEqual([4, 0, 20, 0, 0x0b, 0, 32, 0, 0x0c, 0, 48, 0, 0x0d, 0, 64, 0])
        )
        // PCR 17, EV_EVENT_TAG, four digests, the first of which is SHA-1.
        #expect(bytes[77..<91].elementsEqual([17, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 4, 0]))
    }

    /// The tag and the size are digested as well, as the TPM digests them.
    @Test func anEventIsDigestedWithItsHeader() throws {
        let events = try log.events()
        #expect(events.map(\.pcr) == [17, 11, 18, 8])
        #expect(log.launch == Array("Ltvc".utf8) + [2, 0, 0, 0] + Array("{}".utf8))
        #expect(try events[0].digests == DigestAlgorithm.allCases.map { try $0.digest(log.launch) })
        #expect(events[0].digests == events[1].digests && events[2].digests == events[3].digests)
    }

    /// A verifier reads what a tenant may have written.
    @Test func everyOtherByteIsRefused() throws {
        let bytes = try log.encoded()
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 0x40
            #expect(throws: Failure.self, "byte \(index)") { try LaunchLog(reading: other, "it") }
        }
        for count in bytes.indices {
            #expect(throws: Failure.self, "\(count) bytes") { try LaunchLog(reading: Array(bytes[..<count]), "it") }
        }
        #expect(throws: Failure.self) { try LaunchLog(reading: bytes + [0], "it") }
    }

    @Test func sizesThatLeadOutOfItAreRefused() throws {
        let bytes = try log.encoded()
        // The size of the first event's data.
        let offset = 77 + 12 + 4 * 2 + 20 + 32 + 48 + 64
        for size: [UInt8] in [[0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0xff, 0x7f], [0, 0, 4, 0], [0, 0, 0, 0]] {
            var other = bytes
            other.replaceSubrange(offset..<offset + 4, with: size)
            let failure = #expect(throws: Failure.self) { try LaunchLog(reading: other, "it") }
            #expect(failure?.description == "cannot read it: it is no launch log of this project's")
        }
    }
}
