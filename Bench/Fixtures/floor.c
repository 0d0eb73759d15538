// The floor: a vTPM that is an ioctl and libtpms, and nothing else. No state that outlives it, no encryption, no
// second process, no protection. Prints the device's number, and serves it until it is killed.
#include <errno.h>
#include <fcntl.h>
#include <libtpms/tpm_error.h>
#include <libtpms/tpm_library.h>
#include <libtpms/tpm_nvfilename.h>
#include <libtpms/tpm_tis.h>
#include <linux/vtpm_proxy.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static unsigned char *state;
static uint32_t state_size;

static TPM_RESULT initialize(void) { return TPM_SUCCESS; }

static TPM_RESULT load(unsigned char **data, uint32_t *length, uint32_t number, const char *name) {
    (void)number;
    if (!state || strcmp(name, TPM_PERMANENT_ALL_NAME) != 0) return TPM_RETRY;
    *data = malloc(state_size);
    if (!*data) return TPM_FAIL;
    memcpy(*data, state, state_size);
    *length = state_size;
    return TPM_SUCCESS;
}

static TPM_RESULT store(const unsigned char *data, uint32_t length, uint32_t number, const char *name) {
    (void)number, (void)name;
    unsigned char *copy = realloc(state, length);
    if (!copy) return TPM_FAIL;
    memcpy(copy, data, length);
    state = copy;
    state_size = length;
    return TPM_SUCCESS;
}

static TPM_RESULT delete_name(uint32_t number, const char *name, TPM_BOOL must_exist) {
    (void)number, (void)name, (void)must_exist;
    return TPM_SUCCESS;
}

static TPM_RESULT zero(uint32_t *value, uint32_t number) {
    (void)number;
    *value = 0;
    return TPM_SUCCESS;
}

static TPM_RESULT no_presence(TPM_BOOL *value, uint32_t number) {
    (void)number;
    *value = 0;
    return TPM_SUCCESS;
}

static void fail(const char *what) {
    fprintf(stderr, "floor: cannot %s: %s\n", what, strerror(errno));
    exit(1);
}

int main(void) {
    struct libtpms_callbacks callbacks = {
        .sizeOfStruct = sizeof callbacks, .tpm_nvram_init = initialize, .tpm_nvram_loaddata = load,
        .tpm_nvram_storedata = store, .tpm_nvram_deletename = delete_name, .tpm_io_init = initialize,
        .tpm_io_getlocality = zero, .tpm_io_getphysicalpresence = no_presence};
    static unsigned char command[4096];
    unsigned char *answer = NULL;
    uint32_t size = 0, capacity = 0;
    static unsigned char startup[] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0};
    if (TPMLIB_ChooseTPMVersion(TPMLIB_TPM_VERSION_2) || TPMLIB_RegisterCallbacks(&callbacks) || TPMLIB_MainInit() ||
        TPMLIB_Process(&answer, &size, &capacity, startup, sizeof startup))
        fail("start libtpms");

    struct vtpm_proxy_new_dev device = {.flags = VTPM_PROXY_FLAG_TPM2};
    int control = open("/dev/vtpmx", O_RDWR | O_CLOEXEC);
    if (control < 0 || ioctl(control, VTPM_PROXY_IOC_NEW_DEV, &device) != 0) fail("make a device");
    printf("New TPM device: /dev/tpm%u\n", device.tpm_num);
    fflush(stdout);
    for (;;) {
        struct pollfd set = {.fd = (int)device.fd, .events = POLLIN};
        if (poll(&set, 1, -1) < 0) continue;
        if (!(set.revents & POLLIN)) return 0;
        ssize_t count = read((int)device.fd, command, sizeof command);
        if (count < 10) continue;
        static const unsigned char good[] = {0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0};
        static const unsigned char set_locality[] = {0x20, 0, 0x10, 0};
        const unsigned char *out = good;
        size = sizeof good;
        if (memcmp(command + 6, set_locality, 4) != 0) {
            if (TPMLIB_Process(&answer, &size, &capacity, command, (uint32_t)count)) fail("process a command");
            out = answer;
        }
        if (write((int)device.fd, out, size) < 0 && errno == EPIPE) return 0;
    }
}
