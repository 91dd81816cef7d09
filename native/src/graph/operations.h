// Differentiable operations: free functions that record their rule on a graph's tape. Dimensions
// are in ggml's order, fastest first: [E, N] is a row-major N x E matrix.
#pragma once

#include "graph/graph.h"
#include "kernels/packed_matrix.h"

namespace ri {

// A frozen matrix and its transpose, so that the gradient of its input is a second forward-speed
// product: in panels for a kernel set, or as two ggml tensors.
struct FrozenLinear {
    int64_t n_in = 0, n_out = 0;
    int64_t size() const { return n_in * n_out; }
    std::unique_ptr<kernels::PackedMatrix> packed, packed_transposed;
    ggml_tensor *weight = nullptr;     // [n_in, n_out]
    ggml_tensor *transposed = nullptr; // [n_out, n_in]
};

// b of add and mul may be one row [n] that is repeated
Var add(Graph &g, Var a, Var b);
Var mul(Graph &g, Var a, Var b);
Var scale(Graph &g, Var a, float factor);
Var scale_rows(Graph &g, Var a, ggml_tensor *factors); // a [n, N], one constant for each of N: factors [1, N]
Var largest(Graph &g, Var a);                          // over dimension 0; equal ones share the gradient alike
Var mul_mat(Graph &g, Var a,
            Var b); // a [k, m, ..], b [k, n, ..] -> [m, n, ..]; a may be repeated over b's batches if constant
// w x + b for w [in, out] and x [in, N]; a bias without a value is none.
Var linear(Graph &g, Var w, Var x, Var bias);
// The same without a bias for a matrix that is not trained, which must outlive the graph.
Var frozen_linear(Graph &g, const FrozenLinear &m, Var x);
Var reshape(Graph &g, Var a, int64_t ne0, int64_t ne1 = 1, int64_t ne2 = 1, int64_t ne3 = 1);
Var permute(Graph &g, Var a, int axis0, int axis1, int axis2, int axis3); // as ggml_permute, made contiguous
Var slice(Graph &g, Var a, int64_t first, int64_t count);                 // of dimension 0, made contiguous
Var concat(Graph &g, Var a, Var b);                                       // along dimension 0
Var first_rows(Graph &g, Var a, int64_t count);                           // of a matrix
std::vector<Var> split(Graph &g, Var a,
                       int64_t count); // along the last dimension; the first part must take part in the loss
Var stack(Graph &g, const std::vector<Var> &parts); // matrices side by side along dimension 1
Var relu(Graph &g, Var a);
Var sigmoid(Graph &g, Var a);
Var tanh(Graph &g, Var a);
Var gelu(Graph &g, Var a);     // tanh form
Var gelu_erf(Graph &g, Var a); // exact form
Var silu(Graph &g, Var a);
Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps); // over dimension 0
Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps);    // over dimension 0; the weight is frozen
// The first heads of a [n, N] and the next ones, each normalised by itself; what follows stays as
// it is.
struct HeadNorm {
    ggml_tensor *weight; // [numbers of a head]
    int64_t heads;
};
Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps);
Var swiglu(Graph &g, Var gate_up);                             // [2n, N] -> [n, N]: silu(first half) * second half
Var softmax(Graph &g, Var a, ggml_tensor *mask, float factor); // softmax(factor * a + mask) over dimension 0
// Rows of a table [n, rows] by ids I32 [count] -> [n, count].
Var get_rows(Graph &g, Var table, ggml_tensor *ids);
// The same where each row that takes part in the loss is asked for once, so that its gradient is a
// gather, too, by places I32 [rows]: the place of each row among the ids, or one whose gradient is
// 0. A kernel set does without them.
Var pick_rows(Graph &g, Var table, ggml_tensor *ids, ggml_tensor *places);
// The products of each of x [k, N] with rows of a table [k, rows], plus the bias [rows], if it has
// a value, of these rows: ids I32 [count * N] -> [count, N].
Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids);
// `base` [n, N], which is overwritten, with its rows at places I32 [M] those of `inserted` [n, M].
Var splice(Graph &g, ggml_tensor *base, Var inserted, ggml_tensor *places);

// Of plain tensors, not recorded: a + b and a * b, where b's numbers may repeat along a's; sums
// over all dimensions but the first, [n, ...] -> [n].
ggml_tensor *plus(Graph &g, ggml_tensor *a, ggml_tensor *b);
ggml_tensor *times(Graph &g, ggml_tensor *a, ggml_tensor *b);
ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a);

namespace composed {
// The gradient of y = softmax(factor * x) by x.
ggml_tensor *softmax_back(Graph &g, ggml_tensor *dy, ggml_tensor *y, float factor);
} // namespace composed

} // namespace ri
