import Platform
import TestSupport
import Testing

@testable import RuntimeState

@Suite struct StateDirectoryNameTests {
    @Test(arguments: [
        ("web", "web"), ("a.b-c_D9", "a.b-c_D9"), (".", "%2E"), ("..", "%2E."), (".new-web", "%2Enew-web"),
        ("a/b", "a%2Fb"), ("%2F", "%252F"), ("ü", "%C3%BC"), ("a b", "a%20b"), ("\n", "%0A"), ("%-", "%25-"),
    ])
    func encodes(stateID: String, expected: String) throws {
        #expect(try StateDirectoryName.encoded(stateID) == expected)
    }

    @Test func encodesLongOnesByTheirHash() throws {
        // The digest is sha256sum's.
        let name = String(repeating: "a", count: 150)
        #expect(
            try StateDirectoryName.encoded(String(repeating: "a", count: 240)) == String(repeating: "a", count: 240)
        )
        #expect(
            try StateDirectoryName.encoded(String(repeating: "a", count: 241)) == name + "%-"
                + "ec6e326ef29fe322b62111584194c54efc8c4b6c25f098b24fa742a3918abf6f"
        )
    }

    @Test(arguments: ["a", "/", "é", "e\u{301}", "\u{301}", "😀", "\0"])
    func everyLengthUpToTheLimitHasAName(unit: String) throws {
        var seen: Set<[UInt8]> = []
        let most = StateDirectoryName.identifierLimit / unit.utf8.count
        for count in Array(1...100) + Array(235...245) + [most - 1, most] {
            let name = try StateDirectoryName.encoded(String(repeating: unit, count: count))
            #expect(name.utf8.count <= StateDirectoryName.lengthLimit && name.utf8.allSatisfy { $0 < 0x80 })
            #expect(seen.insert(Array(name.utf8)).inserted)
        }
    }

    @Test func refusesWhatIsNoStateID() throws {
        #expect(throws: Failure("cannot use \"\" as a state ID", because: "it is empty")) {
            try StateDirectoryName.encoded("")
        }
        for unit in ["a", "\n", "\u{301}"] {
            let stateID = String(repeating: unit, count: StateDirectoryName.identifierLimit + 1)
            let error = #expect(throws: Failure.self) { try StateDirectoryName.encoded(stateID) }
            let line = try #require(error).description
            let shown = String(repeating: unit == "\n" ? "?" : unit, count: 64)
            #expect(line.utf8.starts(with: "cannot use \"\(shown)\" as a state ID: it has ".utf8), "\(line)")
            #expect(line.hasSuffix(" bytes, more than 4096"))
        }
    }

    @Test func twoIDsNeverShareADirectory() throws {
        var generator = SeededGenerator(seed: 1)
        let alphabet = [".", "/", "%", "-", "2", "F", "a", "A", "ü", "e\u{301}", "é", "\u{301}", " ", "\0", "🂡"]
        var seen: [String: [UInt8]] = [:]
        for number in 0..<20_000 {
            let length =
                number % 20 == 0
                ? Int.random(in: 60...250, using: &generator) : Int.random(in: 1...6, using: &generator)
            let id = (0..<length).map { _ in alphabet.randomElement(using: &generator) ?? "" }.joined()
            let name = try StateDirectoryName.encoded(id)
            #expect(!name.contains("/") && name != "." && name != ".." && !name.hasPrefix("."))
            // As bytes: Swift takes texts for equal that are written in different bytes.
            if let other = seen[name] { #expect(other == Array(id.utf8)) }
            seen[name] = Array(id.utf8)
        }
    }

    /// One scalar's difference anywhere in an ID, be it as long as it may, makes another name.
    @Test func oneDifferenceMakesAnotherName() throws {
        var generator = SeededGenerator(seed: 2)
        for _ in 0..<300 {
            var scalars = (0..<Int.random(in: 1...1000, using: &generator)).map { _ in randomScalar(&generator) }
            let before = String(String.UnicodeScalarView(scalars))
            let name = try StateDirectoryName.encoded(before)
            let index = Int.random(in: 0..<scalars.count, using: &generator)
            let other = randomScalar(&generator)
            guard other != scalars[index] else { continue }
            scalars[index] = other
            #expect(try StateDirectoryName.encoded(String(String.UnicodeScalarView(scalars))) != name)
        }
    }

    /// The forms that Swift takes for equal are different IDs all the same.
    @Test(arguments: [("é", "e\u{301}"), ("Å", "\u{212B}"), ("한", "\u{1112}\u{1161}\u{11AB}"), ("\u{212A}", "K")])
    func equivalentIDsAreDifferent(one: String, other: String) throws {
        #expect(one == other)
        for count in [1, 300] {
            let names = try [one, other].map { try StateDirectoryName.encoded(String(repeating: $0, count: count)) }
            #expect(names[0] != names[1])
        }
    }

    /// A plain name is never that of a long ID, whatever the ID is made of.
    @Test func noPlainNameLooksLikeALongOnes() throws {
        let long = try StateDirectoryName.encoded(String(repeating: "b", count: 1000))
        for id in [long, "%-" + long, String(long.dropFirst())] { #expect(try StateDirectoryName.encoded(id) != long) }
        for byte in UInt8(0)...127 {
            let name = try StateDirectoryName.encoded("%-" + String(Unicode.Scalar(byte)) + "-%-")
            #expect(!name.contains("%-"))
        }
    }

    private func randomScalar(_ generator: inout SeededGenerator) -> Unicode.Scalar {
        while true {
            // Every length of UTF-8 equally often.
            let range: ClosedRange<UInt32>? = [0...0x7f, 0x80...0x7ff, 0x800...0xffff, 0x10000...0x10ffff]
                .randomElement(using: &generator)
            let value = UInt32.random(in: range ?? 0...0x7f, using: &generator)
            if let scalar = Unicode.Scalar(value) { return scalar }
        }
    }
}
