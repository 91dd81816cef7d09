// The two forms of operations that have both: by the engine's kernel set, and composed of ggml
// operations. Only operations.cpp and losses.cpp choose between them. Shapes are those of
// operations.h and losses.h.
#pragma once

#include "graph/losses.h"
#include "graph/operations.h"

namespace ri::by_kernels {

ggml_tensor *plus(Graph &g, ggml_tensor *a, ggml_tensor *b);
ggml_tensor *times(Graph &g, ggml_tensor *a, ggml_tensor *b);
ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a);
ggml_tensor *scale_rows(Graph &g, ggml_tensor *x, ggml_tensor *factors);
Var linear(Graph &g, Var w, Var x, Var bias);
Var gelu(Graph &g, Var a);
Var gelu_erf(Graph &g, Var a);
Var silu(Graph &g, Var a);
Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps);
Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps);
Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps);
Var swiglu(Graph &g, Var gate_up);
Var frozen_linear(Graph &g, const FrozenLinear &m, Var x);
Var softmax(Graph &g, Var a, float factor);
ggml_tensor *gather_rows(Graph &g, ggml_tensor *table, ggml_tensor *ids);
// The gradient of a table [n, rows] of which rows were taken: dy [n, count] added up by ids
// [count].
ggml_tensor *scatter_rows(Graph &g, ggml_tensor *dy, ggml_tensor *ids, const ggml_tensor *table);
Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids);
Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs);
Var mean_squared_error(Graph &g, Var a, Var target);

} // namespace ri::by_kernels

namespace ri::composed {

ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a);
Var linear(Graph &g, Var w, Var x, Var bias);
Var gelu(Graph &g, Var a);
Var gelu_erf(Graph &g, Var a);
Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps);
Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps);
Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps);
Var swiglu(Graph &g, Var gate_up);
Var frozen_linear(Graph &g, const FrozenLinear &m, Var x);
Var softmax(Graph &g, Var a, ggml_tensor *mask, float factor);
ggml_tensor *scatter_rows(Graph &g, ggml_tensor *dy, ggml_tensor *ids, ggml_tensor *table);
Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids);
Var pick_rows(Graph &g, Var table, ggml_tensor *ids, ggml_tensor *places);
Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs);
Var mean_squared_error(Graph &g, Var a, Var target);

} // namespace ri::composed
