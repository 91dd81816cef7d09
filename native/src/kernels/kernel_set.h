// The core's CPU kernels: one source (this folder), compiled once for each instruction set, and the
// table of what each set offers. The engine selects one set; the other files of the core call
// kernels through it and know no instruction set. Backends that are not the CPU, and "portable",
// have no set: there the same operations are composed of ggml's.
#pragma once

#include "shapes.h"

#include <string>
#include <vector>

namespace ri::kernels {

// One set: its name, what it needs, the layout of its packed matrices, and its kernels
// (kernels.def).
struct KernelSet {
    const char *name;
    int64_t panel;     // outputs of one panel of a packed matrix
    bool rounds_input; // whether products with bfloat16 matrices round the other factor to bfloat16, too
#define RI_KERNEL(result, kernel, ...) result (*kernel)(__VA_ARGS__);
#include "kernels.def"
#undef RI_KERNEL
};

// A set that this library was built with.
struct Candidate {
    const KernelSet *set;
    std::string missing; // the instructions that this processor lacks for it; empty if it can run
    bool supported() const { return missing.empty(); }
};

// All sets, the fastest first.
const std::vector<Candidate> &candidates();

// The set called `name`, the value of RECINT_KERNELS, or the first that this processor supports if
// the name is null or empty. Throws RI_INVALID for a name that no set has, RI_UNSUPPORTED for a set
// that this processor cannot run.
const KernelSet &select(const char *name);

} // namespace ri::kernels
