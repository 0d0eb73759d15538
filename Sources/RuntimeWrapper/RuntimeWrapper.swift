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
        let invocation = Invocation(CommandLine.arguments)
        do throws(Failure) {
            if let problem = invocation.problem { throw problem }
            let path = try runtimePath()
            if let creation = invocation.creation { try Preparer(creation).run() }
            try execute(path)
        } catch {
            RuntimeLog.write(error, to: invocation)
            throw error
        }
    }

    /// Returns the real runtime's path, which only root can change.
    ///
    /// If it cannot be read, no other stands in for it: a runtime removes what it finds under the ID of a container that it
    /// does not know.
    private static func runtimePath() throws(Failure) -> String {
        let path = try Configuration.loadRuntime().path
        let what = "cannot execute \(path)"
        do throws(Failure) {
            try TrustedProgram(path: path, what: what, allowsSticky: false).check()
        } catch let error where error.code == ENOENT {
            throw error.withHint(
                "name the runtime in \(Configuration.standardPath): [runtime] path = \"/usr/bin/crun\""
            )
        }
        let one = try Descriptor.open(path, .read).status(path)
        let other = try Descriptor.open("/proc/self/exe", .read).status("/proc/self/exe")
        guard one.st_dev != other.st_dev || one.st_ino != other.st_ino else {
            throw Failure(what, because: "it is this program itself", hint: "name the real runtime: [runtime] path")
        }
        return path
    }

    /// Becomes the runtime. execve(2)
    ///
    /// The arguments go on byte by byte: they need not be UTF-8.
    private static func execute(_ path: String) throws(Failure) {
        let program = CStrings([path])
        var vector = program.pointers
        vector.removeLast()
        for index in 1..<max(Int(CommandLine.argc), 1) { vector.append(CommandLine.unsafeArgv[index]) }
        vector.append(nil)
        _ = try withExtendedLifetime(program) { () throws(Failure) in
            try systemCall("execve", "cannot execute \(path)") { execve(path, vector, clinux_environment()) }
        }
    }
}
