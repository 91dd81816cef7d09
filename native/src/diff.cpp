#include "diff.h"

#include <cmath>
#include <cstring>

namespace ri {

namespace {

// Enough for a forward and backward pass through 80 layers of a LLaMA, and through 64 attention blocks of a
// recommender; a tensor's metadata takes a few hundred bytes.
constexpr size_t max_tensors = 32768;

bool same_shape(const ggml_tensor *a, const ggml_tensor *b) { return ggml_are_same_shape(a, b); }

} // namespace

Graph::Graph(Engine &engine, bool gradients, Life life) : engine_(engine), gradients_(gradients) {
    ctx_.reset(ggml_init(
        {ggml_tensor_overhead() * max_tensors + ggml_graph_overhead_custom(max_tensors, false), nullptr, true}));
    if (!ctx_) throw std::bad_alloc();
    graph_ = ggml_new_graph_custom(ctx(), max_tensors, false);
    if (life == Life::kept) own_memory_.reset(ggml_gallocr_new(ggml_backend_get_default_buffer_type(engine.backend())));
}

// ---- leaves

ggml_tensor *Graph::input(ggml_type type, Fill fill, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    ggml_tensor *t = ggml_new_tensor_4d(ctx(), type, ne0, ne1, ne2, ne3);
    ggml_set_input(t);
    uploads_.push_back({t, std::move(fill)});
    return t;
}

ggml_tensor *Graph::input(ggml_type type, const void *data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    const size_t n = size_t(ggml_row_size(type, ne0 * ne1 * ne2 * ne3));
    return input(
        type, [=](void *dst) { memcpy(dst, data, n); }, ne0, ne1, ne2, ne3);
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

Var Graph::record(ggml_tensor *value, const std::vector<Var> &inputs, Rule rule) {
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
    sum = sum ? plus(sum, gradient) : gradient;
}

void Graph::backward(Var loss) {
    output(loss.value);
    if (loss.node < 0) fail(RI_INTERNAL, "backward from a constant");
    std::vector<Addition> additions; // to the gradients of parameters
    for (int i = loss.node; i >= 0; --i) {
        Node &node = nodes_[i];
        if (i != loss.node && !node.gradient) continue;
        if (node.parameter_gradient) {
            additions.push_back({node.parameter_gradient, ggml_reshape(ctx(), node.gradient, node.parameter_gradient)});
            if (additions.size() == most_inputs) add_up(additions);
        } else {
            if (node.gradient) ggml_build_forward_expand(graph_, node.gradient);
            Rule rule = std::move(node.rule); // nodes_ does not grow here, but rules may be heavy: free each after use
            rule(node.gradient);
        }
    }
    add_up(additions);
}

void Graph::add_up(std::vector<Addition> &additions) {
    if (additions.empty()) return;
    if (const KernelSet *k = kernels()) { // by one node, since threads wait for each other after every node
        std::vector<ggml_tensor *> sums, terms;
        for (const Addition &a : additions) {
            sums.push_back(a.sum);
            terms.push_back(a.term);
        }
        ggml_tensor *node = kernel(1, 1, terms, [k, sums](ggml_tensor *dst, int ith, int nth) {
            for (size_t i = 0; i < sums.size(); ++i)
                k->add(in(dst, int(i)), ggml_nelements(sums[i]), static_cast<float *>(sums[i]->data), ith, nth);
        });
        ggml_build_forward_expand(graph_, node);
    } else {
        for (const Addition &a : additions) ggml_build_forward_expand(graph_, ggml_add_inplace(ctx(), a.sum, a.term));
    }
    additions.clear();
}

ggml_tensor *Graph::part(ggml_tensor *a, int64_t first, int64_t ne0, int64_t ne1) {
    const size_t row = size_t(ne0) * sizeof(float);
    return ggml_view_2d(ctx(), a, ne0, ne1, row, size_t(first) * sizeof(float));
}

ggml_tensor *Graph::kernel(int64_t ne0, int64_t ne1, std::vector<ggml_tensor *> inputs, Kernel kernel) {
    for (ggml_tensor *&input : inputs)
        if (!ggml_is_contiguous(input)) input = ggml_cont(ctx(), input);
    struct Call {
        Kernel kernel;
        const Graph &graph;
    };
    Call *kept = keep(std::make_shared<Call>(Call{std::move(kernel), *this}));
    auto call = [](ggml_tensor *dst, int, int, void *user) {
        Call &self = *static_cast<Call *>(user);
        self.graph.engine_.share(self.graph.alone_, [&](int ith, int nth) { self.kernel(dst, ith, nth); });
    };
    return ggml_custom_4d(ctx(), GGML_TYPE_F32, ne0, ne1, 1, 1, inputs.data(), int(inputs.size()), call, 1, kept);
}

// ---- operations

ggml_tensor *Graph::sum_to_row(ggml_tensor *a) {
    if (const KernelSet *k = kernels())
        return kernel(a->ne[0], 1, {a}, [k](ggml_tensor *dst, int ith, int nth) {
            const int64_t n = dst->ne[0];
            k->sum_rows(in(dst, 0), ggml_nelements(dst->src[0]) / n, n, out(dst), ith, nth);
        });
    ggml_tensor *flat = ggml_reshape_2d(ctx(), a, a->ne[0], ggml_nelements(a) / a->ne[0]);
    return ggml_reshape_1d(ctx(), ggml_sum_rows(ctx(), ggml_cont(ctx(), ggml_transpose(ctx(), flat))), a->ne[0]);
}

ggml_tensor *Graph::plus(ggml_tensor *a, ggml_tensor *b) {
    return repeats(a, b) ? elementwise(a, b, kernels()->plus) : ggml_add(ctx(), a, b);
}

ggml_tensor *Graph::times(ggml_tensor *a, ggml_tensor *b) {
    return repeats(a, b) ? elementwise(a, b, kernels()->times) : ggml_mul(ctx(), a, b);
}

// Whether there are kernels, and b's numbers in their order repeat along a's.
bool Graph::repeats(const ggml_tensor *a, const ggml_tensor *b) const {
    int axis = 0;
    while (axis < 4 && a->ne[axis] == b->ne[axis]) ++axis;
    while (axis < 4 && b->ne[axis] == 1) ++axis;
    return kernels() && axis == 4;
}

ggml_tensor *Graph::elementwise(ggml_tensor *a, ggml_tensor *b, decltype(KernelSet::plus) function) {
    const int64_t n = ggml_nelements(a), n_b = ggml_nelements(b);
    ggml_tensor *y = kernel(a->ne[0], n / a->ne[0], {a, b}, [=](ggml_tensor *dst, int ith, int nth) {
        function(in(dst, 0), n, in(dst, 1), n_b, out(dst), ith, nth);
    });
    return ggml_reshape(ctx(), y, a);
}

Var Graph::add(Var a, Var b) {
    return record(plus(a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        accumulate(a, dy);
        if (b.node >= 0) accumulate(b, same_shape(a.value, b.value) ? dy : sum_to_row(dy));
    });
}

Var Graph::mul(Var a, Var b) {
    return record(times(a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        if (a.node >= 0) accumulate(a, times(dy, b.value));
        if (b.node < 0) return;
        ggml_tensor *db = times(dy, a.value);
        accumulate(b, same_shape(a.value, b.value) ? db : sum_to_row(db));
    });
}

Var Graph::scale(Var a, float factor) {
    return record(ggml_scale(ctx(), a.value, factor), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_scale(ctx(), dy, factor)); });
}

Var Graph::scale_rows(Var a, ggml_tensor *factors) {
    auto scaled = [=](ggml_tensor *x) {
        const KernelSet *k = kernels();
        if (!k) return ggml_mul(ctx(), x, factors);
        const int64_t n = x->ne[0], rows = x->ne[1];
        return kernel(n, rows, {x, factors}, [=](ggml_tensor *dst, int ith, int nth) {
            k->scale_rows(in(dst, 0), in(dst, 1), rows, n, out(dst), ith, nth);
        });
    };
    return record(scaled(a.value), {a}, [=](ggml_tensor *dy) { accumulate(a, scaled(dy)); });
}

Var Graph::largest(Var a) {
    const int n = int(a.value->ne[0]);
    ggml_tensor *most = ggml_pool_1d(ctx(), a.value, GGML_OP_POOL_MAX, n, n, 0);
    return record(most, {a}, [=](ggml_tensor *dy) {
        // 1 - step(most - a) is 1 where a is the largest.
        ggml_tensor *below = ggml_step(ctx(), ggml_scale(ctx(), ggml_sub(ctx(), a.value, most), -1.0f));
        ggml_tensor *largest = ggml_scale_bias(ctx(), below, -1.0f, 1.0f);
        accumulate(a, ggml_mul(ctx(), largest, ggml_div(ctx(), dy, ggml_sum_rows(ctx(), largest))));
    });
}

Var Graph::mul_mat(Var a, Var b) {
    return record(ggml_mul_mat(ctx(), a.value, b.value), {a, b}, [=](ggml_tensor *dy) {
        auto transposed = [&](ggml_tensor *t) { return ggml_cont(ctx(), ggml_transpose(ctx(), t)); };
        if (a.node >= 0) accumulate(a, ggml_mul_mat(ctx(), transposed(b.value), transposed(dy)));
        if (b.node >= 0) accumulate(b, ggml_mul_mat(ctx(), transposed(a.value), dy));
    });
}

Var Graph::linear(Var w, Var x, Var bias) {
    const KernelSet *k = kernels();
    if (!k) {
        Var y = mul_mat(w, x);
        return bias.value ? add(y, bias) : y;
    }
    const int64_t n_in = w.value->ne[0], n_out = w.value->ne[1], rows = x.value->ne[1];
    std::vector<ggml_tensor *> inputs = {x.value, w.value};
    if (bias.value) inputs.push_back(bias.value);
    ggml_tensor *y = kernel(n_out, rows, inputs, [=](ggml_tensor *dst, int ith, int nth) {
        k->linear(in(dst, 0), in(dst, 1), bias.value ? in(dst, 2) : nullptr, rows, n_in, n_out, out(dst), ith, nth);
    });
    return record(y, {w, x, bias}, [=](ggml_tensor *dy) {
        // What is wanted of dx, dw and db, one after the other.
        const int64_t of_x = x.node >= 0 ? n_in * rows : 0, of_w = w.node >= 0 ? n_in * n_out : 0,
                      of_bias = bias.node >= 0 ? n_out : 0;
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            float *dx = out(dst), *dw = dx + of_x, *db = dw + of_w;
            if (of_x) k->linear_back_input(in(dst, 0), in(dst, 1), rows, n_in, n_out, dx, ith, nth);
            if (of_w) k->linear_back_weight(in(dst, 0), in(dst, 2), rows, n_in, n_out, dw, ith, nth);
            if (of_bias) k->sum_rows(in(dst, 0), rows, n_out, db, ith, nth);
        };
        ggml_tensor *all = kernel(of_x + of_w + of_bias, 1, {dy, w.value, x.value}, back);
        if (of_x) accumulate(x, part(all, 0, n_in, rows));
        if (of_w) accumulate(w, part(all, of_x, n_in, n_out));
        if (of_bias) accumulate(bias, part(all, of_x + of_w, n_out));
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

Var Graph::first_rows(Var a, int64_t count) {
    const ggml_tensor *t = a.value;
    return record(ggml_view_2d(ctx(), a.value, t->ne[0], count, t->nb[1], 0), {a}, [=](ggml_tensor *dy) {
        const int64_t rest = a.value->ne[1] - count;
        if (rest > 0) {
            ggml_tensor *zeros = ggml_new_tensor_2d(ctx(), GGML_TYPE_F32, dy->ne[0], rest);
            dy = ggml_concat(ctx(), dy, ggml_fill(ctx(), zeros, 0.0f), 1);
        }
        accumulate(a, dy);
    });
}

std::vector<Var> Graph::split(Var a, int64_t count) {
    const ggml_tensor *t = a.value;
    const int last = t->ne[3] > 1 ? 3 : t->ne[2] > 1 ? 2 : 1;
    const int64_t size = t->ne[last] / count;
    // The first part is recorded first, so its rule runs last and finds the gradients of the others.
    auto gradients = std::make_shared<std::vector<ggml_tensor *>>(size_t(count), nullptr);
    std::vector<Var> parts;
    for (int64_t i = 0; i < count; ++i) {
        int64_t ne[4] = {t->ne[0], t->ne[1], t->ne[2], t->ne[3]};
        ne[last] = size;
        ggml_tensor *view = ggml_view_4d(ctx(), a.value, ne[0], ne[1], ne[2], ne[3], t->nb[1], t->nb[2], t->nb[3],
                                         size_t(i * size) * t->nb[last]);
        parts.push_back(record(view, {a}, [=](ggml_tensor *dy) {
            (*gradients)[size_t(i)] = dy;
            if (i > 0) return;
            ggml_tensor *all = nullptr;
            for (ggml_tensor *part : *gradients) {
                if (!part) part = ggml_fill(ctx(), ggml_new_tensor(ctx(), GGML_TYPE_F32, 4, ne), 0.0f);
                all = all ? ggml_concat(ctx(), all, part, last) : part;
            }
            accumulate(a, all);
        }));
    }
    return parts;
}

Var Graph::stack(const std::vector<Var> &parts) {
    ggml_tensor *all = parts[0].value;
    for (size_t i = 1; i < parts.size(); ++i) all = ggml_concat(ctx(), all, parts[i].value, 1);
    return record(all, parts, [=](ggml_tensor *dy) {
        int64_t first = 0;
        for (const Var &part : parts) {
            const int64_t n = part.value->ne[1];
            if (part.node >= 0)
                accumulate(part, ggml_cont(ctx(), ggml_view_2d(ctx(), dy, dy->ne[0], n, dy->nb[1],
                                                               size_t(first) * dy->nb[1])));
            first += n;
        }
    });
}

Var Graph::sigmoid(Var a) {
    ggml_tensor *y = ggml_sigmoid(ctx(), a.value);
    return record(y, {a}, [=](ggml_tensor *dy) { // y' = y (1 - y)
        accumulate(a, ggml_mul(ctx(), dy, ggml_mul(ctx(), y, ggml_scale_bias(ctx(), y, -1.0f, 1.0f))));
    });
}

Var Graph::tanh(Var a) {
    ggml_tensor *y = ggml_tanh(ctx(), a.value);
    return record(y, {a}, [=](ggml_tensor *dy) { // y' = 1 - y^2
        accumulate(a, ggml_mul(ctx(), dy, ggml_scale_bias(ctx(), ggml_sqr(ctx(), y), -1.0f, 1.0f)));
    });
}

Var Graph::activation(Var a, decltype(KernelSet::gelu_erf) function, decltype(KernelSet::gelu_erf_back) back) {
    ggml_tensor *x = a.value;
    const int64_t count = ggml_nelements(x);
    auto like_x = [=](const std::vector<ggml_tensor *> &inputs, Kernel compute) {
        return ggml_reshape(ctx(), kernel(x->ne[0], ggml_nrows(x), inputs, std::move(compute)), x);
    };
    ggml_tensor *y =
        like_x({x}, [=](ggml_tensor *dst, int ith, int nth) { function(in(dst, 0), count, out(dst), ith, nth); });
    return record(y, {a}, [=](ggml_tensor *dy) {
        accumulate(a, like_x({x, dy}, [=](ggml_tensor *dst, int ith, int nth) {
                       back(in(dst, 0), in(dst, 1), count, out(dst), ith, nth);
                   }));
    });
}

Var Graph::gelu_erf(Var a) {
    if (const KernelSet *k = kernels()) return activation(a, k->gelu_erf, k->gelu_erf_back);
    ggml_tensor *x = a.value;
    return record(ggml_gelu_erf(ctx(), x), {a}, [=](ggml_tensor *dy) {
        // d/dx x Phi(x) = Phi(x) + x phi(x). ggml has no erf, but Phi(x) = gelu(x) / x, where 0 is moved aside.
        ggml_tensor *is_zero = ggml_scale_bias(ctx(), ggml_step(ctx(), ggml_abs(ctx(), x)), -1.0f, 1.0f);
        ggml_tensor *moved = ggml_add(ctx(), x, ggml_scale(ctx(), is_zero, 1e-20f));
        ggml_tensor *cumulative = ggml_div(ctx(), ggml_gelu_erf(ctx(), moved), moved);
        const float density = 1.0f / std::sqrt(2.0f * float(M_PI));
        ggml_tensor *phi = ggml_scale(ctx(), ggml_exp(ctx(), ggml_scale(ctx(), ggml_sqr(ctx(), x), -0.5f)), density);
        accumulate(a, ggml_mul(ctx(), dy, ggml_add(ctx(), cumulative, ggml_mul(ctx(), x, phi))));
    });
}

Var Graph::relu(Var a) {
    return record(ggml_relu(ctx(), a.value), {a},
                  [=](ggml_tensor *dy) { accumulate(a, ggml_mul(ctx(), dy, ggml_step(ctx(), a.value))); });
}

Var Graph::gelu(Var a) {
    if (const KernelSet *k = kernels()) return activation(a, k->gelu_tanh, k->gelu_tanh_back);
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
    if (const KernelSet *k = kernels()) {
        const int64_t width = x->ne[0], rows = ggml_nrows(x);
        ggml_tensor *w = weight.value;
        ggml_tensor *y = kernel(width, rows, {x, w, bias.value}, [=](ggml_tensor *dst, int ith, int nth) {
            k->layer_norm(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, width, out(dst), ith, nth);
        });
        return record(y, {a, weight, bias}, [=](ggml_tensor *dy) {
            // dx, dw and db, one after the other.
            auto back = [=](ggml_tensor *dst, int ith, int nth) {
                float *dx = out(dst), *dw = dx + width * rows;
                if (a.node >= 0) k->layer_norm_back(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, width, dx, ith, nth);
                k->layer_norm_back_weights(in(dst, 0), in(dst, 2), eps, rows, width, dw, dw + width, ith, nth);
            };
            ggml_tensor *all = kernel(width * (rows + 2), 1, {x, w, dy}, back);
            accumulate(a, part(all, 0, width, rows));
            accumulate(weight, part(all, width * rows, width));
            accumulate(bias, part(all, width * (rows + 1), width));
        });
    }
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
        if (ggml_tensor *dx = ggml_rms_norm_back(ctx(), dn, x, eps); supported(dx)) {
            accumulate(a, dx);
            return;
        }
        ggml_tensor *root = ggml_sqrt(ctx(), ggml_scale_bias(ctx(), row_mean(ggml_sqr(ctx(), x)), 1.0f, eps));
        ggml_tensor *d = ggml_sub(ctx(), dn, ggml_mul(ctx(), n, row_mean(ggml_mul(ctx(), dn, n))));
        accumulate(a, ggml_div(ctx(), d, root));
    });
}

Var Graph::swiglu(Var gate_up) {
    return record(ggml_swiglu(ctx(), gate_up.value), {gate_up}, [=](ggml_tensor *dy) {
        const ggml_tensor *t = gate_up.value;
        const int64_t n = t->ne[0] / 2, rows = t->ne[1];
        auto half = [=](int64_t first) {
            return ggml_view_2d(ctx(), gate_up.value, n, rows, t->nb[1], size_t(first) * sizeof(float));
        };
        ggml_tensor *gate = ggml_cont(ctx(), half(0));
        ggml_tensor *dgate = ggml_silu_back(ctx(), ggml_mul(ctx(), dy, half(n)), gate);
        accumulate(gate_up, ggml_concat(ctx(), dgate, ggml_mul(ctx(), dy, ggml_silu(ctx(), gate)), 0));
    });
}

Var Graph::softmax(Var a, ggml_tensor *mask, float factor) {
    const KernelSet *k = kernels();
    if (k && !mask) {
        const int64_t n = a.value->ne[0], rows = ggml_nrows(a.value);
        ggml_tensor *p = kernel(n, rows, {a.value}, [=](ggml_tensor *dst, int ith, int nth) {
            k->softmax(in(dst, 0), factor, rows, n, out(dst), ith, nth);
        });
        return record(ggml_reshape(ctx(), p, a.value), {a}, [=](ggml_tensor *dy) {
            ggml_tensor *dx = kernel(n, rows, {p, dy}, [=](ggml_tensor *dst, int ith, int nth) {
                k->softmax_back(in(dst, 0), in(dst, 1), factor, rows, n, out(dst), ith, nth);
            });
            accumulate(a, ggml_reshape(ctx(), dx, a.value));
        });
    }
    ggml_tensor *y = ggml_soft_max_ext(ctx(), a.value, mask, factor, 0.0f);
    return record(y, {a}, [=](ggml_tensor *dy) { accumulate(a, softmax_back(dy, y, factor)); });
}

ggml_tensor *Graph::softmax_back(ggml_tensor *dy, ggml_tensor *y, float factor) {
    // Not by ggml_soft_max_ext_back: the result may be given y's memory, where ggml's CPU backend writes before it has
    // read y.
    ggml_tensor *dot = ggml_sum_rows(ctx(), ggml_mul(ctx(), dy, y));
    return ggml_scale(ctx(), ggml_mul(ctx(), ggml_sub(ctx(), dy, dot), y), factor);
}

Var Graph::get_rows(Var table, ggml_tensor *ids) {
    const int64_t width = table.value->ne[0], n_rows = table.value->ne[1], n_ids = ids->ne[0];
    const KernelSet *k = kernels();
    ggml_tensor *y = k ? kernel(width, n_ids, {table.value, ids},
                                [=](ggml_tensor *dst, int ith, int nth) {
                                    k->gather_rows(in(dst, 0), ri::ids(dst, 1), n_ids, width, out(dst), ith, nth);
                                })
                       : ggml_get_rows(ctx(), table.value, ids);
    return record(y, {table}, [=](ggml_tensor *dy) {
        if (k) {
            accumulate(table, kernel(width, n_rows, {dy, ids}, [=](ggml_tensor *dst, int ith, int nth) {
                           k->scatter_rows(in(dst, 0), ri::ids(dst, 1), n_ids, width, out(dst), n_rows, ith, nth);
                       }));
            return;
        }
        ggml_tensor *scattered = ggml_get_rows_back(ctx(), dy, ids, table.value);
        if (!supported(scattered)) {
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

Var Graph::pick_rows(Var table, const std::vector<int32_t> &ids) {
    ggml_tensor *picked = input(ids, int64_t(ids.size()));
    if (kernels()) return get_rows(table, picked);
    return record(ggml_get_rows(ctx(), table.value, picked), {table}, [=](ggml_tensor *dy) {
        // Where each row went; to the row behind the last, which is zero, if nowhere.
        const int64_t rows = table.value->ne[1];
        std::vector<int32_t> went(size_t(rows), int32_t(ids.size()));
        for (size_t i = 0; i < ids.size(); ++i) went[size_t(ids[i])] = int32_t(i);
        ggml_tensor *places = input(std::move(went), rows);
        ggml_tensor *nowhere = ggml_fill(ctx(), ggml_new_tensor_1d(ctx(), GGML_TYPE_F32, table.value->ne[0]), 0.0f);
        accumulate(table, ggml_get_rows(ctx(), ggml_concat(ctx(), dy, nowhere, 1), places));
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
    if (const KernelSet *k = kernels()) {
        ggml_tensor *x = logits.value;
        ggml_tensor *logp = kernel(n, 1, {x, flat_targets}, [=](ggml_tensor *dst, int ith, int nth) {
            k->log_probability(in(dst, 0), ids(dst, 1), n, n_classes, out(dst), ith, nth);
        });
        if (logprobs) *logprobs = logp;
        ggml_tensor *loss = ggml_scale(ctx(), ggml_sum(ctx(), ggml_mul(ctx(), logp, weights)), -1.0f);
        return record(loss, {logits}, [=](ggml_tensor *) {
            auto back = [=](ggml_tensor *dst, int ith, int nth) {
                k->cross_entropy_back(in(dst, 0), ids(dst, 1), in(dst, 2), n, n_classes, out(dst), ith, nth);
            };
            accumulate(logits, kernel(n_classes, n, {x, flat_targets, weights}, back));
        });
    }
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

Var Graph::binary_cross_entropy(Var scores, ggml_tensor *weights) {
    // -log sigmoid(s) = softplus(-s) for the target, -log(1 - sigmoid(s)) = softplus(s) for the others (Kang and
    // McAuley 2018, eq. 7). Both have the slope sigmoid(s), less 1 for the target.
    const int64_t rows = scores.value->ne[0], n = scores.value->ne[1];
    std::vector<float> signs(size_t(rows), 1.0f), ones(size_t(rows), 0.0f);
    signs[0] = -1.0f;
    ones[0] = 1.0f;
    ggml_tensor *sign = input(std::move(signs), rows), *is_target = input(std::move(ones), rows);
    ggml_tensor *row_weights = ggml_reshape_2d(ctx(), weights, 1, n);
    ggml_tensor *losses = ggml_softplus(ctx(), ggml_mul(ctx(), scores.value, sign));
    return record(ggml_sum(ctx(), ggml_mul(ctx(), losses, row_weights)), {scores}, [=](ggml_tensor *) {
        ggml_tensor *slope = ggml_sub(ctx(), ggml_sigmoid(ctx(), scores.value), is_target);
        accumulate(scores, ggml_mul(ctx(), slope, row_weights));
    });
}

Var Graph::mean_squared_error(Var a, Var target) {
    if (const KernelSet *k = kernels()) {
        // The gradient, followed by what each row adds to the loss.
        const int64_t width = a.value->ne[0], rows = ggml_nrows(a.value), count = width * rows;
        const float share = 1.0f / float(count);
        ggml_tensor *all = kernel(count + rows, 1, {a.value, target.value}, [=](ggml_tensor *dst, int ith, int nth) {
            k->squared_error(in(dst, 0), in(dst, 1), 2 * share, rows, width, out(dst), out(dst) + count, ith, nth);
        });
        ggml_tensor *gradient = ggml_reshape(ctx(), part(all, 0, count), a.value);
        return record(ggml_scale(ctx(), ggml_sum(ctx(), part(all, count, rows)), share), {a, target},
                      [=](ggml_tensor *) {
                          accumulate(a, gradient);
                          if (target.node >= 0) accumulate(target, ggml_scale(ctx(), gradient, -1.0f));
                      });
    }
    ggml_tensor *difference = ggml_sub(ctx(), a.value, target.value);
    const float n = float(ggml_nelements(difference));
    ggml_tensor *loss = ggml_scale(ctx(), ggml_sum(ctx(), ggml_sqr(ctx(), difference)), 1.0f / n);
    return record(loss, {a, target}, [=](ggml_tensor *) {
        if (a.node >= 0) accumulate(a, ggml_scale(ctx(), difference, 2.0f / n));
        if (target.node >= 0) accumulate(target, ggml_scale(ctx(), difference, -2.0f / n));
    });
}

Var Graph::sum_of_losses(Var a, Var b) {
    // A loss's gradient is 1 and its rule does not look at it: what is accumulated only says that it takes part.
    return record(ggml_add(ctx(), a.value, b.value), {a, b}, [=](ggml_tensor *) {
        accumulate(a, a.value);
        accumulate(b, b.value);
    });
}

// ---- running

void Graph::output(ggml_tensor *value) {
    ggml_set_output(value);
    ggml_build_forward_expand(graph_, value);
}

size_t Graph::n_bytes() {
    ggml_gallocr_ptr none(ggml_gallocr_new(ggml_backend_get_default_buffer_type(engine_.backend())));
    size_t n = 0;
    ggml_gallocr_reserve_n_size(none.get(), graph_, nullptr, nullptr, &n);
    return n;
}

void Graph::run() {
    if (!ready_) {
        for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
            const ggml_tensor *node = ggml_graph_node(graph_, i);
            if (!supported(node))
                fail(RI_UNSUPPORTED, "the %s backend cannot run %s on this shape; compute on the CPU",
                     ggml_backend_name(engine_.backend()), ggml_op_desc(node));
        }
        if (!ggml_gallocr_alloc_graph(own_memory_ ? own_memory_.get() : engine_.scratch(), graph_))
            fail(RI_MEMORY, "no memory for the activations of this batch; use a smaller batch");
        ready_ = own_memory_ != nullptr;
        // ggml's CUDA backend captures a graph that looks like the one before, to replay it. What is thrown away is not
        // worth that, so that it gets a name of its own.
        if (!ready_) ggml_format_name(ggml_graph_node(graph_, 0), "%llu", engine_.next_number());
    }
    for (const Upload &u : uploads_) {
        if (!u.tensor->buffer) continue; // unused
        if (ggml_backend_buffer_is_host(u.tensor->buffer)) {
            u.fill(u.tensor->data);
            continue;
        }
        staging_.resize(ggml_nbytes(u.tensor));
        u.fill(staging_.data());
        ggml_backend_tensor_set(u.tensor, staging_.data(), 0, staging_.size());
    }
    const ggml_status status = ggml_backend_graph_compute(engine_.backend(), graph_);
    engine_.rethrow();
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
