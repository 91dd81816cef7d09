// Losses: scalars from which Graph::backward() starts.
#pragma once

#include "graph/operations.h"

namespace ri {

// sum_i weight[i] * -log softmax(logits[:, i])[target[i]]; logits [V, N], flat_targets I32 [N]
// holds i*V + target. *logprobs, if asked for, is log p(target) [N].
Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights,
                  ggml_tensor **logprobs = nullptr);
// The same of the logits that `head` gives of x [E, N], `at_once` columns at a time, which is all
// that there ever are of logits: where there are several blocks, the gradient of x is computed with
// them, and i of a flat target starts at 0 in each.
Var frozen_cross_entropy(Graph &g, const FrozenLinear &head, Var x, int64_t at_once, ggml_tensor *flat_targets,
                         ggml_tensor *weights, ggml_tensor **logprobs);
// Sum of weight[i] * (softplus of scores, negated in row 0, over column i); scores [1 + negatives,
// N]. Row 0 counts 1 - discount times.
Var binary_cross_entropy(Graph &g, Var scores, ggml_tensor *weights, float discount);
Var mean_squared_error(Graph &g, Var a, Var target);
Var sum_of_losses(Graph &g, Var a, Var b);

} // namespace ri
