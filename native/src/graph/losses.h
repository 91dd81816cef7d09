// Losses: scalars from which Graph::backward() starts.
#pragma once

#include "graph/graph.h"

namespace ri {

// sum_i weight[i] * -log softmax(logits[:, i])[target[i]]; logits [V, N], flat_targets I32 [N]
// holds i*V + target. *logprobs, if asked for, is log p(target) [N].
Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights,
                  ggml_tensor **logprobs = nullptr);
// Sum of weight[i] * (softplus of scores, negated in row 0, over column i); scores [1 + negatives,
// N]. Row 0 counts 1 - discount times.
Var binary_cross_entropy(Graph &g, Var scores, ggml_tensor *weights, float discount);
Var mean_squared_error(Graph &g, Var a, Var target);
Var sum_of_losses(Graph &g, Var a, Var b);

} // namespace ri
