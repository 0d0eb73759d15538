import Glibc
import Platform
import RuntimeControl
import RuntimeHostTPM
import RuntimeSupervisor
import VTPMProxy

/// Starts a TPM and shuts it down again, in a worker of its own.
///
/// A state that comes from elsewhere may be malicious, so only the worker parses it, which is confined for that.
public struct TrialStart {
    /// The path of the worker's program.
    public let worker: String

    /// How long the worker may take for the whole trial, in milliseconds.
    private static let timeout = 60_000
    /// The same if it makes its endorsement keys as well: an RSA key takes a slow machine long.
    private static let identityTimeout = 180_000

    /// Creates a trial with the worker of this path.
    public init(worker: String) {
        self.worker = worker
    }

    /// Runs the trial; returns the state that the TPM stored last, or throws a ``Failure`` if no TPM starts from it.
    public func run(_ state: SecretBytes) throws(Failure) -> SecretBytes {
        do {
            return try start(state) { (conversation) throws(Failure) in try conversation.shutDown() }.result
        } catch {
            throw Failure("cannot use the state that is to be imported", because: "no TPM starts from it: \(error)")
        }
    }

    /// Manufactures a TPM and throws it away; returns the version of the library that did it.
    public func manufacture() throws(Failure) -> LibraryVersion? {
        try start(nil) { (conversation) throws(Failure) in _ = try conversation.shutDown() }.library
    }

    /// Manufactures a TPM with these keys and banks of PCRs; returns its state and the version of the library that did it.
    package func manufacture(
        with provision: TPMProvision
    ) throws(Failure) -> (state: SecretBytes, library: LibraryVersion) {
        let made = try start(nil, with: provision, timeout: Self.identityTimeout) { (conversation) throws(Failure) in
            try conversation.shutDown()
        }
        guard let library = made.library else {
            throw Failure("cannot make a TPM", because: "the version of its library is unknown")
        }
        return (made.result, library)
    }

    /// Manufactures a TPM with these keys and banks of PCRs; returns its state and its endorsement keys.
    package func manufactureWithIdentity(
        with provision: TPMProvision
    ) throws(Failure) -> (state: SecretBytes, keys: [IdentityKey]) {
        try start(nil, with: provision, timeout: Self.identityTimeout) { (conversation) throws(Failure) in
            try conversation.serve()
            let keys = try IdentityKey.all([.rsa, .p256], of: conversation)
            return (try conversation.shutDown(), keys)
        }.result
    }

    /// Manufactures a TPM with these keys and banks of PCRs, and has the certificate authority at the other end endorse it.
    ///
    /// Returns its state and the record of it.
    package func manufacture(
        with provision: TPMProvision,
        endorsedBy authority: Channel,
        as instance: [UInt8]
    ) throws(Failure) -> (state: SecretBytes, endorsement: [UInt8]) {
        try start(nil, with: provision, endorsedBy: authority, as: instance, timeout: Self.identityTimeout) {
            (conversation) throws(Failure) in
            (try conversation.shutDown(), conversation.endorsement)
        }.result
    }

    private func start<Result>(
        _ state: SecretBytes?,
        with provision: TPMProvision = TPMProvision(keys: []),
        endorsedBy authority: Channel? = nil,
        as instance: [UInt8] = [],
        timeout: Int = timeout,
        _ body: (WorkerConversation) throws(Failure) -> Result
    ) throws(Failure) -> (result: Result, library: LibraryVersion?) {
        let itself = try ProcessHandle(getpid())
        let link = try WorkerLink.start(program: worker)
        defer { link.close() }
        let means = try ConfinementMeans()
        try link.confine(
            for: ContainerWatch(initProcess: itself.descriptor.duplicate(), cgroupEvents: nil),
            with: means
        )
        try link.initialize(state, provision)
        let conversation = try WorkerConversation(over: link, until: Deadline(milliseconds: timeout))
        try conversation.awaitOpen()
        if let authority { try conversation.endorse(by: authority, as: instance) }
        // Nothing is launched, so nothing is measured.
        try link.close(measuring: nil)
        try conversation.awaitReady()
        return (try body(conversation), link.libraryVersion)
    }
}
