import Glibc
import Platform
import RuntimeKeys

/// A program of the operator's that signs certificates: it reads requests from its standard input, a line each, and writes a
/// certificate in PEM for each to its standard output.
///
/// It is trusted like this program, and runs beside the certificate authority, which speaks to it over a stream.
final class SigningProgram {
    /// The authority's end of the stream.
    let stream: Descriptor
    private var child: ChildProcess?

    /// How long it may take to end once nothing more is asked for, and once it is told to end, in milliseconds.
    private static let endTimeout = 2000
    /// The whole environment of the program, without the variables for our own programs.
    private static let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]

    /// Starts the program; its standard error is discarded.
    init(_ command: [String]) throws(Failure) {
        let what = "cannot start the signer \(command[0])"
        try TrustedProgram(path: command[0], what: what).check()
        var ends: [CInt] = [-1, -1]
        let type = CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
        try systemCall("socketpair", what) { socketpair(AF_UNIX, type, 0, &ends) }
        stream = Descriptor(owning: ends[0])
        let far = Descriptor(owning: ends[1])
        var launch = ProgramLaunch(command[0], command, environment: Self.environment)
        launch.standardInput = far.number
        launch.standardOutput = far.number
        // What it has started ends with it.
        launch.ownSession = true
        child = try launch.start()
    }

    /// Ends it, and what it has started: first by the end of its input, then by SIGTERM, then by SIGKILL.
    func end() {
        _ = shutdown(stream.number, CInt(SHUT_RDWR))
        switch child.take() {
        case .none: break
        case .some(let child):
            let (process, number) = (child.process, child.reference.descriptor.number)
            for signal in [SIGTERM, SIGKILL] {
                if (try? wait(for: number, until: Deadline(milliseconds: Self.endTimeout))) ?? 0 != 0 { break }
                // Its session, which is its own; it is not reaped yet, so the number is still its.
                Glibc.kill(-process, signal)
            }
            // Also of one that has ended something may be left.
            Glibc.kill(-process, SIGKILL)
            _ = try? child.end()
        }
    }

    deinit { end() }
}
