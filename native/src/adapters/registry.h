// The kinds of adapters. A kind is one file in this folder that defines an AdapterKind, and one
// line in registry.cpp.
#pragma once

#include "adapter.h"

#include <cmath>

namespace ri {

// The optional sizes of ri_adapter_params that a kind takes; the others must be 0.
enum AdapterSizes { NO_SIZES = 0, N_HIDDEN = 1, N_MIXED = 2, N_ENTRIES = 4, N_LOOKUPS = 8 };

struct AdapterKind {
    const char *name;
    int sizes; // a sum of AdapterSizes
    // Tensors in the order of files. Every size is within its range; the layout checks how sizes
    // depend on each other.
    std::vector<TensorSpec> (*layout)(const ri_adapter_params &params);
    // States [n_in, n] -> soft tokens [K*E, n].
    Var (*soft_tokens)(Graph &graph, const Adapter &adapter, Var states);
};

// Throws RI_INVALID where no kind has that name.
const AdapterKind &adapter_kind(const char *name);

// First values for a matrix whose rows have n_in numbers: what it makes of numbers of variance 1
// has the deviation `times`.
inline Initial spread(int64_t n_in, double times = 1) {
    return {RI_INITIAL_NORMAL, 1 / std::sqrt(double(n_in)) * times};
}

// The root mean square of GELU(z) for a standard normal z, by numerical integration.
inline constexpr double gelu_rms = 0.6521;

// Turns each soft token [E] of what was looked up, [E, K*n], by the matrix "turn" and adds "bias":
// [K*E, n].
Var turn_and_shift(Graph &graph, const Adapter &adapter, Var found);

} // namespace ri
