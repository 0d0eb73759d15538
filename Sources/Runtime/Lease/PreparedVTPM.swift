import CLinux
import Crypto
import Glibc
import Platform
import RuntimeControl

/// The record of a vTPM that was prepared for a runtime, and that no hook has adopted yet.
///
/// It is in the lease's directory, beside the lease. The hook admits the vTPM that both this record and the bundle's
/// `config.json` name. While it is there the supervisor leaves the lease, so that the bundle's own `config.json` can be
/// put back by whoever finds it.
public struct PreparedVTPM: Equatable, Sendable {
    /// What `config.json` calls the vTPM, ``AdoptionRequest/tokenSize`` random bytes.
    public var token: [UInt8]
    /// The SHA-256 of `config.json` as it was written for this creation.
    public var configDigest: [UInt8]

    /// Creates the record of a vTPM that a `config.json` with these contents names.
    public init(token: [UInt8], config: [UInt8]) throws(Failure) {
        self.token = token
        configDigest = try SHA256.digest(config)
    }

    var encoded: [UInt8] { token + configDigest }

    /// Reads ``encoded``; returns nil if the bytes are anything else.
    init?(_ bytes: [UInt8]) {
        guard bytes.count == AdoptionRequest.tokenSize + SHA256.digestSize else { return nil }
        token = Array(bytes.prefix(AdoptionRequest.tokenSize))
        configDigest = Array(bytes.dropFirst(AdoptionRequest.tokenSize))
    }

    /// Returns whether these are the contents that were written.
    public func describes(config: [UInt8]) throws(Failure) -> Bool { try SHA256.digest(config) == configDigest }
}

extension OpenLease {
    /// Reads the record of a prepared vTPM; returns nil if there is none.
    public borrowing func prepared() throws(Failure) -> PreparedVTPM? {
        let what = "\(LeaseFiles.prepared) of the lease \(name)"
        guard let bytes = try content(of: LeaseFiles.prepared, limit: 4096, what) else { return nil }
        guard let prepared = PreparedVTPM(bytes) else { throw Failure("cannot read \(what)", because: "it is damaged") }
        return prepared
    }

    /// Writes the record of a prepared vTPM, whole or not at all.
    ///
    /// A part of one, as a full file system or a kill would leave it, is damaged, and would have the bundle refused.
    public borrowing func write(_ prepared: PreparedVTPM) throws(Failure) {
        let what = "\(LeaseFiles.prepared) of the lease \(name)"
        try write(prepared.encoded, as: LeaseFiles.prepared, flags: clinux_rename_noreplace, what)
    }

    /// Removes the record, since the vTPM has its hook or will never have one.
    public borrowing func removePrepared() throws(Failure) {
        try Platform.remove(LeaseFiles.prepared, at: directory, "\(LeaseFiles.prepared) of the lease \(name)")
    }

    /// Returns whether the vTPM still waits for its hook, and so for whoever puts `config.json` back.
    ///
    /// A supervisor asks, whose system call filter allows no faccessat2(2).
    public borrowing func isPrepared() throws(Failure) -> Bool {
        try directory.status(of: LeaseFiles.prepared, "the lease \(name)") != nil
    }
}
