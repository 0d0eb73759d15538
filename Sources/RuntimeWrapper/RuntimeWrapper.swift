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
    /// Prepares what is needed, and executes the real runtime; the first argument is this program's name.
    ///
    /// - Throws: ``Failure`` if the container must not be created, or if the runtime cannot be executed. It has been
    ///   written to the file of `--log` as well, where engines look for it.
    public static func run(_ arguments: [String]) throws(Failure) {
        let invocation = try Invocation(arguments)
        do {
            let path = try runtimePath(for: invocation)
            if let creation = invocation.creation { try Preparer(creation).run() }
            try execute(path, arguments)
        } catch {
            RuntimeLog.write(error, to: invocation)
            throw error
        }
    }

    /// Returns the real runtime's path, which only root can change.
    ///
    /// A mistake in the configuration must not keep an engine from stopping a container: where nothing is created, the
    /// standard runtime stands in for one that cannot be read.
    private static func runtimePath(for invocation: Invocation) throws(Failure) -> String {
        var path = Configuration.Runtime().path
        do throws(Failure) {
            path = try Configuration.loadRuntime().path
        } catch {
            guard invocation.creation == nil else { throw error }
        }
        do throws(Failure) {
            try TrustedProgram(path: path, what: "cannot execute \(path)").check()
        } catch let error where error.code == ENOENT {
            throw error.withHint(
                "name the runtime in \(Configuration.standardPath): [runtime] path = \"/usr/bin/crun\""
            )
        }
        return path
    }

    /// Becomes the runtime. execve(2)
    private static func execute(_ path: String, _ arguments: [String]) throws(Failure) {
        let vector = CStrings([path] + arguments.dropFirst())
        _ = try withExtendedLifetime(vector) { () throws(Failure) in
            try systemCall("execve", "cannot execute \(path)") { execve(path, vector.pointers, clinux_environment()) }
        }
    }
}
