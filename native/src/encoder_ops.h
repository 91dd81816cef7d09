// The operations that recommenders are made of: each runs on the engine's kernel set, or is
// composed of ggml operations that every backend has.
#pragma once

#include "recommender.h"

namespace ri {

// Specifications of tensors with their first values: embeddings are normal, and matrices and biases
// uniform in +-1/sqrt(fan-in), as in PyTorch.
constexpr double small_embeddings = 0.02; // the usual deviation of embeddings
// A row for each item, and the padding's.
TensorSpec item_table(const std::string &name, int64_t n_items, int64_t width, double deviation = small_embeddings);
TensorSpec table(const std::string &name, ri_role role, int64_t rows, int64_t width,
                 double deviation = small_embeddings);
// NAME.weight [out, in] and NAME.bias [out].
void add_dense(std::vector<TensorSpec> &specs, const std::string &name, int64_t out, int64_t in,
               ri_role role = RI_ROLE_MATRIX);
void add_dense(std::vector<TensorSpec> &specs, const std::string &weight, const std::string &bias, int64_t out,
               int64_t in, ri_role role = RI_ROLE_MATRIX);
// The same as a model's output layer, with a row for each item.
void add_output(std::vector<TensorSpec> &specs, const std::string &name, int64_t n_items, int64_t in);
// NAME.weight, ones, and NAME.bias, zeros, of a normalisation.
void add_norm(std::vector<TensorSpec> &specs, const std::string &name, int64_t width);
// NAME.weight of a convolution, and NAME.bias, zeros: embeddings are small at first, so that a
// filter whose bias is negative would never pass its relu, and never learn.
void add_filters(std::vector<TensorSpec> &specs, const std::string &name, std::vector<int64_t> shape);

// The layers NAME.weight, NAME.bias of a model. x [n, N] -> [out, N]; normalised over n.
Var linear(const Model &model, Graph &graph, const std::string &name, Var x);
Var layer_norm(const Model &model, Graph &graph, const std::string &name, Var x, float eps);

// x [n, T * samples] itself, through which no gradient flows back to padding: PyTorch's
// padding_idx.
Var freeze_padding(Graph &graph, const Source &source, Var x);

// Queries or keys x [D, T * samples], or with `last` [D, samples] at the last positions, turned by
// angles in proportion to their positions, so that products of them depend on distances alone (Su
// et al. 2021, arXiv 2104.09864). Number i of the first half of a head is turned with number i of
// the second.
Var rotate(Graph &graph, const Source &source, Var x, int64_t heads, bool last);

// Multi-head causal attention (Vaswani et al. 2017). k, v [D, T * samples]; q the same, or one for
// each sample at its last position [D, samples] when `last`. -> like q. Dropout, if any, falls on
// the weights.
Var causal_attention(Graph &graph, Source &source, Var q, Var k, Var v, int64_t heads, bool last);
// The same where each position attends to all of its sample, which padding must follow.
Var full_attention(Graph &graph, Source &source, Var q, Var k, Var v, int64_t heads, bool last);

// The bucket of the time between the items of a query and a key, for each weight of attention: I32
// [T * queries * samples], 0 for a key after its query.
ggml_tensor *time_buckets(Graph &graph, const Source &source, bool last);
// The number of those buckets.
int64_t n_time_buckets();

// Causal attention whose weights are silu(q k + bias of the distance + bias of the pair) / T,
// without a softmax (Zhai et al. 2024, arXiv 2402.17152, eq. 2); bias [T], pairs [T, queries *
// samples] or without a value. Else as causal_attention; nothing is dropped.
Var pointwise_attention(Graph &graph, Source &source, Var q, Var k, Var v, Var bias, Var pairs, int64_t heads,
                        bool last);

// One GRU layer: gates [3H, T * samples] are what the inputs give to the reset, update and new
// gates; w [H, 3H] and bias [3H] what the state before gives. -> states [H, T * samples]; behind a
// history's end the last state stays.
Var gru(Graph &graph, Source &source, Var gates, Var w, Var bias);

// relu and the largest over time of a convolution over windows of `height` positions: x [D, T *
// samples], w [height * D, F], bias [F] -> [F, samples].
Var windows_max(Graph &graph, const Source &source, Var x, Var w, Var bias, int64_t height);

// Weighted sums over positions: x [D, T * samples], w [T, F], bias [F] -> [F * D, samples], the
// numbers of one filter side by side.
Var weigh_positions(Graph &graph, const Source &source, Var x, Var w, Var bias);

} // namespace ri
