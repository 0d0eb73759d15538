// What a process costs that holds the same libraries as a supervisor, and computes one AES-256-GCM and one HKDF with them.
// With LIBCRYPTO it does so with libcrypto, else with nettle. It prints a byte when it has done so, and waits to be killed.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef LIBCRYPTO
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#else
#include <nettle/gcm.h>
#include <nettle/hkdf.h>
#include <nettle/hmac.h>
#endif

static void require(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "memory-floor-keeper: cannot %s\n", what);
    exit(1);
}

#ifdef LIBCRYPTO
static void keep(void) {
    unsigned char key[32] = {0}, nonce[12] = {0}, text[32] = {0}, out[64];
    size_t size = sizeof key;
    int count;
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    require(EVP_EncryptInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce) == 1, "encrypt");
    require(EVP_EncryptUpdate(cipher, out, &count, text, sizeof text) == 1, "encrypt");
    require(EVP_EncryptFinal_ex(cipher, out + count, &count) == 1, "encrypt");
    EVP_CIPHER_CTX_free(cipher);
    EVP_PKEY_CTX *derivation = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    require(EVP_PKEY_derive_init(derivation) == 1, "derive");
    require(EVP_PKEY_CTX_set_hkdf_md(derivation, EVP_sha256()) == 1, "derive");
    require(EVP_PKEY_CTX_set1_hkdf_key(derivation, key, sizeof key) == 1, "derive");
    require(EVP_PKEY_derive(derivation, key, &size) == 1, "derive");
    EVP_PKEY_CTX_free(derivation);
}
#else
static void keep(void) {
    static const uint8_t nonce[GCM_IV_SIZE] = {0}, text[32] = {0};
    uint8_t key[AES256_KEY_SIZE] = {0}, out[32], tag[GCM_DIGEST_SIZE];
    struct gcm_aes256_ctx cipher;
    gcm_aes256_set_key(&cipher, key);
    gcm_aes256_set_iv(&cipher, sizeof nonce, nonce);
    gcm_aes256_encrypt(&cipher, sizeof text, out, text);
    gcm_aes256_digest(&cipher, sizeof tag, tag);
    struct hmac_sha256_ctx mac;
    hmac_sha256_set_key(&mac, sizeof key, key);
    hkdf_extract(&mac, (nettle_hash_update_func *)hmac_sha256_update, (nettle_hash_digest_func *)hmac_sha256_digest,
                 SHA256_DIGEST_SIZE, sizeof key, key, out);
    hmac_sha256_set_key(&mac, sizeof out, out);
    hkdf_expand(&mac, (nettle_hash_update_func *)hmac_sha256_update, (nettle_hash_digest_func *)hmac_sha256_digest,
                SHA256_DIGEST_SIZE, sizeof tag, tag, sizeof key, key);
}
#endif

int main(void) {
    keep();
    malloc_trim(0);
    require(write(STDOUT_FILENO, ".", 1) == 1, "say so");
    pause();
}
