#include "graph/operations.h"

#include "graph/forms.h"

namespace ri {

Var add(Graph &g, Var a, Var b) {
    return g.record(plus(g, a.value, b.value), {a, b}, [=, &g](ggml_tensor *dy) {
        g.accumulate(a, dy);
        if (b.node >= 0) g.accumulate(b, ggml_are_same_shape(a.value, b.value) ? dy : sum_to_row(g, dy));
    });
}

Var mul(Graph &g, Var a, Var b) {
    return g.record(times(g, a.value, b.value), {a, b}, [=, &g](ggml_tensor *dy) {
        if (a.node >= 0) g.accumulate(a, times(g, dy, b.value));
        if (b.node < 0) return;
        ggml_tensor *db = times(g, dy, a.value);
        g.accumulate(b, ggml_are_same_shape(a.value, b.value) ? db : sum_to_row(g, db));
    });
}

Var scale(Graph &g, Var a, float factor) {
    return g.record(ggml_scale(g.ctx(), a.value, factor), {a},
                    [=, &g](ggml_tensor *dy) { g.accumulate(a, ggml_scale(g.ctx(), dy, factor)); });
}

Var largest(Graph &g, Var a) {
    const int n = int(a.value->ne[0]);
    ggml_tensor *most = ggml_pool_1d(g.ctx(), a.value, GGML_OP_POOL_MAX, n, n, 0);
    return g.record(most, {a}, [=, &g](ggml_tensor *dy) {
        // 1 - step(most - a) is 1 where a is the largest.
        ggml_tensor *below = ggml_step(g.ctx(), ggml_scale(g.ctx(), ggml_sub(g.ctx(), a.value, most), -1.0f));
        ggml_tensor *largest = ggml_scale_bias(g.ctx(), below, -1.0f, 1.0f);
        g.accumulate(a, ggml_mul(g.ctx(), largest, ggml_div(g.ctx(), dy, ggml_sum_rows(g.ctx(), largest))));
    });
}

Var mul_mat(Graph &g, Var a, Var b) {
    return g.record(ggml_mul_mat(g.ctx(), a.value, b.value), {a, b}, [=, &g](ggml_tensor *dy) {
        auto transposed = [&](ggml_tensor *t) { return ggml_cont(g.ctx(), ggml_transpose(g.ctx(), t)); };
        if (a.node >= 0) g.accumulate(a, ggml_mul_mat(g.ctx(), transposed(b.value), transposed(dy)));
        if (b.node >= 0) g.accumulate(b, ggml_mul_mat(g.ctx(), transposed(a.value), dy));
    });
}

Var reshape(Graph &g, Var a, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    return g.record(ggml_reshape_4d(g.ctx(), a.value, ne0, ne1, ne2, ne3), {a},
                    [=, &g](ggml_tensor *dy) { g.accumulate(a, ggml_reshape(g.ctx(), dy, a.value)); });
}

Var permute(Graph &g, Var a, int axis0, int axis1, int axis2, int axis3) {
    // Axis i of the input becomes axis axes[i] of the output, so the inverse sends axes[i] back to
    // i.
    const int axes[4] = {axis0, axis1, axis2, axis3};
    int inverse[4];
    for (int i = 0; i < 4; ++i) inverse[axes[i]] = i;
    const int i0 = inverse[0], i1 = inverse[1], i2 = inverse[2], i3 = inverse[3];
    return g.record(
        ggml_cont(g.ctx(), ggml_permute(g.ctx(), a.value, axis0, axis1, axis2, axis3)), {a},
        [=, &g](ggml_tensor *dy) { g.accumulate(a, ggml_cont(g.ctx(), ggml_permute(g.ctx(), dy, i0, i1, i2, i3))); });
}

Var slice(Graph &g, Var a, int64_t first, int64_t count) {
    const ggml_tensor *t = a.value;
    ggml_tensor *view = ggml_view_4d(g.ctx(), a.value, count, t->ne[1], t->ne[2], t->ne[3], t->nb[1], t->nb[2],
                                     t->nb[3], first * ggml_element_size(t));
    return g.record(ggml_cont(g.ctx(), view), {a}, [=, &g](ggml_tensor *dy) {
        ggml_tensor *d = dy;
        const int64_t after = a.value->ne[0] - first - count;
        auto zeros = [&](int64_t n) {
            return ggml_fill(g.ctx(), ggml_new_tensor_4d(g.ctx(), GGML_TYPE_F32, n, dy->ne[1], dy->ne[2], dy->ne[3]),
                             0.0f);
        };
        if (first > 0) d = ggml_concat(g.ctx(), zeros(first), d, 0);
        if (after > 0) d = ggml_concat(g.ctx(), d, zeros(after), 0);
        g.accumulate(a, d);
    });
}

Var concat(Graph &g, Var a, Var b) {
    return g.record(ggml_concat(g.ctx(), a.value, b.value, 0), {a, b}, [=, &g](ggml_tensor *dy) {
        auto part = [&](const ggml_tensor *like, int64_t first) {
            return ggml_cont(g.ctx(), ggml_view_4d(g.ctx(), dy, like->ne[0], dy->ne[1], dy->ne[2], dy->ne[3], dy->nb[1],
                                                   dy->nb[2], dy->nb[3], first * ggml_element_size(dy)));
        };
        if (a.node >= 0) g.accumulate(a, part(a.value, 0));
        if (b.node >= 0) g.accumulate(b, part(b.value, a.value->ne[0]));
    });
}

Var first_rows(Graph &g, Var a, int64_t count) {
    const ggml_tensor *t = a.value;
    return g.record(ggml_view_2d(g.ctx(), a.value, t->ne[0], count, t->nb[1], 0), {a}, [=, &g](ggml_tensor *dy) {
        const int64_t rest = a.value->ne[1] - count;
        if (rest > 0) {
            ggml_tensor *zeros = ggml_new_tensor_2d(g.ctx(), GGML_TYPE_F32, dy->ne[0], rest);
            dy = ggml_concat(g.ctx(), dy, ggml_fill(g.ctx(), zeros, 0.0f), 1);
        }
        g.accumulate(a, dy);
    });
}

std::vector<Var> split(Graph &g, Var a, int64_t count) {
    const ggml_tensor *t = a.value;
    const int last = t->ne[3] > 1 ? 3 : t->ne[2] > 1 ? 2 : 1;
    const int64_t size = (t->ne[last] + count - 1) / count;
    // The first part is recorded first, so its rule runs last and finds the gradients of the
    // others.
    struct Part {
        ggml_tensor *value, *gradient;
    };
    auto all_parts = std::make_shared<std::vector<Part>>();
    std::vector<Var> parts;
    for (int64_t i = 0; i * size < t->ne[last]; ++i) {
        int64_t ne[4] = {t->ne[0], t->ne[1], t->ne[2], t->ne[3]};
        ne[last] = std::min(size, t->ne[last] - i * size);
        ggml_tensor *view = ggml_view_4d(g.ctx(), a.value, ne[0], ne[1], ne[2], ne[3], t->nb[1], t->nb[2], t->nb[3],
                                         size_t(i * size) * t->nb[last]);
        all_parts->push_back({view, nullptr});
        parts.push_back(g.record(view, {a}, [=, &g](ggml_tensor *dy) {
            (*all_parts)[size_t(i)].gradient = dy;
            if (i > 0) return;
            ggml_tensor *all = nullptr;
            for (const auto &[value, gradient] : *all_parts) {
                ggml_tensor *part = gradient ? gradient : ggml_fill(g.ctx(), ggml_dup_tensor(g.ctx(), value), 0.0f);
                all = all ? ggml_concat(g.ctx(), all, part, last) : part;
            }
            g.accumulate(a, all);
        }));
    }
    return parts;
}

Var stack(Graph &g, const std::vector<Var> &parts) {
    ggml_tensor *all = parts[0].value;
    for (size_t i = 1; i < parts.size(); ++i) all = ggml_concat(g.ctx(), all, parts[i].value, 1);
    return g.record(all, parts, [=, &g](ggml_tensor *dy) {
        int64_t first = 0;
        for (const Var &part : parts) {
            const int64_t n = part.value->ne[1];
            if (part.node >= 0)
                g.accumulate(part, ggml_cont(g.ctx(), ggml_view_2d(g.ctx(), dy, dy->ne[0], n, dy->nb[1],
                                                                   size_t(first) * dy->nb[1])));
            first += n;
        }
    });
}

Var sigmoid(Graph &g, Var a) {
    ggml_tensor *y = ggml_sigmoid(g.ctx(), a.value);
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) { // y' = y (1 - y)
        g.accumulate(a, ggml_mul(g.ctx(), dy, ggml_mul(g.ctx(), y, ggml_scale_bias(g.ctx(), y, -1.0f, 1.0f))));
    });
}

Var tanh(Graph &g, Var a) {
    ggml_tensor *y = ggml_tanh(g.ctx(), a.value);
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) { // y' = 1 - y^2
        g.accumulate(a, ggml_mul(g.ctx(), dy, ggml_scale_bias(g.ctx(), ggml_sqr(g.ctx(), y), -1.0f, 1.0f)));
    });
}

Var relu(Graph &g, Var a) {
    return g.record(ggml_relu(g.ctx(), a.value), {a},
                    [=, &g](ggml_tensor *dy) { g.accumulate(a, ggml_mul(g.ctx(), dy, ggml_step(g.ctx(), a.value))); });
}

Var splice(Graph &g, ggml_tensor *base, Var inserted, ggml_tensor *places) {
    return g.record(ggml_set_rows(g.ctx(), base, inserted.value, places), {inserted},
                    [=, &g](ggml_tensor *dy) { g.accumulate(inserted, ggml_get_rows(g.ctx(), dy, places)); });
}

// ---- in two forms

namespace {

// Whether there is a kernel for a and b: b's numbers, in their order, repeat along a's.
bool repeats(const Graph &g, const ggml_tensor *a, const ggml_tensor *b) {
    int axis = 0;
    while (axis < 4 && a->ne[axis] == b->ne[axis]) ++axis;
    while (axis < 4 && b->ne[axis] == 1) ++axis;
    return g.kernels() && axis == 4;
}

} // namespace

ggml_tensor *plus(Graph &g, ggml_tensor *a, ggml_tensor *b) {
    return repeats(g, a, b) ? by_kernels::plus(g, a, b) : ggml_add(g.ctx(), a, b);
}

ggml_tensor *times(Graph &g, ggml_tensor *a, ggml_tensor *b) {
    return repeats(g, a, b) ? by_kernels::times(g, a, b) : ggml_mul(g.ctx(), a, b);
}

ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a) {
    return g.kernels() ? by_kernels::sum_to_row(g, a) : composed::sum_to_row(g, a);
}

Var scale_rows(Graph &g, Var a, ggml_tensor *factors) {
    auto scaled = [=, &g](ggml_tensor *x) {
        return g.kernels() ? by_kernels::scale_rows(g, x, factors) : ggml_mul(g.ctx(), x, factors);
    };
    return g.record(scaled(a.value), {a}, [=, &g](ggml_tensor *dy) { g.accumulate(a, scaled(dy)); });
}

Var linear(Graph &g, Var w, Var x, Var bias) {
    return g.kernels() ? by_kernels::linear(g, w, x, bias) : composed::linear(g, w, x, bias);
}

Var gelu(Graph &g, Var a) { return g.kernels() ? by_kernels::gelu(g, a) : composed::gelu(g, a); }

Var gelu_erf(Graph &g, Var a) { return g.kernels() ? by_kernels::gelu_erf(g, a) : composed::gelu_erf(g, a); }

Var silu(Graph &g, Var a) { return g.kernels() ? by_kernels::silu(g, a) : mul(g, a, sigmoid(g, a)); }

Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps) {
    return g.kernels() ? by_kernels::layer_norm(g, a, weight, bias, eps)
                       : composed::layer_norm(g, a, weight, bias, eps);
}

Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps) {
    return g.kernels() ? by_kernels::rms_norm(g, a, weight, eps) : composed::rms_norm(g, a, weight, eps);
}

Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps) {
    return g.kernels() ? by_kernels::head_norms(g, a, first, second, eps)
                       : composed::head_norms(g, a, first, second, eps);
}

Var swiglu(Graph &g, Var gate_up) {
    return g.kernels() ? by_kernels::swiglu(g, gate_up) : composed::swiglu(g, gate_up);
}

Var frozen_linear(Graph &g, const FrozenLinear &m, Var x) {
    return g.kernels() ? by_kernels::frozen_linear(g, m, x) : composed::frozen_linear(g, m, x);
}

Var softmax(Graph &g, Var a, ggml_tensor *mask, float factor) {
    return g.kernels() && !mask ? by_kernels::softmax(g, a, factor) : composed::softmax(g, a, mask, factor);
}

Var get_rows(Graph &g, Var table, ggml_tensor *ids) {
    ggml_tensor *rows =
        g.kernels() ? by_kernels::gather_rows(g, table.value, ids) : ggml_get_rows(g.ctx(), table.value, ids);
    return g.record(rows, {table}, [=, &g](ggml_tensor *dy) {
        g.accumulate(table, g.kernels() ? by_kernels::scatter_rows(g, dy, ids, table.value)
                                        : composed::scatter_rows(g, dy, ids, table.value));
    });
}

Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids) {
    return g.kernels() ? by_kernels::candidate_scores(g, table, bias, x, ids)
                       : composed::candidate_scores(g, table, bias, x, ids);
}

Var pick_rows(Graph &g, Var table, ggml_tensor *ids, ggml_tensor *places) {
    return g.kernels() ? get_rows(g, table, ids) : composed::pick_rows(g, table, ids, places);
}

} // namespace ri
