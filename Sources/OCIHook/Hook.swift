import Glibc
import Platform

/// The hook program.
public enum Hook {
    /// The stages of a container's life that the hook has a part in, as the configuration names them.
    public enum Stage: String, CaseIterable, Sendable {
        /// runtime-spec, config.md, "CreateRuntime Hooks".
        case createRuntime
        /// The same under its old name, for runtimes that know no other.
        case prestart
        /// runtime-spec, config.md, "Poststop".
        case poststop
    }

    /// Does what a stage asks for, with the container's state from standard input.
    ///
    /// An error has been written to the log when this returns.
    public static func run(_ arguments: [String]) throws(Failure) {
        let stages = Stage.allCases.map(\.rawValue).joined(separator: ", ")
        guard arguments.count == 1, let stage = Stage(rawValue: arguments[0]) else {
            throw Failure(
                "cannot run the hook",
                because: "\"\(arguments.joined(separator: " "))\" is no stage",
                remedy: "one of \(stages)"
            )
        }
        try Hardening.closeInheritedDescriptors(from: 3)
        try Hardening.resetInheritance()
        Log.open("vtpm-hook")
        try Hardening.protectMemory()
        guard geteuid() == 0 else { throw Failure("cannot run the hook", because: "it needs root") }
        let input = Descriptor(owning: STDIN_FILENO)
        let state: ContainerState
        do {
            state = try ContainerState(reading: input)
        } catch {
            Log.error("\(error)")
            throw error
        }
        do {
            let installation = try Installation.current()
            switch stage {
            case .createRuntime, .prestart: try Creation(of: state, on: installation).run()
            case .poststop: try Removal(of: state, on: installation).run()
            }
        } catch {
            Log.error("container \"\(state.id)\": \(error)")
            throw error
        }
    }
}
