// What the Metal backend of the pinned llama.cpp makes of a graph, asked on any machine: its own functions decide which
// operations it takes and choose their kernels, and everything that would need Apple's libraries does nothing.
#pragma once

#include "ggml.h"

#include <set>
#include <string>

namespace metal {

// Whether Metal takes this operation, with its types and strides, on an M1 or later.
bool supports(const ggml_tensor *operation);

// The names of the kernels that a graph, whose tensors have their places in memory, runs on: on an M1, and on an M5
// with its units for products.
std::set<std::string> kernels(ggml_cgraph *graph);

// The names of the kernels that the shader sources define.
std::set<std::string> defined_kernels();

} // namespace metal
