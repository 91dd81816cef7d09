// A model with its quantised matrices as BF16, for CPUs that run BF16 faster than the file's own type.
//
// Measured with SmolLM2-135M (Q4_1), 2 cores with AVX512-BF16, 32 sequences side by side: 810 tokens a second against
// 260 of ggml's kernels for the file's own type (recint bench generate). One sequence alone reads three times as many
// bytes for each token. It is also what the training graph computes with.
#pragma once

#include "engine.h"
#include "gguf.h"

#include <cstdio>
#include <memory>

namespace ri {

struct CloseFile {
    void operator()(FILE *file) const { fclose(file); }
};
using File = std::unique_ptr<FILE, CloseFile>;

// Whether this engine should run a copy of this file; require_llama(gguf) must have passed.
bool wants_bf16(const Engine &engine, const Gguf &gguf);

// The copy, in a file without a name, at its start. Throws RI_MEMORY when there is no room for it.
File bf16_copy(const Gguf &gguf);

} // namespace ri
