import CNettle
import CryptoPrimitives
import Glibc
import Platform

/// A private key on P-256; hogweed multiplies in constant time.
///
/// nettle, "Elliptic curves" (ecc.h)
public final class NettleP256Key: P256PrivateKey {
    public let point: P256Point
    private var scalar: ecc_scalar

    /// Numbers that are tried for a key: the curve's order refuses one of 2^32.
    private static let attempts = 8

    public static func generate() -> NettleP256Key? {
        Nettle.withWipedBytes(P256Point.coordinateSize) { bytes in
            for _ in 0..<attempts {
                guard Nettle.fillRandom(bytes, isSecret: true) else { return nil }
                if let key = NettleP256Key(UnsafeRawBufferPointer(bytes)) { return key }
            }
            return nil
        }
    }

    public static func key(scalar: SecretBytes) -> NettleP256Key? {
        guard scalar.count == P256Point.coordinateSize else { return nil }
        return scalar.withBytes { NettleP256Key($0) }
    }

    /// Returns nil if the number is zero, or not below the order of the curve.
    private init?(_ bytes: UnsafeRawBufferPointer) {
        let number = Number(bytes)
        var scalar = ecc_scalar()
        nettle_ecc_scalar_init(&scalar, nettle_get_secp_256r1())
        guard nettle_ecc_scalar_set(&scalar, &number.value) != 0, let point = Self.point(of: &scalar) else {
            nettle_ecc_scalar_clear(&scalar)
            return nil
        }
        self.scalar = scalar
        self.point = point
    }

    deinit { nettle_ecc_scalar_clear(&scalar) }

    /// The public key of a private one.
    private static func point(of scalar: inout ecc_scalar) -> P256Point? {
        var product = ecc_point()
        nettle_ecc_point_init(&product, nettle_get_secp_256r1())
        defer { nettle_ecc_point_clear(&product) }
        nettle_ecc_point_mul_g(&product, &scalar)
        let (x, y) = (Number(), Number())
        nettle_ecc_point_get(&product, &x.value, &y.value)
        guard let x = x.bytes(count: P256Point.coordinateSize), let y = y.bytes(count: P256Point.coordinateSize) else {
            return nil
        }
        return P256Point(x: x, y: y)
    }

    public func agree(with peer: P256Point, into output: UnsafeMutableRawBufferPointer) -> P256Agreed {
        precondition(output.count == P256Point.coordinateSize)
        let (x, y) = (Number(peer.x), Number(peer.y))
        var (point, product) = (ecc_point(), ecc_point())
        nettle_ecc_point_init(&point, nettle_get_secp_256r1())
        nettle_ecc_point_init(&product, nettle_get_secp_256r1())
        defer {
            nettle_ecc_point_clear(&point)
            nettle_ecc_point_clear(&product)
        }
        // It refuses coordinates of p and above as well. All points but infinity, which has no coordinates, have the
        // curve's order, so no product is infinity.
        guard nettle_ecc_point_set(&point, &x.value, &y.value) != 0 else { return .notOnCurve }
        nettle_ecc_point_mul(&product, &scalar, &point)
        nettle_ecc_point_get(&product, &x.value, &y.value)
        return x.write(into: output) ? .secret : .failed
    }
}
