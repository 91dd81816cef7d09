#include "diff.h"

#include <cmath>

namespace ri {

namespace {

// Enough for a forward and backward pass through 80 layers; a tensor's metadata takes a few hundred bytes.
constexpr size_t max_tensors = 32768;

bool same_shape(const ggml_tensor *a, const ggml_tensor *b) { return ggml_are_same_shape(a, b); }

} // namespace

Graph::Graph(Engine &engine, bool gradients) : engine_(engine), gradients_(gradients) {
    ggml_init_params params = {ggml_tensor_overhead() * max_tensors + ggml_graph_overhead_custom(max_tensors, false),
                               nullptr, true};
    ctx_.reset(ggml_init(params));
    if (!ctx_) throw std::bad_alloc();
    graph_ = ggml_new_graph_custom(ctx(), max_tensors, false);
}

// ---- leaves

ggml_tensor *Graph::input(ggml_type type, const void *data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    ggml_tensor *t = ggml_new_tensor_4d(ctx(), type, ne0, ne1, ne2, ne3);
    ggml_set_input(t);
    uploads_.push_back({t, data});
    return t;
}

ggml_tensor *Graph::input(std::vector<float> data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    auto *kept = keep(std::make_shared<std::vector<float>>(std::move(data)));
    return input(GGML_TYPE_F32, kept->data(), ne0, ne1, ne2, ne3);
}

ggml_tensor *Graph::input(std::vector<int32_t> data, int64_t ne0) {
    auto *kept = keep(std::make_shared<std::vector<int32_t>>(std::move(data)));
    return input(GGML_TYPE_I32, kept->data(), ne0);
}

Var Graph::parameter(ggml_tensor *value, ggml_tensor *gradient) {
    if (!gradients_) return constant(value);
    nodes_.emplace_back();
    nodes_.back().parameter_gradient = gradient;
    return {value, int(nodes_.size()) - 1};
}

// ---- the tape

Var Graph::record(ggml_tensor *value, std::initializer_list<Var> inputs, Rule rule) {
    bool wanted = false;
    for (const Var &v : inputs) wanted |= v.node >= 0;
    if (!wanted) return constant(value);
    nodes_.emplace_back();
    nodes_.back().rule = std::move(rule);
    return {value, int(nodes_.size()) - 1};
}

void Graph::accumulate(Var input, ggml_tensor *gradient) {
    if (input.node < 0) return;
    ggml_tensor *&sum = nodes_[input.node].gradient;
    sum = sum ? ggml_add(ctx(), sum, gradient) : gradient;
}

void Graph::backward(Var loss) {
    output(loss.value);
    if (loss.node < 0) fail(RI_INTERNAL, "backward from a constant");
    for (int i = loss.node; i >= 0; --i) {
        Node &node = nodes_[i];
        if (i != loss.node && !node.gradient) continue;
        if (node.parameter_gradient) {
            ggml_tensor *g = ggml_reshape(ctx(), node.gradient, node.parameter_gradient);
            ggml_build_forward_expand(graph_, ggml_add_inplace(ctx(), node.parameter_gradient, g));
        } else {
            if (node.gradient) ggml_build_forward_expand(graph_, node.gradient);
            Rule rule = std::move(node.rule); // nodes_ does not grow here, but rules may be heavy: free each after use
            rule(node.gradient);
        }
    }
}

// ---- operations

ggml_tensor *Graph::sum_to_row(ggml_tensor *a) {
    ggml_tensor *flat = ggml_reshape_2d(ctx(), a, a->ne[0], ggml_nelements(a) / a->ne[0]);
    return ggml_reshape_1d(ctx(), ggml_sum_rows(ctx(), ggml_cont(ctx(), ggml_transpose(ctx(), flat))), a->ne[0]);
}

Var Graph::add(Var a, Var b) {
    return record(ggml_add(ctx(), a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        accumulate(a, dy);
        if (b.node >= 0) accumulate(b, same_shape(a.value, b.value) ? dy : sum_to_row(dy));
    });
}

Var Graph::mul(Var a, Var b) {
    return record(ggml_mul(ctx(), a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        if (a.node >= 0) accumulate(a, ggml_mul(ctx(), dy, b.value));
        if (b.node < 0) return;
        ggml_tensor *db = ggml_mul(ctx(), dy, a.value);
        accumulate(b, same_shape(a.value, b.value) ? db : sum_to_row(db));
    });
}

Var Graph::scale(Var a, float factor) {
    return record(ggml_scale(ctx(), a.value, factor), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_scale(ctx(), dy, factor)); });
}

Var Graph::mul_mat(Var a, Var b) {
    return record(ggml_mul_mat(ctx(), a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        auto transposed = [&](ggml_tensor *t) { return ggml_cont(ctx(), ggml_transpose(ctx(), t)); };
        if (a.node >= 0) accumulate(a, ggml_mul_mat(ctx(), transposed(b.value), transposed(dy)));
        if (b.node >= 0) accumulate(b, ggml_mul_mat(ctx(), transposed(a.value), dy));
    });
}

Var Graph::reshape(Var a, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    return record(ggml_reshape_4d(ctx(), a.value, ne0, ne1, ne2, ne3), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_reshape(ctx(), dy, a.value)); });
}

Var Graph::permute(Var a, int axis0, int axis1, int axis2, int axis3) {
    // Axis i of the input becomes axis axes[i] of the output, so the inverse sends axes[i] back to i.
    const int axes[4] = {axis0, axis1, axis2, axis3};
    int inverse[4];
    for (int i = 0; i < 4; ++i) inverse[axes[i]] = i;
    const int i0 = inverse[0], i1 = inverse[1], i2 = inverse[2], i3 = inverse[3];
    return record(ggml_cont(ctx(), ggml_permute(ctx(), a.value, axis0, axis1, axis2, axis3)), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_cont(ctx(), ggml_permute(ctx(), dy, i0, i1, i2, i3))); });
}

Var Graph::slice(Var a, int64_t first, int64_t count) {
    const ggml_tensor *t = a.value;
    ggml_tensor *view = ggml_view_4d(ctx(), a.value, count, t->ne[1], t->ne[2], t->ne[3], t->nb[1], t->nb[2], t->nb[3],
                                     first * ggml_element_size(t));
    return record(ggml_cont(ctx(), view), {a}, [=](ggml_tensor *dy) {
        ggml_tensor *d = dy;
        const int64_t after = a.value->ne[0] - first - count;
        auto zeros = [&](int64_t n) {
            return ggml_fill(ctx(), ggml_new_tensor_4d(ctx(), GGML_TYPE_F32, n, dy->ne[1], dy->ne[2], dy->ne[3]), 0.0f);
        };
        if (first > 0) d = ggml_concat(ctx(), zeros(first), d, 0);
        if (after > 0) d = ggml_concat(ctx(), d, zeros(after), 0);
        accumulate(a, d);
    });
}

Var Graph::concat(Var a, Var b) {
    return record(ggml_concat(ctx(), a.value, b.value, 0), {a, b}, [=](ggml_tensor *dy) {
        auto part = [&](const ggml_tensor *like, int64_t first) {
            return ggml_cont(ctx(), ggml_view_4d(ctx(), dy, like->ne[0], dy->ne[1], dy->ne[2], dy->ne[3], dy->nb[1],
                                                 dy->nb[2], dy->nb[3], first * ggml_element_size(dy)));
        };
        if (a.node >= 0) accumulate(a, part(a.value, 0));
        if (b.node >= 0) accumulate(b, part(b.value, a.value->ne[0]));
    });
}

Var Graph::relu(Var a) {
    return record(ggml_relu(ctx(), a.value), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_mul(ctx(), dy, ggml_step(ctx(), a.value))); });
}

Var Graph::gelu(Var a) {
    // y = x (1 + tanh u) / 2, u = c (x + b x^3); Hendrycks and Gimpel 2016, arXiv 1606.08415. ggml's own GELU looks its
    // values up in a 16-bit table on the CPU, so it is not used.
    const float c = std::sqrt(2.0f / float(M_PI)), b = 0.044715f;
    ggml_tensor *x = a.value;
    ggml_tensor *square = ggml_sqr(ctx(), x);
    ggml_tensor *u = ggml_mul(ctx(), x, ggml_scale_bias(ctx(), square, c * b, c));
    ggml_tensor *half = ggml_scale_bias(ctx(), ggml_tanh(ctx(), u), 0.5f, 0.5f); // (1 + tanh u) / 2
    return record(ggml_mul(ctx(), x, half), {a}, [=](ggml_tensor *dy) {
        // dy/dx = half + x * dhalf/du * du/dx, dhalf/du = (1 - tanh^2 u) / 2 = 2 half (1 - half)
        ggml_tensor *slope = ggml_mul(ctx(), half, ggml_scale_bias(ctx(), half, -2.0f, 2.0f));
        ggml_tensor *inner = ggml_scale_bias(ctx(), square, 3 * c * b, c);
        ggml_tensor *d = ggml_add(ctx(), half, ggml_mul(ctx(), x, ggml_mul(ctx(), slope, inner)));
        accumulate(a, ggml_mul(ctx(), dy, d));
    });
}

Var Graph::layer_norm(Var a, Var weight, Var bias, float eps) {
    ggml_tensor *x = a.value;
    ggml_tensor *n = ggml_norm(ctx(), x, eps);
    Var normalised = record(n, {a}, [=](ggml_tensor *dy) {
        // dx = (dy - mean(dy) - n mean(dy n)) / sqrt(var + eps)
        ggml_tensor *centred = ggml_sub(ctx(), x, row_mean(x));
        ggml_tensor *deviation =
            ggml_sqrt(ctx(), ggml_scale_bias(ctx(), row_mean(ggml_sqr(ctx(), centred)), 1.0f, eps));
        ggml_tensor *d = ggml_sub(ctx(), dy, row_mean(dy));
        d = ggml_sub(ctx(), d, ggml_mul(ctx(), n, row_mean(ggml_mul(ctx(), dy, n))));
        accumulate(a, ggml_div(ctx(), d, deviation));
    });
    return add(mul(normalised, weight), bias);
}

Var Graph::rms_norm(Var a, ggml_tensor *weight, float eps) {
    ggml_tensor *x = a.value;
    ggml_tensor *n = ggml_rms_norm(ctx(), x, eps);
    return record(ggml_mul(ctx(), n, weight), {a}, [=](ggml_tensor *dy) {
        // dx = (dn - n mean(dn n)) / sqrt(mean(x^2) + eps), dn = dy * weight
        ggml_tensor *dn = ggml_mul(ctx(), dy, weight);
        ggml_tensor *root = ggml_sqrt(ctx(), ggml_scale_bias(ctx(), row_mean(ggml_sqr(ctx(), x)), 1.0f, eps));
        ggml_tensor *d = ggml_sub(ctx(), dn, ggml_mul(ctx(), n, row_mean(ggml_mul(ctx(), dn, n))));
        accumulate(a, ggml_div(ctx(), d, root));
    });
}

Var Graph::swiglu(Var gate_up) {
    const ggml_tensor *t = gate_up.value;
    const int64_t n = t->ne[0] / 2, rows = t->ne[1];
    auto half = [=](int64_t first) {
        return ggml_cont(ctx(), ggml_view_2d(ctx(), gate_up.value, n, rows, t->nb[1], first * sizeof(float)));
    };
    ggml_tensor *gate = half(0), *up = half(n);
    ggml_tensor *activated = ggml_silu(ctx(), gate);
    return record(ggml_mul(ctx(), activated, up), {gate_up}, [=](ggml_tensor *dy) {
        // silu'(g) = s (1 + g (1 - s)) = s + silu(g) (1 - s), s = sigmoid(g)
        ggml_tensor *s = ggml_sigmoid(ctx(), gate);
        ggml_tensor *slope = ggml_add(ctx(), s, ggml_mul(ctx(), activated, ggml_scale_bias(ctx(), s, -1.0f, 1.0f)));
        ggml_tensor *dgate = ggml_mul(ctx(), ggml_mul(ctx(), dy, up), slope);
        accumulate(gate_up, ggml_concat(ctx(), dgate, ggml_mul(ctx(), dy, activated), 0));
    });
}

Var Graph::softmax(Var a, ggml_tensor *mask, float factor) {
    ggml_tensor *y = ggml_soft_max_ext(ctx(), a.value, mask, factor, 0.0f);
    return record(y, {a}, [=](ggml_tensor *dy) {
        ggml_tensor *dot = ggml_sum_rows(ctx(), ggml_mul(ctx(), dy, y));
        accumulate(a, ggml_scale(ctx(), ggml_mul(ctx(), ggml_sub(ctx(), dy, dot), y), factor));
    });
}

Var Graph::get_rows(Var table, ggml_tensor *ids) {
    return record(ggml_get_rows(ctx(), table.value, ids), {table}, [=](ggml_tensor *dy) {
        ggml_tensor *scattered = ggml_get_rows_back(ctx(), dy, ids, table.value);
        if (!ggml_backend_supports_op(engine_.backend(), scattered)) {
            // Elsewhere: dTable = dy * onehot^T, with the one-hot matrix [rows, count] written row by row.
            const int64_t rows = table.value->ne[1], count = ids->ne[0];
            ggml_tensor *identity =
                ggml_diag(ctx(), ggml_fill(ctx(), ggml_new_tensor_1d(ctx(), GGML_TYPE_F32, rows), 1.0f));
            ggml_tensor *onehot = ggml_reshape_2d(ctx(), ggml_get_rows(ctx(), identity, ids), rows, count);
            scattered = ggml_mul_mat(ctx(), ggml_cont(ctx(), ggml_transpose(ctx(), dy)),
                                     ggml_cont(ctx(), ggml_transpose(ctx(), onehot)));
        }
        accumulate(table, scattered);
    });
}

Var Graph::splice(ggml_tensor *base, Var inserted, ggml_tensor *index, ggml_tensor *places) {
    ggml_tensor *both = ggml_concat(ctx(), base, inserted.value, 1);
    return record(ggml_get_rows(ctx(), both, index), {inserted},
                  [=](ggml_tensor *dy) { accumulate(inserted, ggml_get_rows(ctx(), dy, places)); });
}

// ---- losses

Var Graph::cross_entropy(Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs) {
    const int64_t n_classes = logits.value->ne[0], n = logits.value->ne[1];
    ggml_tensor *p = ggml_soft_max(ctx(), logits.value);
    ggml_tensor *p_target = ggml_get_rows(ctx(), ggml_reshape_2d(ctx(), p, 1, n_classes * n), flat_targets); // [1, n]
    // The clamp keeps a probability that underflowed finite; its gradient is the exact p - 1 all the same.
    ggml_tensor *logp = ggml_log(ctx(), ggml_clamp(ctx(), p_target, 1e-37f, 1.0f));
    // It also makes 1 of NaN; p - p is 0, or NaN again.
    logp = ggml_reshape_1d(ctx(), ggml_add(ctx(), logp, ggml_sub(ctx(), p_target, p_target)), n);
    if (logprobs) *logprobs = logp;
    ggml_tensor *loss = ggml_scale(ctx(), ggml_sum(ctx(), ggml_mul(ctx(), logp, weights)), -1.0f);
    return record(loss, {logits}, [=](ggml_tensor *) {
        // (p - onehot) * weight: scale the whole row, then overwrite the target's entry.
        ggml_tensor *row_weights = ggml_reshape_2d(ctx(), weights, 1, n);
        ggml_tensor *at_target = ggml_mul(ctx(), ggml_scale_bias(ctx(), p_target, 1.0f, -1.0f), row_weights);
        ggml_tensor *d = ggml_reshape_2d(ctx(), ggml_mul(ctx(), p, row_weights), 1, n_classes * n);
        d = ggml_set_rows(ctx(), d, at_target, flat_targets);
        accumulate(logits, ggml_reshape_2d(ctx(), d, n_classes, n));
    });
}

Var Graph::mean_squared_error(Var a, ggml_tensor *target) {
    ggml_tensor *difference = ggml_sub(ctx(), a.value, target);
    const float n = float(ggml_nelements(difference));
    ggml_tensor *loss = ggml_scale(ctx(), ggml_sum(ctx(), ggml_sqr(ctx(), difference)), 1.0f / n);
    return record(loss, {a}, [=](ggml_tensor *) { accumulate(a, ggml_scale(ctx(), difference, 2.0f / n)); });
}

// ---- running

void Graph::output(ggml_tensor *value) {
    ggml_set_output(value);
    ggml_build_forward_expand(graph_, value);
}

void Graph::run() {
    for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
        const ggml_tensor *node = ggml_graph_node(graph_, i);
        if (!ggml_backend_supports_op(engine_.backend(), node))
            fail(RI_UNSUPPORTED, "the %s backend cannot run %s on this shape; use --backend cpu",
                 ggml_backend_name(engine_.backend()), ggml_op_desc(node));
    }
    if (!ggml_gallocr_alloc_graph(engine_.scratch(), graph_))
        fail(RI_MEMORY, "no memory for the activations of this batch; use a smaller batch");
    for (const Upload &u : uploads_)
        if (u.tensor->buffer) ggml_backend_tensor_set(u.tensor, u.data, 0, ggml_nbytes(u.tensor)); // else unused
    const ggml_status status = ggml_backend_graph_compute(engine_.backend(), graph_);
    if (status == GGML_STATUS_ALLOC_FAILED) fail(RI_MEMORY, "the backend ran out of memory; use a smaller batch");
    if (status != GGML_STATUS_SUCCESS) fail(RI_BACKEND, "the %s backend failed", ggml_backend_name(engine_.backend()));
}

void Graph::read(ggml_tensor *value, float *dst) const { ggml_backend_tensor_get(value, dst, 0, ggml_nbytes(value)); }

float Graph::scalar(ggml_tensor *value) const {
    float x;
    ggml_backend_tensor_get(value, &x, 0, sizeof x);
    return x;
}

} // namespace ri
