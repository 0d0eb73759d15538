// What a process costs that holds the same libraries as a worker, and a TPM that has answered one command and tested itself.
// It prints a byte when it has done so, and waits to be killed.
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void require(int good, const char *what) {
    if (good) return;
    fprintf(stderr, "memory-floor-tpm: cannot %s\n", what);
    exit(1);
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

static void execute(unsigned char *command, uint32_t length, const char *what) {
    static unsigned char *answer;
    static uint32_t room;
    uint32_t size = 0;
    require(TPMLIB_Process(&answer, &size, &room, command, length) == TPM_SUCCESS, what);
    // The response code. TPM 2.0 Library, Part 1, 18.7
    require(size >= 10 && memcmp(answer + 6, "\0\0\0", 4) == 0, what);
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
    static unsigned char startup[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0};
    static unsigned char get_random[] = {0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 32};
    static unsigned char self_test[] = {0x80, 0x01, 0, 0, 0, 11, 0, 0, 0x01, 0x43, 1};
    execute(startup, sizeof startup, "start the TPM up");
    execute(get_random, sizeof get_random, "execute TPM2_GetRandom");
    execute(self_test, sizeof self_test, "execute TPM2_SelfTest");
    free(state);
    state = NULL;
}

// As the worker prepares it for libtpms.
static void prepare_libcrypto(void) {
    unsigned char byte;
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS |
                            OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_NO_ADD_ALL_DIGESTS,
                        NULL);
    require(EVP_add_digest(EVP_sha1()) && EVP_add_digest(EVP_sha256()) && EVP_add_digest(EVP_sha384()) &&
                EVP_add_digest(EVP_sha512()),
            "add the digests");
    require(RAND_bytes(&byte, 1) == 1, "have random numbers");
}

int main(void) {
    prepare_libcrypto();
    start();
    malloc_trim(0);
    require(write(STDOUT_FILENO, ".", 1) == 1, "say so");
    pause();
}
