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
