// How a GPU backend of the pinned llama.cpp would run a graph, on any machine: its own functions
// decide, and everything that would need the vendor's libraries does nothing. A test links
// metal.cpp or cuda.cpp.
#pragma once

#include "ggml.h"

#include <set>
#include <string>

namespace gpu {

// Whether it takes this operation, with its types and strides: Metal on an M1 or later, CUDA on an
// H100.
bool supports(const ggml_tensor *operation);

// The names of the kernels that a graph, whose tensors have their places in memory, runs on. Metal:
// on an M1, and on an M5 with its units for products. CUDA: what its dispatcher goes by, the
// operations.
std::set<std::string> kernels(ggml_cgraph *graph);

// The names of the kernels that the sources define. CUDA: the operations that its dispatcher knows.
std::set<std::string> defined_kernels();

} // namespace gpu
