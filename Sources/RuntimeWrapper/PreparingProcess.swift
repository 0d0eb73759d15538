import CLinux
import Glibc
import Platform
import RuntimeControl

/// A process of the hook's program that makes a vTPM for this one, which becomes another program afterwards.
///
/// It is no child of this process, since what this process becomes waits for all of its children.
package struct PreparingProcess {
    private let channel: Channel

    /// The timeout for the answer, in milliseconds; each of its steps has a shorter one of its own.
    private static let timeout = 240_000

    /// Starts the process, for the program of this name.
    ///
    /// The end of its channel is closed here, so that its end is noticed.
    package init(_ arguments: [String], of name: String) throws(Failure) {
        let pair = try Channel.pair(near: name, far: "preparing process")
        var launch = ProgramLaunch(try HostPaths.current().program("vtpm-hook"), ["vtpm-hook"] + arguments)
        launch.passed = [pair.far.descriptor.number]
        launch.ownSession = true
        try launch.startDetached()
        channel = pair.near
    }

    /// Tells it that this process is ready.
    package func send(_ notice: CommandNotice) throws(Failure) { try channel.send(notice) }

    /// How long a person waits without being told why, in milliseconds.
    private static let patience = 1000

    /// Waits for the answer.
    ///
    /// - Parameters:
    ///   - what: What fails without an answer.
    ///   - isLate: Called once if the answer takes more than a second.
    /// - Throws: What was refused, or EPIPE if the process ended without a word.
    package func awaitAnswer(_ what: String, isLate: () -> Void = {}) throws(Failure) {
        let deadline = Deadline(milliseconds: Self.timeout)
        if try wait(for: channel.descriptor.number, until: Deadline(milliseconds: Self.patience)) == 0 { isLate() }
        guard try wait(for: channel.descriptor.number, until: deadline) != 0 else {
            throw Failure(what, because: "nothing answers within \(Self.timeout / 1000) s")
        }
        guard let message = try channel.receive(into: Channel.makeBuffer()) else {
            throw Failure(what, because: "the preparing process ended", code: EPIPE, hint: "see the system log")
        }
        switch PreparationReply(message) {
        case .prepared, .nothing: return
        case .failure(let failure): throw failure
        case .none: throw Failure(what, because: "the preparing process's answer makes no sense")
        }
    }
}
