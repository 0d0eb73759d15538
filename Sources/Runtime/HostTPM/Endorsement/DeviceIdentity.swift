import CryptoDigests
import CryptoEndorsement
import Platform
import VTPMProxy

extension EndorsedTPM {
    /// Has the TPM make a device identity, of which nothing stays in it, and show that it is its own.
    ///
    /// A device identity's policy forbids that it is activated as an endorsement key's companion. So the quoting key stands in
    /// between, which is beside the endorsement key: it certifies that this TPM has made the device identity, and the device
    /// identity certifies the quoting key, which takes its private part.
    ///
    /// Returns nil if the TPM cannot show it. Throws if what is at the key's handle is another one, where `isKept` says that it
    /// has to be there.
    package func identity(
        _ kind: IdentityKey.Kind,
        certifiedBy quotingKey: QuotingKey,
        isKept: Bool
    ) throws(Failure) -> IdentityKey? {
        let quoting = try connection.run(.createPrimary(in: Handle.endorsement, from: QuotingKey.template))
        return try connection.withObject(quoting, madeBy: .createPrimary) { (handle) throws(Failure) in
            let signer = Signer(handle: handle, publicKey: quotingKey.publicKey, hash: .sha256)
            let (created, key) = try connection.createIdentityKey(kind)
            return try connection.withObject(created, madeBy: .createPrimary) { (object) throws(Failure) in
                let own = Signer(handle: object, publicKey: key.publicKey, hash: kind.hash)
                guard try certifiesCreation(of: key, created, at: object, by: signer),
                    try signs(own, for: handle, named: quotingKey.name)
                else { return nil }
                if isKept {
                    guard try kept(kind).key == key else {
                        throw connection.failure("another key is at the handle \(Handle.text(kind.standard.handle))")
                    }
                }
                return key
            }
        }
    }
}
