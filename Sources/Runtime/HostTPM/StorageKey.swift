import Crypto
import Platform

/// The host's storage root key, SRK: what a sealed secret is a child of, and what sessions get their secret by.
struct StorageKey: Equatable {
    /// Its public key.
    enum Point: Equatable {
        case rsa(modulus: [UInt8], exponent: UInt32)
        case p256(x: [UInt8], y: [UInt8])
    }

    /// Why a public area is no storage key that can be used.
    enum Problem: Error {
        /// It is not what a TPM writes.
        case malformed
        /// It is a key, but not such a one.
        case unfit(String)
        /// Its name could not be computed.
        case failed(Failure)
    }

    /// Where it lies.
    let handle: UInt32
    /// Its name, computed from the public area here: what the TPM or somebody before it says is not believed.
    let name: [UInt8]
    /// What secrets are encrypted to.
    let point: Point

    static let attributes: ObjectAttributes = [
        .fixedTPM, .fixedParent, .sensitiveDataOrigin, .userWithAuth, .noDA, .restricted, .decrypt,
    ]
    private static let needed = attributes.subtracting(.noDA)
    private static let modulusSize = 256

    /// Parses a TPMT_PUBLIC. TPM 2.0 Library, Part 2, 12.2.4
    static func parse(_ area: [UInt8], at handle: UInt32) throws(Problem) -> StorageKey {
        var reader = ByteReader(area)
        guard let type = reader.read(UInt16.self), let nameAlgorithm = reader.read(UInt16.self),
            let attributeBits = reader.read(UInt32.self), reader.readSized() != nil
        else { throw Problem.malformed }
        guard type == Algorithm.rsa || type == Algorithm.ecc else {
            throw Problem.unfit("it is neither an RSA nor an ECC key")
        }
        guard nameAlgorithm == Algorithm.sha256 else { throw Problem.unfit("its name algorithm is not SHA-256") }
        let attributes = ObjectAttributes(rawValue: attributeBits)
        guard attributes.isSuperset(of: needed), !attributes.contains(.sign) else {
            throw Problem.unfit("it is no restricted decryption key that only this TPM has")
        }
        guard let symmetric = reader.read(UInt16.self) else { throw Problem.malformed }
        guard symmetric != Algorithm.null else { throw Problem.unfit("it is no storage key") }
        // The symmetric algorithm's key size and mode, and then the scheme: a restricted decryption key has none.
        guard reader.read(UInt32.self) != nil, let scheme = reader.read(UInt16.self) else { throw Problem.malformed }
        guard scheme == Algorithm.null else { throw Problem.unfit("it is no storage key") }
        let point = try type == Algorithm.rsa ? rsaPoint(&reader) : eccPoint(&reader)
        guard reader.remaining == 0 else { throw Problem.malformed }
        do throws(Failure) {
            return StorageKey(handle: handle, name: try entityName(ofPublicArea: area), point: point)
        } catch {
            throw .failed(error)
        }
    }

    private static func rsaPoint(_ reader: inout ByteReader) throws(Problem) -> Point {
        guard let bits = reader.read(UInt16.self), let exponent = reader.read(UInt32.self),
            let modulus = reader.readSized()
        else { throw Problem.malformed }
        guard bits == modulusSize * 8 else { throw Problem.unfit("it is an RSA key of \(bits) bits, not 2048") }
        guard modulus.count == modulusSize, modulus[0] & 0x80 != 0 else { throw Problem.malformed }
        // Zero stands for the usual one. Part 2, 12.2.3.5
        return .rsa(modulus: modulus, exponent: exponent == 0 ? 65537 : exponent)
    }

    private static func eccPoint(_ reader: inout ByteReader) throws(Problem) -> Point {
        guard let curve = reader.read(UInt16.self), let derivation = reader.read(UInt16.self) else {
            throw Problem.malformed
        }
        guard curve == Algorithm.p256 else { throw Problem.unfit("it is an ECC key on another curve than NIST P-256") }
        guard derivation == Algorithm.null else { throw Problem.unfit("it is an ECC key with a scheme of its own") }
        guard let x = reader.readSized(), let y = reader.readSized(), x.count == AgreementKey.p256CoordinateSize,
            y.count == AgreementKey.p256CoordinateSize
        else { throw Problem.malformed }
        return .p256(x: x, y: y)
    }

    /// The usual template: L-2 of TCG EK Credential Profile, as TCG TPM v2.0 Provisioning Guidance, 7.5.1, changes it
    /// for the SRK.
    ///
    /// The same template gives the same key for as long as the owner does not change, so everybody's SRK is this one.
    static let template: [UInt8] = {
        var area = ByteWriter()
        area.write(Algorithm.ecc)
        area.write(Algorithm.sha256)
        area.write(attributes.rawValue)
        area.write(sized: [])
        for value in [Algorithm.aes, 128, Algorithm.cfb, Algorithm.null, Algorithm.p256, Algorithm.null] {
            area.write(value)
        }
        area.write(sized: [UInt8](repeating: 0, count: AgreementKey.p256CoordinateSize))
        area.write(sized: [UInt8](repeating: 0, count: AgreementKey.p256CoordinateSize))
        return area.bytes
    }()
}
