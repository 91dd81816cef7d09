// Operations composed of ggml's own, which every backend has.
#include "graph/forms.h"

#include <algorithm>
#include <cmath>

namespace ri::composed {

ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a) {
    ggml_tensor *flat = ggml_reshape_2d(g.ctx(), a, a->ne[0], ggml_nelements(a) / a->ne[0]);
    return ggml_reshape_1d(g.ctx(), ggml_sum_rows(g.ctx(), ggml_cont(g.ctx(), ggml_transpose(g.ctx(), flat))),
                           a->ne[0]);
}

Var linear(Graph &g, Var w, Var x, Var bias) {
    Var y = mul_mat(g, w, x);
    return bias.value ? add(g, y, bias) : y;
}

Var gelu(Graph &g, Var a) {
    // y = x (1 + tanh u) / 2, u = c (x + b x^3); Hendrycks and Gimpel 2016, arXiv 1606.08415.
    // ggml's own GELU looks its values up in a 16-bit table on the CPU, so it is not used.
    const float c = std::sqrt(2.0f / float(M_PI)), b = 0.044715f;
    ggml_tensor *x = a.value;
    ggml_tensor *square = ggml_sqr(g.ctx(), x);
    ggml_tensor *u = ggml_mul(g.ctx(), x, ggml_scale_bias(g.ctx(), square, c * b, c));
    ggml_tensor *half = ggml_scale_bias(g.ctx(), ggml_tanh(g.ctx(), u), 0.5f, 0.5f); // (1 + tanh u) / 2
    return g.record(ggml_mul(g.ctx(), x, half), {a}, [=, &g](ggml_tensor *dy) {
        // dy/dx = half + x * dhalf/du * du/dx, dhalf/du = (1 - tanh^2 u) / 2 = 2 half (1 - half)
        ggml_tensor *slope = ggml_mul(g.ctx(), half, ggml_scale_bias(g.ctx(), half, -2.0f, 2.0f));
        ggml_tensor *inner = ggml_scale_bias(g.ctx(), square, 3 * c * b, c);
        ggml_tensor *d = ggml_add(g.ctx(), half, ggml_mul(g.ctx(), x, ggml_mul(g.ctx(), slope, inner)));
        g.accumulate(a, ggml_mul(g.ctx(), dy, d));
    });
}

Var gelu_erf(Graph &g, Var a) {
    ggml_tensor *x = a.value;
    return g.record(ggml_gelu_erf(g.ctx(), x), {a}, [=, &g](ggml_tensor *dy) {
        // d/dx x Phi(x) = Phi(x) + x phi(x). ggml has no erf, but Phi(x) = gelu(x) / x, where 0 is
        // moved aside.
        ggml_tensor *is_zero = ggml_scale_bias(g.ctx(), ggml_step(g.ctx(), ggml_abs(g.ctx(), x)), -1.0f, 1.0f);
        ggml_tensor *moved = ggml_add(g.ctx(), x, ggml_scale(g.ctx(), is_zero, 1e-20f));
        ggml_tensor *cumulative = ggml_div(g.ctx(), ggml_gelu_erf(g.ctx(), moved), moved);
        const float density = 1.0f / std::sqrt(2.0f * float(M_PI));
        ggml_tensor *phi =
            ggml_scale(g.ctx(), ggml_exp(g.ctx(), ggml_scale(g.ctx(), ggml_sqr(g.ctx(), x), -0.5f)), density);
        g.accumulate(a, ggml_mul(g.ctx(), dy, ggml_add(g.ctx(), cumulative, ggml_mul(g.ctx(), x, phi))));
    });
}

Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps) {
    ggml_tensor *x = a.value;
    ggml_tensor *n = ggml_norm(g.ctx(), x, eps);
    Var normalised = g.record(n, {a}, [=, &g](ggml_tensor *dy) {
        // dx = (dy - mean(dy) - n mean(dy n)) / sqrt(var + eps)
        ggml_tensor *centred = ggml_sub(g.ctx(), x, ggml_mean(g.ctx(), x));
        ggml_tensor *deviation =
            ggml_sqrt(g.ctx(), ggml_scale_bias(g.ctx(), ggml_mean(g.ctx(), ggml_sqr(g.ctx(), centred)), 1.0f, eps));
        ggml_tensor *d = ggml_sub(g.ctx(), dy, ggml_mean(g.ctx(), dy));
        d = ggml_sub(g.ctx(), d, ggml_mul(g.ctx(), n, ggml_mean(g.ctx(), ggml_mul(g.ctx(), dy, n))));
        g.accumulate(a, ggml_div(g.ctx(), d, deviation));
    });
    return add(g, mul(g, normalised, weight), bias);
}

Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps) {
    ggml_tensor *x = a.value;
    ggml_tensor *n = ggml_rms_norm(g.ctx(), x, eps);
    return g.record(ggml_mul(g.ctx(), n, weight), {a}, [=, &g](ggml_tensor *dy) {
        // dx = (dn - n mean(dn n)) / sqrt(mean(x^2) + eps), dn = dy * weight
        ggml_tensor *dn = ggml_mul(g.ctx(), dy, weight);
        if (ggml_tensor *dx = ggml_rms_norm_back(g.ctx(), dn, x, eps); g.supported(dx)) {
            g.accumulate(a, dx);
            return;
        }
        ggml_tensor *root =
            ggml_sqrt(g.ctx(), ggml_scale_bias(g.ctx(), ggml_mean(g.ctx(), ggml_sqr(g.ctx(), x)), 1.0f, eps));
        ggml_tensor *d = ggml_sub(g.ctx(), dn, ggml_mul(g.ctx(), n, ggml_mean(g.ctx(), ggml_mul(g.ctx(), dn, n))));
        g.accumulate(a, ggml_div(g.ctx(), d, root));
    });
}

Var swiglu(Graph &g, Var gate_up) {
    return g.record(ggml_swiglu(g.ctx(), gate_up.value), {gate_up}, [=, &g](ggml_tensor *dy) {
        const ggml_tensor *t = gate_up.value;
        const int64_t n = t->ne[0] / 2, rows = t->ne[1];
        auto half = [=, &g](int64_t first) {
            return ggml_view_2d(g.ctx(), gate_up.value, n, rows, t->nb[1], size_t(first) * sizeof(float));
        };
        ggml_tensor *gate = ggml_cont(g.ctx(), half(0));
        ggml_tensor *dgate = ggml_silu_back(g.ctx(), ggml_mul(g.ctx(), dy, half(n)), gate);
        g.accumulate(gate_up, ggml_concat(g.ctx(), dgate, ggml_mul(g.ctx(), dy, ggml_silu(g.ctx(), gate)), 0));
    });
}

Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps) {
    const int64_t head = first.weight->ne[0], rows = a.value->ne[1], width = a.value->ne[0];
    int64_t at = 0;
    auto normalised = [&](const HeadNorm &norm) {
        Var part = reshape(g, slice(g, a, at, norm.heads * head), head, norm.heads * rows);
        at += norm.heads * head;
        return reshape(g, composed::rms_norm(g, part, norm.weight, eps), norm.heads * head, rows);
    };
    Var one = normalised(first), two = normalised(second);
    return concat(g, concat(g, one, two), slice(g, a, at, width - at));
}

Var frozen_linear(Graph &g, const FrozenLinear &m, Var x) {
    return g.record(ggml_mul_mat(g.ctx(), m.weight, x.value), {x},
                    [&g, &m, x](ggml_tensor *dy) { g.accumulate(x, ggml_mul_mat(g.ctx(), m.transposed, dy)); });
}

Var softmax(Graph &g, Var a, ggml_tensor *mask, float factor) {
    ggml_tensor *y = ggml_soft_max_ext(g.ctx(), a.value, mask, factor, 0.0f);
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) { g.accumulate(a, softmax_back(g, dy, y, factor)); });
}

ggml_tensor *softmax_back(Graph &g, ggml_tensor *dy, ggml_tensor *y, float factor) {
    // Not by ggml_soft_max_ext_back: the result may be given y's memory, where ggml's CPU backend
    // writes before it has read y.
    ggml_tensor *dot = ggml_sum_rows(g.ctx(), ggml_mul(g.ctx(), dy, y));
    return ggml_scale(g.ctx(), ggml_mul(g.ctx(), ggml_sub(g.ctx(), dy, dot), y), factor);
}

ggml_tensor *scatter_rows(Graph &g, ggml_tensor *dy, ggml_tensor *ids, ggml_tensor *table) {
    ggml_tensor *scattered = ggml_get_rows_back(g.ctx(), dy, ids, table);
    if (g.supported(scattered)) return scattered;
    // Elsewhere: dTable = dy * onehot^T, some rows of the table at a time. Where an id is the row's
    // number there is a 1.
    constexpr int64_t at_once = 4096;
    const int64_t rows = table->ne[1], count = ids->ne[0];
    ggml_context *ctx = g.ctx();
    ggml_tensor *numbers = ggml_cast(ctx, ids, GGML_TYPE_F32), *dy_t = ggml_cont(ctx, ggml_transpose(ctx, dy));
    ggml_tensor *all = nullptr;
    for (int64_t first = 0; first < rows; first += at_once) {
        const int64_t n = std::min(at_once, rows - first);
        ggml_tensor *own = ggml_reshape_2d(ctx, ggml_arange(ctx, float(first), float(first + n), 1.0f), 1, n);
        ggml_tensor *apart = ggml_abs(ctx, ggml_sub(ctx, ggml_repeat_4d(ctx, numbers, count, n, 1, 1), own));
        ggml_tensor *onehot_t = ggml_scale_bias(ctx, ggml_step(ctx, apart), -1.0f, 1.0f); // [count, n]
        ggml_tensor *part = ggml_mul_mat(ctx, dy_t, onehot_t);
        all = all ? ggml_concat(ctx, all, part, 1) : part;
    }
    return all;
}

Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids) {
    const int64_t width = x.value->ne[0], n = x.value->ne[1], count = ids->ne[0] / n;
    Var candidates = reshape(g, get_rows(g, table, ids), width, count, n);
    Var scores = reshape(g, mul_mat(g, candidates, reshape(g, x, width, 1, n)), count, n);
    if (!bias.value) return scores;
    Var biases = get_rows(g, reshape(g, bias, 1, bias.value->ne[0]), ids);
    return add(g, scores, reshape(g, biases, count, n));
}

Var pick_rows(Graph &g, Var table, ggml_tensor *ids, ggml_tensor *places) {
    return g.record(ggml_get_rows(g.ctx(), table.value, ids), {table},
                    [=, &g](ggml_tensor *dy) { g.accumulate(table, ggml_get_rows(g.ctx(), dy, places)); });
}

Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs) {
    const int64_t n_classes = logits.value->ne[0], n = logits.value->ne[1];
    ggml_tensor *p = ggml_soft_max(g.ctx(), logits.value);
    ggml_tensor *p_target =
        ggml_get_rows(g.ctx(), ggml_reshape_2d(g.ctx(), p, 1, n_classes * n), flat_targets); // [1, n]
    // The clamp keeps a probability that underflowed finite; its gradient is the exact p - 1 all
    // the same.
    ggml_tensor *logp = ggml_log(g.ctx(), ggml_clamp(g.ctx(), p_target, 1e-37f, 1.0f));
    // It also makes 1 of NaN; p - p is 0, or NaN again.
    logp = ggml_reshape_1d(g.ctx(), ggml_add(g.ctx(), logp, ggml_sub(g.ctx(), p_target, p_target)), n);
    if (logprobs) *logprobs = logp;
    ggml_tensor *loss = ggml_scale(g.ctx(), ggml_sum(g.ctx(), ggml_mul(g.ctx(), logp, weights)), -1.0f);
    return g.record(loss, {logits}, [=, &g](ggml_tensor *) {
        // (p - onehot) * weight: scale the whole row, then overwrite the target's entry.
        ggml_tensor *row_weights = ggml_reshape_2d(g.ctx(), weights, 1, n);
        ggml_tensor *at_target = ggml_mul(g.ctx(), ggml_scale_bias(g.ctx(), p_target, 1.0f, -1.0f), row_weights);
        ggml_tensor *d = ggml_reshape_2d(g.ctx(), ggml_mul(g.ctx(), p, row_weights), 1, n_classes * n);
        d = ggml_set_rows(g.ctx(), d, at_target, flat_targets);
        g.accumulate(logits, ggml_reshape_2d(g.ctx(), d, n_classes, n));
    });
}

Var mean_squared_error(Graph &g, Var a, Var target) {
    ggml_tensor *difference = ggml_sub(g.ctx(), a.value, target.value);
    const float n = float(ggml_nelements(difference));
    ggml_tensor *loss = ggml_scale(g.ctx(), ggml_sum(g.ctx(), ggml_sqr(g.ctx(), difference)), 1.0f / n);
    return g.record(loss, {a, target}, [=, &g](ggml_tensor *) {
        if (a.node >= 0) g.accumulate(a, ggml_scale(g.ctx(), difference, 2.0f / n));
        if (target.node >= 0) g.accumulate(target, ggml_scale(g.ctx(), difference, -2.0f / n));
    });
}

} // namespace ri::composed
