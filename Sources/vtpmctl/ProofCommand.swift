import ArgumentParser
import Glibc
import Platform
import Proof
import RuntimeLease

/// `vtpmctl proof`: what proves to others which container runs on which host, with which TPM.
struct ProofCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "proof",
        abstract: "Proves to others what a container runs, where, and with which TPM.",
        subcommands: [ProofCollect.self, ProofVerify.self, ProofManifest.self]
    )
}

struct ProofManifest: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manifest",
        abstract: "Prints what the host says of a container's present run, in JSON.",
        discussion: """
            It was written when the container was created, from the host's own records, and is signed by nobody yet.
            """
    )

    @OptionGroup var host: HostOptions
    @Argument(help: "The container's ID.", completion: .containers)
    var container: String

    func run() throws {
        try report("reading the manifest") { () throws(Failure) in
            // A tenant has written parts of it.
            let text = String(decoding: try host.manifest(of: container), as: UTF8.self)
            try Output.write(line: isatty(STDOUT_FILENO) == 1 ? text.onOneLine : text)
        }
    }
}

extension HostOptions {
    /// Returns the manifest of a container that runs.
    func manifest(of container: String) throws(Failure) -> [UInt8] {
        let what = "cannot print the manifest of"
        let found = try lease(of: container, what) { (opened, _) throws(Failure) in
            (manifest: try opened.manifest(), isMeasured: try opened.launchLog() != nil)
        }
        guard let manifest = found.manifest else {
            throw Self.noManifest(what, of: container, isMeasured: found.isMeasured)
        }
        return manifest
    }

    /// The error about a container of which nothing was written down.
    static func noManifest(_ what: String, of container: String, isMeasured: Bool) -> Failure {
        Failure(
            "\(what) \"\(container.excerpt)\"",
            because: isMeasured
                ? "it was created by an earlier version" : "its launch was not measured",
            hint: isMeasured ? "create it again" : "measure = true in [launch], and create it again"
        )
    }
}
