import CLibCrypto
import RuntimeWorker
import TestSupport
import Testing

/// What a worker's libcrypto offers, and that it is enough for the TPM.
@Suite(.serialized) struct AlgorithmProviderTests {
    /// In a process of its own, since it is for good.
    @Test func onlyWhatATPMCanHaveIsOffered() async {
        await #expect(processExitsWith: .success) {
            TPMEngine.prepareLibraries()
            for cipher in ["AES-128-CFB", "AES-256-CTR", "CAMELLIA-192-OFB", "DES-EDE3-CBC", "SM4-ECB"] {
                precondition(EVP_CIPHER_fetch(nil, cipher, nil) != nil, "\(cipher)")
            }
            for digest in ["SHA1", "SHA256", "SHA384", "SHA512", "SHA3-256", "SM3"] {
                precondition(EVP_MD_fetch(nil, digest, nil) != nil, "\(digest)")
            }
            for cipher in ["AES-128-CFB1", "AES-128-GCM", "ARIA-128-CFB", "ChaCha20"] {
                precondition(EVP_CIPHER_fetch(nil, cipher, nil) == nil, "\(cipher)")
            }
            for digest in ["MD5", "SHA2-224", "BLAKE2b-512", "SHA2-512/256"] {
                precondition(EVP_MD_fetch(nil, digest, nil) == nil, "\(digest)")
            }
            precondition(OSSL_PROVIDER_available(nil, "default") == 0)
            // Of the other kinds all is left.
            precondition(EVP_KDF_fetch(nil, "SSKDF", nil) != nil)
            precondition(EVP_SIGNATURE_fetch(nil, "RSA", nil) != nil)
            var bytes = [UInt8](repeating: 0, count: 32)
            precondition(RAND_bytes(&bytes, 32) == 1 && bytes.contains { $0 != 0 })
        }
    }

    /// Every symmetric algorithm and mode that the TPM says it has, in use; the installed worker, if there is one.
    @Test func theTPMHasAllThatItOffers() throws {
        let tpm = try VTPMUnderTest(in: TemporaryDirectory())
        try tpm.create()
        let list = try tpm.run("tpm2_getcap algorithms | sed -n 's/^\\([a-z0-9]*\\):$/\\1/p'")
        let algorithms = Set(list.split(separator: "\n").map { String($0) })
        #expect(algorithms.isSuperset(of: ["aes", "camellia", "ctr", "ofb", "cbc", "cfb", "ecb", "sha1", "sha512"]))
        #expect(algorithms.isDisjoint(with: ["sm4", "sm3_256", "sha3_256"]), "\(algorithms)")
        // TPM2_SelfTest tries each cipher in each mode, also TDES and ECB, with which the tools cannot encrypt.
        try tpm.run("tpm2_selftest --fulltest && tpm2_gettestresult")
        try tpm.run("head -c 64 /dev/urandom >plain")
        let attributes = "userwithauth|sign|decrypt|fixedtpm|fixedparent|sensitivedataorigin"
        for cipher in ["aes128", "aes256", "camellia128", "camellia256"] {
            for mode in ["ctr", "ofb", "cbc", "cfb"] {
                try tpm.run(
                    "tpm2_createprimary -Q -C o -G \(cipher)\(mode) -a '\(attributes)' -c k.ctx && tpm2_flushcontext -t"
                )
                for (option, input, output) in [("", "plain", "coded"), ("-d", "coded", "again")] {
                    try tpm.run(
                        "tpm2_encryptdecrypt -Q \(option) -c k.ctx -o \(output) \(input) && tpm2_flushcontext -t"
                    )
                }
                try tpm.run("cmp plain again && ! cmp -s plain coded")
            }
        }
        for digest in ["sha1", "sha256", "sha384", "sha512"] {
            try tpm.run("test \"$(tpm2_hash --hex -g \(digest) plain)\" = \"$(\(digest)sum plain | cut -d' ' -f1)\"")
        }
        try tpm.stop()
    }
}
