// Whoever imports this module has the types of its interface too, and what the library below has for them.
@_exported import CryptoPrimitives

#if NETTLE
@_exported import CryptoNettle

/// The library that computes: nettle, which Package.swift chooses for the supervisor.
public typealias CryptoLibrary = Nettle
#else
@_exported import CryptoLibCrypto

/// The library that computes: libcrypto.
public typealias CryptoLibrary = LibCryptoPrimitives
#endif

// It is chosen when a program is built: a choice at run time would be one more thing to get wrong. The algorithms are
// generic over it, so that tests compare one library with the other.

/// Random bytes. SP 800-90A
public typealias Random = RandomSource<CryptoLibrary>
/// SHA-256. FIPS 180-4
public typealias SHA256 = Digest<CryptoLibrary>
/// HMAC with SHA-256. RFC 2104, FIPS 198-1
public typealias HMACSHA256 = KeyedDigest<CryptoLibrary>
/// HKDF with SHA-256. RFC 5869
public typealias HKDF = KeyDerivation<CryptoLibrary>
/// AES-256-GCM. NIST SP 800-38D
public typealias AES256GCM = AuthenticatedEncryption<CryptoLibrary>

/// ECDH on P-256 with a new key. NIST SP 800-56A
public typealias P256Agreement = Agreement<CryptoLibrary>
/// RSA encryption with OAEP and SHA-256. RFC 8017, 7.1
public typealias RSAOAEP = KeyTransport<CryptoLibrary>
/// AES-128-CFB. NIST SP 800-38A, 6.3
public typealias AESCFB = FeedbackEncryption<CryptoLibrary>

/// What an operator has to know of the processor.
public typealias AESNotice = TableNotice<CryptoLibrary>
