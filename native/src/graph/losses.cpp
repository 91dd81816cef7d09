#include "graph/losses.h"

#include "graph/forms.h"

namespace ri {

Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs) {
    return g.kernels() ? by_kernels::cross_entropy(g, logits, flat_targets, weights, logprobs)
                       : composed::cross_entropy(g, logits, flat_targets, weights, logprobs);
}

Var frozen_cross_entropy(Graph &g, const FrozenLinear &head, Var x, int64_t at_once, ggml_tensor *flat_targets,
                         ggml_tensor *weights, ggml_tensor **logprobs) {
    const int64_t n_blocks = (x.value->ne[1] + at_once - 1) / at_once;
    if (n_blocks == 1) return cross_entropy(g, frozen_linear(g, head, x), flat_targets, weights, logprobs);
    const std::vector<Var> blocks = split(g, x, n_blocks); // of at_once columns, by which targets are numbered
    if (blocks[0].value->ne[1] != at_once)
        fail(RI_INTERNAL, "a loss in blocks of %d columns, not %d", int(blocks[0].value->ne[1]), int(at_once));
    ggml_tensor *loss = nullptr;
    int64_t first = 0;
    for (const Var &block : blocks) {
        const int64_t n = block.value->ne[1];
        auto of_block = [&](ggml_tensor *t) {
            return ggml_view_1d(g.ctx(), t, n, size_t(first) * ggml_element_size(t));
        };
        ggml_tensor *found = nullptr;
        Var own = cross_entropy(g, frozen_linear(g, head, block), of_block(flat_targets), of_block(weights), &found);
        g.settle(own, block);
        loss = first ? ggml_add(g.ctx(), loss, own.value) : own.value;
        *logprobs = first ? ggml_concat(g.ctx(), *logprobs, found, 0) : found;
        first += n;
    }
    return g.record(loss, blocks, [](ggml_tensor *) {}); // their gradients are there
}

Var binary_cross_entropy(Graph &g, Var scores, ggml_tensor *weights, float discount) {
    // -log sigmoid(s) = softplus(-s) for the target, -log(1 - sigmoid(s)) = softplus(s) for the
    // others (Kang and McAuley 2018, eq. 7). Both have the slope sigmoid(s), less 1 for the target.
    const int64_t rows = scores.value->ne[0], n = scores.value->ne[1];
    std::vector<float> signs(size_t(rows), 1.0f), ones(size_t(rows), 0.0f);
    signs[0] = -1.0f;
    ones[0] = 1.0f;
    ggml_tensor *sign = g.input(std::move(signs), rows), *is_target = g.input(std::move(ones), rows);
    ggml_tensor *row_weights = ggml_reshape_2d(g.ctx(), weights, 1, n), *shares = nullptr;
    if (discount > 0) {
        std::vector<float> counts(size_t(rows), 1.0f);
        counts[0] -= discount;
        shares = g.input(std::move(counts), rows);
    }
    auto weighted = [=, &g](ggml_tensor *x) {
        return ggml_mul(g.ctx(), shares ? ggml_mul(g.ctx(), x, shares) : x, row_weights);
    };
    ggml_tensor *losses = ggml_softplus(g.ctx(), ggml_mul(g.ctx(), scores.value, sign));
    return g.record(ggml_sum(g.ctx(), weighted(losses)), {scores}, [=, &g](ggml_tensor *) {
        g.accumulate(scores, weighted(ggml_sub(g.ctx(), ggml_sigmoid(g.ctx(), scores.value), is_target)));
    });
}

Var mean_squared_error(Graph &g, Var a, Var target) {
    return g.kernels() ? by_kernels::mean_squared_error(g, a, target) : composed::mean_squared_error(g, a, target);
}

Var sum_of_losses(Graph &g, Var a, Var b) {
    // A loss's gradient is 1 and its rule does not look at it: what is accumulated only says that
    // it takes part.
    return g.record(ggml_add(g.ctx(), a.value, b.value), {a, b}, [=, &g](ggml_tensor *) {
        g.accumulate(a, a.value);
        g.accumulate(b, b.value);
    });
}

} // namespace ri
