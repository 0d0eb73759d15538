// What libFuzzer and the coverage run-time offer to a program with a main of its own.
#pragma once
#include <stddef.h>
#include <stdint.h>

// compiler-rt/lib/fuzzer/FuzzerInterface.h has these in C++.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));
void __sanitizer_cov_8bit_counters_init(uint8_t *start, uint8_t *stop);
void __sanitizer_cov_pcs_init(const uintptr_t *start, const uintptr_t *stop);
