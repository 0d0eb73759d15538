import CryptoDigests
import Glibc
import Launch
import Platform
import Proof
import RuntimeControl
import RuntimeEndorsement
import RuntimeHostTPM
import RuntimeLease
import VTPMProxy

// What the host says of the run that a creation begins.
extension Creation {
    /// Returns the manifest of a vTPM whose launch was measured.
    func manifest(
        of lease: Lease,
        _ started: StartedTPM,
        _ log: LaunchLog,
        in runDirectory: borrowing Descriptor
    ) throws(Failure) -> RunManifest {
        let record = EndorsementRecord(decoding: started.endorsement)
        let (keys, quotingKey) = try Self.names(in: record)
        let programs = RunningPrograms(supervisor: lease.supervisor.process, worker: lease.worker.process)
        return RunManifest(
            container: lease.containerID,
            bundle: lease.bundle,
            state: lease.stateID ?? "",
            instance: try log.instanceUUID(),
            generation: started.generation,
            resets: started.resets,
            endorsementKeys: keys,
            quotingKey: quotingKey,
            launch: RunManifest.Launch(
                digest: try DigestAlgorithm.sha256.digest(log.launch),
                instanceDigest: try DigestAlgorithm.sha256.digest(log.instance),
                pcr17: try LaunchLog.value(after: log.launch, .sha256),
                pcr18: try LaunchLog.value(after: log.instance, .sha256)
            ),
            counter: try started.counter.map { (reading) throws(Failure) in try Self.counter(reading) },
            software: RunManifest.Software(
                version: productVersion,
                libtpms: "\(started.library)",
                digests: programs.digests(cachedIn: runDirectory)
            ),
            time: Timestamp.utc(UInt64(clamping: time(nil)), "%Y-%m-%dT%H:%M:%SZ")
        )
    }

    /// The names of the endorsement keys that a record has, and of the quoting key.
    ///
    /// A key that is another TPM's as well, a copy's, is none by which anybody is to know this one (``EndorsementRecord/Key/mark``).
    static func names(
        in record: EndorsementRecord?
    ) throws(Failure) -> (keys: [String: [UInt8]], quotingKey: [UInt8]) {
        var names: [String: [UInt8]] = [:]
        for key in record?.keys ?? [] where key.key.isEndorsement && key.mark != nil {
            guard let kind = IdentityKey.Kind(key.key), let known = IdentityKey(kind, decoding: key.area) else {
                continue
            }
            names[kind.rawValue] = try known.name
        }
        guard !names.isEmpty, let quotingKey = QuotingKey(decoding: record?.quotingKey ?? []) else {
            return (names, [])
        }
        return (names, try quotingKey.name)
    }

    private static func counter(_ reading: StartedTPM.CounterReading) throws(Failure) -> RunManifest.Counter {
        var reader = ByteReader(reading.identity)
        guard let identity = CounterIdentity(&reader), reader.remaining == 0 else {
            throw Failure("cannot write the manifest", because: "the index is bound to a counter of another form")
        }
        return RunManifest.Counter(index: identity.index, name: identity.name, value: reading.value)
    }
}
