import CryptoLibCrypto
import CryptoNettle
import CryptoPrimitives
import Platform
import Testing

/// The libraries that are tested, both in one process; which one the programs have is another matter.
enum Subject: CaseIterable {
    case libcrypto
    case nettle

    var library: any SessionLibrary.Type {
        switch self {
        case .libcrypto: LibCryptoPrimitives.self
        case .nettle: Nettle.self
        }
    }
}

/// What hexadecimal digits stand for.
func bytes(_ digits: String) throws -> [UInt8] {
    let secret = try SecretBytes(capacity: max(digits.utf8.count / 2, 1))
    try #require(Hexadecimal.decode(Array(digits.utf8), into: secret))
    return secret.withBytes { Array($0) }
}

func secret(_ bytes: [UInt8]) throws -> SecretBytes {
    let copy = try SecretBytes(capacity: max(bytes.count, 1))
    try #require(copy.append(copying: bytes))
    return copy
}

func hex(_ bytes: [UInt8]) -> String { Hexadecimal.encode(bytes) }
func hex(_ secret: SecretBytes) -> String { secret.withBytes { Hexadecimal.encode($0) } }

/// Bytes that differ from each other, and are the same each time.
func pattern(_ count: Int, _ first: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: first &+ $0 &* 7 &+ $0 >> 5) }
}
