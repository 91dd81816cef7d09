// What llama.cpp computes on CPUs with AVX512-BF16 by the core's kernels in place of ggml's: products with BF16
// matrices, which lie packed as for training, and attention to its cache of keys and values.
#pragma once

namespace ri {

// Hands the kernels to ggml's CPU backend: once in a process, behind its loading. llama.cpp lays a model's matrices out
// for them unless it is told not to (llama_model_params.use_extra_bufts); flash attention of whoever uses this backend
// goes to ours. Does nothing where they do not run (kernels::available()).
void offer_kernels();

} // namespace ri
