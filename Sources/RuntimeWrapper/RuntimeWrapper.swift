import CLinux
import Configuration
import Glibc
import Platform
import RuntimeControl

/// The program `vtpm-runtime`, which an engine calls in place of a runtime.
///
/// For a container that gets a TPM it has one prepared (`vtpm-hook prepare`). Then it becomes the real runtime, which gets
/// exactly what this program has inherited: environment, descriptors, limits, signals, working directory. So this
/// program changes nothing of its own process. The real runtime is the one that root's configuration names.
public enum RuntimeWrapper {
    /// Prepares what is needed, and executes the real runtime with this program's own arguments.
    ///
    /// - Throws: ``Failure`` if the container must not be created, or if the runtime cannot be executed. It has been
    ///   written to the file of `--log` as well, where engines look for it.
    public static func run() throws(Failure) {
        var vector: [UnsafeMutablePointer<CChar>?] = []
        // They go on byte by byte: they need not be UTF-8.
        for index in 1..<max(Int(CommandLine.argc), 1) { vector.append(CommandLine.unsafeArgv[index]) }
        try run(CommandLine.arguments, vector, configuration: Configuration.standardPath)
    }

    /// Does the same with these arguments and the configuration in another file, for tests.
    ///
    /// Whoever calls the program cannot name that file: it names a program that root executes.
    package static func run(_ arguments: [String], configuration file: String) throws(Failure) {
        let vector = CStrings(Array(arguments.dropFirst()))
        try withExtendedLifetime(vector) { () throws(Failure) in
            try run(arguments, vector.pointers.dropLast(), configuration: file)
        }
    }

    private static func run(
        _ arguments: [String],
        _ vector: [UnsafeMutablePointer<CChar>?],
        configuration file: String
    ) throws(Failure) {
        let invocation = Invocation(arguments)
        do throws(Failure) {
            if let refusal = invocation.refusal { throw refusal }
            let path = try runtimePath(file)
            if let creation = invocation.creation { try Preparer(creation).run() }
            try execute(path, vector)
        } catch {
            RuntimeLog.write(error, to: invocation)
            throw error
        }
    }

    /// Returns the real runtime's path, which only root can change.
    ///
    /// If it cannot be read, no other stands in for it: a runtime removes what it finds under the ID of a container that it
    /// does not know.
    private static func runtimePath(_ file: String) throws(Failure) -> String {
        let path = try Configuration.loadRuntime(path: file).path { access($0, F_OK) == 0 }
        let what = "cannot execute \(path)"
        do throws(Failure) {
            try TrustedProgram(path: path, what: what, allowsSticky: false).check()
        } catch let error where error.code == ENOENT {
            throw error.withHint(
                "install runc or crun, or name the runtime in \(Configuration.standardPath): [runtime] path"
            )
        }
        let one = try Descriptor.open(path, .read).status(path)
        let own = try Procfs().link("self/exe")
        let other = try Descriptor.open(own, .read).status(own)
        guard one.st_dev != other.st_dev || one.st_ino != other.st_ino else {
            throw Failure(what, because: "it is this program itself", hint: "name the real runtime: [runtime] path")
        }
        return path
    }

    /// Becomes the runtime. execve(2)
    private static func execute(_ path: String, _ arguments: [UnsafeMutablePointer<CChar>?]) throws(Failure) {
        let program = CStrings([path])
        let vector = program.pointers.dropLast() + arguments + [nil]
        _ = try withExtendedLifetime(program) { () throws(Failure) in
            try systemCall("execve", "cannot execute \(path)") { execve(path, Array(vector), clinux_environment()) }
        }
    }
}
