import Crypto
import Platform

/// The host's storage root key (SRK): the parent of sealed secrets and the key that salts of sessions are encrypted to.
struct StorageKey: Equatable {
    /// The public key.
    enum Point: Equatable {
        case rsa(RSAPublicKey)
        case p256(P256Point)
    }

    /// The reasons why a public area cannot be used as storage key.
    enum Problem: Error {
        /// It is not a valid TPMT_PUBLIC.
        case malformed
        /// It is another kind of key, for this reason.
        case unfit(String)
        /// Its name could not be computed.
        case failed(Failure)
    }

    /// The persistent handle.
    let handle: UInt32
    /// The name, computed here from the public area; the one in the response is not trusted.
    let name: [UInt8]
    /// The public key that salts are encrypted to.
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
        // The symmetric algorithm's key size and mode, then the scheme, which a restricted decryption key does not
        // have.
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
        // Zero stands for the default exponent, 2^16 + 1. Part 2, 12.2.3.5
        guard let key = RSAPublicKey(modulus: modulus, exponent: exponent == 0 ? 65537 : exponent) else {
            throw Problem.malformed
        }
        return .rsa(key)
    }

    private static func eccPoint(_ reader: inout ByteReader) throws(Problem) -> Point {
        guard let curve = reader.read(UInt16.self), let derivation = reader.read(UInt16.self) else {
            throw Problem.malformed
        }
        guard curve == Algorithm.p256 else { throw Problem.unfit("it is an ECC key on another curve than NIST P-256") }
        guard derivation == Algorithm.null else { throw Problem.unfit("it is an ECC key with a scheme of its own") }
        guard let x = reader.readSized(), let y = reader.readSized(), let point = P256Point(x: x, y: y) else {
            throw Problem.malformed
        }
        return .p256(point)
    }

    /// The template of the SRK: L-2 of TCG EK Credential Profile with the changes of TCG TPM v2.0 Provisioning
    /// Guidance, 7.5.1.
    ///
    /// It gives the same key until the owner hierarchy is cleared. All software that follows the guidance shares this
    /// SRK.
    static let template: [UInt8] = {
        var area = ByteWriter()
        area.write(Algorithm.ecc)
        area.write(Algorithm.sha256)
        area.write(attributes.rawValue)
        area.write(sized: [])
        for value in [Algorithm.aes, 128, Algorithm.cfb, Algorithm.null, Algorithm.p256, Algorithm.null] {
            area.write(value)
        }
        area.write(sized: [UInt8](repeating: 0, count: P256Point.coordinateSize))
        area.write(sized: [UInt8](repeating: 0, count: P256Point.coordinateSize))
        return area.bytes
    }()
}
