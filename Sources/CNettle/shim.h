#pragma once
#include <gmp.h>
#include <nettle/aes.h>
#include <nettle/cfb.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/gcm.h>
#include <nettle/hkdf.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <sys/random.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

/// Whether the processor has the instructions with which nettle computes AES and GHASH; without them it uses tables.
static inline _Bool cnettle_has_aes_instructions(void) {
#if defined(__x86_64__)
    // Both are macros over inline assembly.
    unsigned int a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AES) && (c & bit_PCLMUL);
#elif defined(__aarch64__)
    unsigned long capabilities = getauxval(AT_HWCAP);
    return (capabilities & HWCAP_AES) && (capabilities & HWCAP_PMULL);
#else
    return 0;
#endif
}
