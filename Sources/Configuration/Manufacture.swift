import RuntimeControl
import VTPMProxy

// What a TPM is made with, and who certifies it.
extension Configuration {
    /// What a TPM has from its first start on.
    public struct Manufacture: Equatable, Sendable {
        /// The key `keys`: the keys that a TPM has at their handles.
        public var keys = StandardKeys.standard
        /// The key `restore-keys`: whether a start puts keys at their handles that are not there.
        public var restoresKeys = true

        /// The key `pcr-banks`: the banks of PCRs of a TPM that is manufactured.
        public var banks = PCRBanks.all

        /// The keys `platform-manufacturer`, `platform-model` and `platform-version`: what the certificate of the platform names;
        /// nil if none is made.
        public var platform: PlatformName?

        /// The key `annotations`: whether a container's annotations may choose keys and certificates.
        public var obeysAnnotations = false

        /// Which TPMs get certificates for their endorsement keys.
        public enum Certificates: String, CaseIterable, Sendable {
            /// None.
            case none
            /// Those with a state on disk.
            case persistent
            /// Those as well that are gone when their container stops.
            case all
        }

        /// The key `certificates`: which TPMs get certificates for their endorsement keys.
        public var certificates = Certificates.persistent

        /// The key `pool`: how many TPMs are made ahead of need; 0 for none.
        public var poolSize = 0

        /// The largest pool.
        public static let poolLimit = 256

        /// What the host makes of a TPM's identity: nothing without an endorsement key.
        public func endorsement(isEphemeral: Bool) -> EndorsementLevel {
            guard keys.elements.contains(where: \.isRecorded) else { return .none }
            switch certificates {
            case .all: return .certificates
            case .persistent: return isEphemeral ? .none : .certificates
            case .none: return isEphemeral ? .none : .keys
            }
        }

        /// What a start asks for.
        public var requestedKeys: RequestedKeys {
            RequestedKeys(ofNew: keys, ofExisting: restoresKeys ? keys : [], banks: banks)
        }

        /// What a TPM is made with.
        public var provision: TPMProvision { TPMProvision(keys: keys, banks: banks) }

        /// Creates the configuration of a missing table.
        public init() {}
    }

    /// Who certifies a TPM's endorsement keys.
    public struct Authority: Equatable, Sendable {
        /// An authority of the operator's own.
        public struct Files: Equatable, Sendable {
            /// Where the private key is.
            public enum Key: Equatable, Sendable {
                /// The key `key`: the absolute path of the private key, in PEM.
                case file(String)
                /// The keys `command` and `timeout`: a program that signs, and how long it may take, in seconds.
                case command([String], timeout: Int)
            }

            /// Where the private key is.
            public var key: Key
            /// The key `certificates`: the absolute path of the authority's certificate and those above it, in PEM.
            public var certificates: String

            /// Creates the names of both files.
            public init(key: String, certificates: String) {
                self.init(key: .file(key), certificates: certificates)
            }

            /// Creates the description of an authority.
            public init(key: Key, certificates: String) {
                self.key = key
                self.certificates = certificates
            }
        }

        /// The files; nil for an authority that the host makes for itself.
        public var files: Files?
        /// The key `crl-url`: where verifiers find the list of revoked certificates; empty if nowhere.
        public var listURL = ""

        /// Creates the configuration of a missing table.
        public init() {}
    }
}
