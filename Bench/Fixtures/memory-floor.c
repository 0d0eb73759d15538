// What two processes cost that hold the same libraries as a supervisor and a worker, and nothing else.
//
//   memory-floor keeper   libcrypto, with one AES-256-GCM and one HKDF computed
//   memory-floor tpm      libtpms, with a TPM that has started up
//
// It prints a line when it has done so, and waits to be killed.
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void require(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "memory-floor: cannot %s\n", what);
    exit(1);
}

static void keep(void) {
    unsigned char key[32] = {0}, nonce[12] = {0}, text[32] = {0}, out[64];
    size_t size = sizeof key;
    int count;
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

// The last state that libtpms stored; it loads more than once while it starts.
static unsigned char *state;
static uint32_t state_size;

static TPM_RESULT nothing(void) { return TPM_SUCCESS; }
static TPM_RESULT load(unsigned char **data, uint32_t *size, uint32_t number, const char *name) {
    (void)number;
    if (strcmp(name, TPM_PERMANENT_ALL_NAME) != 0 || !state) return TPM_RETRY;
    *data = malloc(state_size);
    require(*data != NULL, "allocate");
    memcpy(*data, state, state_size);
    *size = state_size;
    return TPM_SUCCESS;
}
static TPM_RESULT store(const unsigned char *data, uint32_t size, uint32_t number, const char *name) {
    (void)number;
    if (strcmp(name, TPM_PERMANENT_ALL_NAME) != 0) return TPM_SUCCESS;
    free(state);
    state = malloc(size);
    require(state != NULL, "allocate");
    memcpy(state, data, size);
    state_size = size;
    return TPM_SUCCESS;
}
static TPM_RESULT delete(uint32_t number, const char *name, TPM_BOOL must_exist) {
    (void)number, (void)name, (void)must_exist;
    return TPM_SUCCESS;
}
static TPM_RESULT zero(uint32_t *value, uint32_t number) {
    (void)number;
    *value = 0;
    return TPM_SUCCESS;
}
static TPM_RESULT absent(TPM_BOOL *value, uint32_t number) {
    (void)number;
    *value = 0;
    return TPM_SUCCESS;
}

static void start(void) {
    struct libtpms_callbacks callbacks = {
        .sizeOfStruct = sizeof callbacks,
        .tpm_nvram_init = nothing,
        .tpm_nvram_loaddata = load,
        .tpm_nvram_storedata = store,
        .tpm_nvram_deletename = delete,
        .tpm_io_init = nothing,
        .tpm_io_getlocality = zero,
        .tpm_io_getphysicalpresence = absent,
    };
    require(TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) == TPM_SUCCESS, "choose TPM 2.0");
    require(TPMLIB_RegisterCallbacks(&callbacks) == TPM_SUCCESS, "register callbacks");
    require(TPMLIB_MainInit() == TPM_SUCCESS, "start a TPM");
    unsigned char startup[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0}, *answer = NULL;
    uint32_t size = 0, room = 0;
    require(TPMLIB_Process(&answer, &size, &room, startup, sizeof startup) == TPM_SUCCESS, "start the TPM up");
    free(state);
    state = NULL;
}

int main(int count, char **arguments) {
    require(count == 2, "work without a role");
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
    if (strcmp(arguments[1], "keeper") == 0) keep();
    else start();
    malloc_trim(0);
    require(write(STDOUT_FILENO, ".\n", 2) == 2, "say so");
    pause();
}
