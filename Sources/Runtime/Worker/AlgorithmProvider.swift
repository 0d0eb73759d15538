import CLibCrypto
import Glibc

/// libcrypto's default provider without the algorithms that no TPM has.
///
/// The first use of any cipher has libcrypto make an object of every cipher that its providers offer, and so with digests.
/// Of the default provider's 146 a TPM can have a third; the others would take 100 KiB of each worker. So this provider
/// answers queries with what the default provider answers, less those. The implementations are the default provider's, and
/// get its context: nothing is computed here. provider(7ossl), provider-base(7ossl)
///
/// The default provider is deactivated then, or libcrypto would ask both. Its context stays valid as long as an algorithm
/// that was fetched from it is held (crypto/provider_core.c, `ossl_provider_free`), which one is for ever.
enum AlgorithmProvider {
    private static let name = "container-vtpm"

    /// The default provider, and what is passed on of its ciphers and digests; set once, before the process has a second
    /// user of libcrypto.
    private nonisolated(unsafe) static var origin: OpaquePointer?
    private nonisolated(unsafe) static var ciphers: UnsafePointer<OSSL_ALGORITHM>?
    private nonisolated(unsafe) static var digests: UnsafePointer<OSSL_ALGORITHM>?

    /// Takes the place of the default provider in this process; if libcrypto does not allow it, all stays as it is.
    ///
    /// It has to come before the first use of an algorithm.
    static func load() {
        guard let origin = OSSL_PROVIDER_load(nil, "default") else { return }
        // Of the few kinds with few algorithms, one that is needed anyway.
        guard EVP_RAND_fetch(nil, "CTR-DRBG", nil) != nil else { return }
        self.origin = origin
        ciphers = selection(of: OSSL_OP_CIPHER, isCipherOfTPM)
        digests = selection(of: OSSL_OP_DIGEST, isDigestOfTPM)
        guard ciphers != nil, digests != nil, OSSL_PROVIDER_add_builtin(nil, name, start) == 1,
            OSSL_PROVIDER_load(nil, name) != nil
        else { return }
        OSSL_PROVIDER_unload(origin)
        // Under other names than those known here it would have passed nothing on.
        if !isEnough { OSSL_PROVIDER_load(nil, "default") }
    }

    /// Whether libcrypto finds what every TPM needs, and what its own generator of random numbers does.
    private static var isEnough: Bool {
        for name in ["AES-128-CFB", "AES-256-CFB", "AES-256-CTR", "AES-256-ECB"] {
            guard let cipher = EVP_CIPHER_fetch(nil, name, nil) else { return false }
            EVP_CIPHER_free(cipher)
        }
        for name in ["SHA1", "SHA256", "SHA384", "SHA512"] {
            guard let digest = EVP_MD_fetch(nil, name, nil) else { return false }
            EVP_MD_free(digest)
        }
        return true
    }

    /// OSSL_provider_init: says by which function algorithms are asked for.
    private static let start:
        @convention(c) (
            OpaquePointer?, UnsafePointer<OSSL_DISPATCH>?, UnsafeMutablePointer<UnsafePointer<OSSL_DISPATCH>?>?,
            UnsafeMutablePointer<UnsafeMutableRawPointer?>?
        ) -> CInt = { _, _, functions, context in
            // They are read as long as the process lives.
            let table = UnsafeMutablePointer<OSSL_DISPATCH>.allocate(capacity: 2)
            let query = unsafeBitCast(AlgorithmProvider.query, to: (@convention(c) () -> Void).self)
            table.initialize(to: OSSL_DISPATCH(function_id: OSSL_FUNC_PROVIDER_QUERY_OPERATION, function: query))
            (table + 1).initialize(to: OSSL_DISPATCH(function_id: 0, function: nil))
            functions?.pointee = UnsafePointer(table)
            context?.pointee = OSSL_PROVIDER_get0_provider_ctx(AlgorithmProvider.origin)
            return 1
        }

    /// OSSL_FUNC_provider_query_operation: the algorithms of a kind.
    private static let query:
        @convention(c) (
            UnsafeMutableRawPointer?, CInt, UnsafeMutablePointer<CInt>?
        ) -> UnsafePointer<OSSL_ALGORITHM>? = { _, kind, mustNotBeKept in
            switch kind {
            case OSSL_OP_CIPHER:
                mustNotBeKept?.pointee = 0
                return AlgorithmProvider.ciphers
            case OSSL_OP_DIGEST:
                mustNotBeKept?.pointee = 0
                return AlgorithmProvider.digests
            default: return OSSL_PROVIDER_query_operation(AlgorithmProvider.origin, kind, mustNotBeKept)
            }
        }

    /// Those of the default provider's algorithms of a kind that are passed on, for ever; nil if they may not be kept.
    private static func selection(
        of kind: CInt,
        _ isPassedOn: (UnsafePointer<CChar>) -> Bool
    ) -> UnsafePointer<OSSL_ALGORITHM>? {
        var mustNotBeKept: CInt = 0
        guard let all = OSSL_PROVIDER_query_operation(origin, kind, &mustNotBeKept), mustNotBeKept == 0 else {
            return nil
        }
        var count = 0
        while all[count].algorithm_names != nil { count += 1 }
        let selected = UnsafeMutablePointer<OSSL_ALGORITHM>.allocate(capacity: count + 1)
        var end = selected
        for algorithm in UnsafeBufferPointer(start: all, count: count) where isPassedOn(algorithm.algorithm_names) {
            end.initialize(to: algorithm)
            end += 1
        }
        // The one without a name is the last.
        end.initialize(to: all[count])
        return UnsafePointer(selected)
    }

    /// Whether a cipher is one of TCG's: a block cipher in a mode of TPM_ALG_CTR, OFB, CBC, CFB or ECB. TCG Algorithm
    /// Registry, 6.2
    ///
    /// libcrypto's own generator of random numbers needs two of them.
    private static func isCipherOfTPM(_ names: UnsafePointer<CChar>) -> Bool {
        let ciphers: [StaticString] = [
            "AES-128", "AES-192", "AES-256", "CAMELLIA-128", "CAMELLIA-192", "CAMELLIA-256", "DES-EDE3", "SM4",
        ]
        let modes: [StaticString] = ["-CTR", "-OFB", "-CBC", "-CFB", "-ECB"]
        return ciphers.contains { cipher in
            guard let rest = suffix(of: names, after: cipher) else { return false }
            return modes.contains { mode in suffix(of: rest, after: mode).map(isEndOfName) ?? false }
        }
    }

    /// Whether a digest is one of TCG's. TCG Algorithm Registry, 6.2
    private static func isDigestOfTPM(_ names: UnsafePointer<CChar>) -> Bool {
        let digests: [StaticString] = [
            "SHA1", "SHA2-256", "SHA2-384", "SHA2-512", "SHA3-256", "SHA3-384", "SHA3-512", "SM3",
        ]
        return digests.contains { digest in suffix(of: names, after: digest).map(isEndOfName) ?? false }
    }

    /// What follows a prefix; nil if the text does not begin with it.
    private static func suffix(of text: UnsafePointer<CChar>, after prefix: StaticString) -> UnsafePointer<CChar>? {
        let length = prefix.utf8CodeUnitCount
        return strncmp(text, UnsafeRawPointer(prefix.utf8Start).assumingMemoryBound(to: CChar.self), length) == 0
            ? text + length : nil
    }

    /// Whether an algorithm's first name ends here; a colon is before each other one. provider-base(7ossl)
    private static func isEndOfName(_ text: UnsafePointer<CChar>) -> Bool {
        text.pointee == 0 || text.pointee == CChar(UInt8(ascii: ":"))
    }
}
