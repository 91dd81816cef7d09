// The operations that recommenders are made of: each runs on the engine's kernel set, or is composed of ggml operations
// that every backend has.
#pragma once

#include "recommender.h"

namespace ri {

// Adds the specifications of a layer: NAME.weight of that shape, and NAME.bias for each of its rows.
void add_layer(std::vector<TensorSpec> &specs, const std::string &name, std::vector<int64_t> weight);
// The layers NAME.weight, NAME.bias of a model. x [n, N] -> [out, N]; normalised over n.
Var linear(const Model &model, Graph &graph, const std::string &name, Var x);
Var layer_norm(const Model &model, Graph &graph, const std::string &name, Var x, float eps);

// x [n, T * samples] itself, through which no gradient flows back to padding: PyTorch's padding_idx.
Var freeze_padding(Graph &graph, const Source &source, Var x);

// Multi-head causal attention (Vaswani et al. 2017). k, v [D, T * samples]; q the same, or one for each sample at its
// last position [D, samples] when `last`. -> like q. Dropout, if any, falls on the weights.
Var causal_attention(Graph &graph, Source &source, Var q, Var k, Var v, int64_t heads, bool last);

// One GRU layer: gates [3H, T * samples] are what the inputs give to the reset, update and new gates; w [H, 3H] and
// bias [3H] what the state before gives. -> states [H, T * samples]; behind a history's end the last state stays.
Var gru(Graph &graph, Source &source, Var gates, Var w, Var bias);

// relu and the largest over time of a convolution over windows of `height` positions: x [D, T * samples], w [height *
// D, F], bias [F] -> [F, samples].
Var windows_max(Graph &graph, const Source &source, Var x, Var w, Var bias, int64_t height);

// Weighted sums over positions: x [D, T * samples], w [T, F], bias [F] -> [F * D, samples], the numbers of one filter
// side by side.
Var weigh_positions(Graph &graph, const Source &source, Var x, Var w, Var bias);

} // namespace ri
