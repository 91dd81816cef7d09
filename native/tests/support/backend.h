// Where tests compute that are not about one backend.
#pragma once

#include "support/made_up_gpu.h"

#include <cstdlib>
#include <cstring>

// The CPU, or what RECINT_BACKEND names: a GPU (make test-gpu), or the made-up one.
inline const char *test_backend() {
    const char *name = std::getenv("RECINT_BACKEND");
    if (!name) return "cpu";
    if (strcmp(name, "made-up") == 0) register_made_up_gpu();
    return name;
}

// How far off results may be: `exact` where products are in float32, and `coarse` on NVIDIA GPUs,
// whose products keep 10 bits of each factor's fraction (docs/gpu.md).
inline bool coarse_products() { return strcmp(test_backend(), "cuda") == 0; }
inline double bound(double exact, double coarse) { return coarse_products() ? coarse : exact; }
