import CNettle
import CryptoPrimitives
import Glibc
import Platform

// nettle, "GCM". Its contexts have the key's schedule and a table of the hash key.
extension Nettle {
    public static func sealAES256GCM(
        _ message: SecretMessage,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> Bool {
        precondition(output.count == message.count + AlgorithmSize.gcmTag)
        return withContext { (context: UnsafeMutablePointer<gcm_aes256_ctx>) in
            begin(context, parameters)
            encrypt(message, context, into: output)
            let tag = UnsafeMutableRawBufferPointer(rebasing: output.suffix(AlgorithmSize.gcmTag))
            nettle_gcm_aes256_digest(context, tag.count, tag.unsigned)
            return true
        }
    }

    public static func openAES256GCM(
        _ sealed: UnsafeRawBufferPointer,
        _ parameters: AEADParameters,
        into output: UnsafeMutableRawBufferPointer
    ) -> AEADOpened {
        precondition(output.count == sealed.count - AlgorithmSize.gcmTag)
        return withContext { (context: UnsafeMutablePointer<gcm_aes256_ctx>) in
            begin(context, parameters)
            nettle_gcm_aes256_decrypt(context, output.count, output.unsigned, sealed.unsigned)
            var tag = [UInt8](repeating: 0, count: AlgorithmSize.gcmTag)
            nettle_gcm_aes256_digest(context, tag.count, &tag)
            return isEqual(tag, Array(sealed.suffix(AlgorithmSize.gcmTag))) ? .plaintext : .wrongTag
        }
    }

    private static func begin(_ context: UnsafeMutablePointer<gcm_aes256_ctx>, _ parameters: AEADParameters) {
        parameters.key.withBytes { nettle_gcm_aes256_set_key(context, $0.unsigned) }
        nettle_gcm_aes256_set_iv(context, parameters.nonce.count, parameters.nonce)
        nettle_gcm_aes256_update(context, parameters.associatedData.count, parameters.associatedData)
    }

    /// Encrypts the parts of a message into the beginning of `output`.
    ///
    /// nettle takes whole blocks in all calls but the last, and the parts end anywhere: the block that lies across two
    /// of them is put together beside them.
    private static func encrypt(
        _ message: SecretMessage,
        _ context: UnsafeMutablePointer<gcm_aes256_ctx>,
        into output: UnsafeMutableRawBufferPointer
    ) {
        let size = AlgorithmSize.aesBlock
        var target = output[...]
        func encrypt(_ bytes: UnsafeRawBufferPointer) {
            let written = UnsafeMutableRawBufferPointer(rebasing: target.prefix(bytes.count))
            nettle_gcm_aes256_encrypt(context, bytes.count, written.unsigned, bytes.unsigned)
            target = target.dropFirst(bytes.count)
        }
        withWipedBytes(size) { block in
            var held = 0
            _ = message.forEachPart { part in
                var rest = part[...]
                if held > 0 {
                    let added = rest.prefix(size - held)
                    UnsafeMutableRawBufferPointer(rebasing: block[held...]).copyMemory(from: .init(rebasing: added))
                    held += added.count
                    rest = rest.dropFirst(added.count)
                    guard held == size else { return true }
                    encrypt(UnsafeRawBufferPointer(block))
                }
                let whole = rest.prefix(rest.count / size * size)
                encrypt(UnsafeRawBufferPointer(rebasing: whole))
                let last = rest.dropFirst(whole.count)
                block.copyMemory(from: .init(rebasing: last))
                held = last.count
                return true
            }
            encrypt(UnsafeRawBufferPointer(rebasing: block.prefix(held)))
        }
    }
}
