import VTPMProxy

/// What the host says of one run of a vTPM, from its own records.
///
/// A worker that somebody has taken over can say anything of its TPM. What counts for a proof, which launch and which keys, is
/// therefore here. Only the counts of starts are the TPM's own word, by which a quote is known to be of this run.
public struct RunManifest: Equatable, Sendable {
    /// A counter in the host's TPM.
    public struct Counter: Equatable, Sendable {
        /// The handle of the NV index.
        public let index: UInt32
        /// The name of the NV index. TPM 2.0 Library, Part 1, 16
        public let name: [UInt8]
        /// The value that belonged to the host's index when the TPM was started.
        public let value: UInt64

        /// Creates it.
        public init(index: UInt32, name: [UInt8], value: UInt64) {
            self.index = index
            self.name = name
            self.value = value
        }
    }

    /// What was measured.
    public struct Launch: Equatable, Sendable {
        /// The SHA-256 of the event about what runs.
        public let digest: [UInt8]
        /// The SHA-256 of the event about the instance.
        public let instanceDigest: [UInt8]
        /// The value of PCR 17 in the bank sha256.
        public let pcr17: [UInt8]
        /// The value of PCR 18 in the bank sha256.
        public let pcr18: [UInt8]

        /// Creates it.
        public init(digest: [UInt8], instanceDigest: [UInt8], pcr17: [UInt8], pcr18: [UInt8]) {
            self.digest = digest
            self.instanceDigest = instanceDigest
            self.pcr17 = pcr17
            self.pcr18 = pcr18
        }
    }

    /// The programs that the vTPM needs.
    public struct Software: Equatable, Sendable {
        /// The version of our programs.
        public let version: String
        /// The version of libtpms.
        public let libtpms: String
        /// The SHA-256 of each program's and library's file, by its name; one that could not be read is missing.
        public let digests: [String: [UInt8]]

        /// Creates it.
        public init(version: String, libtpms: String, digests: [String: [UInt8]]) {
            self.version = version
            self.libtpms = libtpms
            self.digests = digests
        }
    }

    /// The container's ID.
    public var container: String
    /// The container's bundle.
    public var bundle: String
    /// The state's ID; empty for an ephemeral TPM.
    public var state: String
    /// The instance's UUID; empty for an ephemeral TPM.
    public var instance: String
    /// The generation of the state from which the TPM was started; 0 if it is new.
    public var generation: UInt64
    /// How often the TPM was started.
    public var resets: TPMResets
    /// The names of the endorsement keys that the host has recorded, by the key's own name.
    public var endorsementKeys: [String: [UInt8]]
    /// The name of the key by which the TPM quotes; empty if the host has not recorded it.
    public var quotingKey: [UInt8]
    /// What was measured.
    public var launch: Launch
    /// The counter that the host's index is bound to; nil if it is bound to none.
    public var counter: Counter?
    /// The programs.
    public var software: Software
    /// When, in UTC (RFC 3339): the host's clock, of which nothing is proven.
    public var time: String

    /// Creates a manifest.
    public init(
        container: String,
        bundle: String,
        state: String,
        instance: String,
        generation: UInt64,
        resets: TPMResets,
        endorsementKeys: [String: [UInt8]],
        quotingKey: [UInt8],
        launch: Launch,
        counter: Counter?,
        software: Software,
        time: String
    ) {
        self.container = container
        self.bundle = bundle
        self.state = state
        self.instance = instance
        self.generation = generation
        self.resets = resets
        self.endorsementKeys = endorsementKeys
        self.quotingKey = quotingKey
        self.launch = launch
        self.counter = counter
        self.software = software
        self.time = time
    }
}
