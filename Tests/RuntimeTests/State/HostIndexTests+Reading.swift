import Testing

@testable import RuntimeState

// What the index says of its counter.
extension HostIndexTests {
    @Test func aCounterIsToldWithTheValueOfTheIndex() throws {
        #expect(try index().counterReading() == nil)
        try set(3, in: index(counter: counter))
        let first = try #require(try index(counter: counter).counterReading())
        #expect(first.identity == counter.identity && first.value == counter.value)
        try set(4, in: index(counter: counter))
        let second = try #require(try index(counter: counter).counterReading())
        #expect(second.value == first.value + 1 && second.value == counter.value)
    }

    @Test func anIndexWithoutACounterTellsOfNone() throws {
        try set(3, in: index())
        #expect(try index().counterReading() == nil)
    }
}
