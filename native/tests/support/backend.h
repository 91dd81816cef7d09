// Where tests compute that are not about one backend.
#pragma once

#include <cstdlib>

// The CPU, or what RECINT_BACKEND names (make test-gpu).
inline const char *test_backend() {
    const char *name = std::getenv("RECINT_BACKEND");
    return name ? name : "cpu";
}
