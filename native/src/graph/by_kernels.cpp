// Operations on the engine's kernel set. Each is one node of the graph, and one of its gradient.
#include "graph/forms.h"

#include <algorithm>

namespace ri::by_kernels {

namespace {

Var activation(Graph &g, Var a, decltype(KernelSet::gelu_erf) function, decltype(KernelSet::gelu_erf_back) back) {
    ggml_tensor *x = a.value;
    const int64_t count = ggml_nelements(x);
    auto like_x = [=, &g](const std::vector<ggml_tensor *> &inputs, Graph::Kernel compute) {
        return ggml_reshape(g.ctx(), g.kernel(x->ne[0], ggml_nrows(x), inputs, std::move(compute)), x);
    };
    ggml_tensor *y =
        like_x({x}, [=](ggml_tensor *dst, int ith, int nth) { function(in(dst, 0), count, out(dst), ith, nth); });
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) {
        g.accumulate(a, like_x({x, dy}, [=](ggml_tensor *dst, int ith, int nth) {
                         back(in(dst, 0), in(dst, 1), count, out(dst), ith, nth);
                     }));
    });
}

ggml_tensor *elementwise(Graph &g, ggml_tensor *a, ggml_tensor *b, decltype(KernelSet::plus) function) {
    const int64_t n = ggml_nelements(a), n_b = ggml_nelements(b);
    ggml_tensor *y = g.kernel(a->ne[0], n / a->ne[0], {a, b}, [=](ggml_tensor *dst, int ith, int nth) {
        function(in(dst, 0), n, in(dst, 1), n_b, out(dst), ith, nth);
    });
    return ggml_reshape(g.ctx(), y, a);
}

} // namespace

ggml_tensor *plus(Graph &g, ggml_tensor *a, ggml_tensor *b) { return elementwise(g, a, b, g.kernels()->plus); }

ggml_tensor *times(Graph &g, ggml_tensor *a, ggml_tensor *b) { return elementwise(g, a, b, g.kernels()->times); }

ggml_tensor *sum_to_row(Graph &g, ggml_tensor *a) {
    const KernelSet *k = g.kernels();
    return g.kernel(a->ne[0], 1, {a}, [k](ggml_tensor *dst, int ith, int nth) {
        const int64_t n = dst->ne[0];
        k->sum_rows(in(dst, 0), ggml_nelements(dst->src[0]) / n, n, out(dst), ith, nth);
    });
}

ggml_tensor *scale_rows(Graph &g, ggml_tensor *x, ggml_tensor *factors) {
    const KernelSet *k = g.kernels();
    const int64_t n = x->ne[0], rows = x->ne[1];
    return g.kernel(n, rows, {x, factors}, [=](ggml_tensor *dst, int ith, int nth) {
        k->scale_rows(in(dst, 0), in(dst, 1), rows, n, out(dst), ith, nth);
    });
}

Var linear(Graph &g, Var w, Var x, Var bias) {
    const KernelSet *k = g.kernels();
    const int64_t n_in = w.value->ne[0], n_out = w.value->ne[1], rows = x.value->ne[1];
    std::vector<ggml_tensor *> inputs = {x.value, w.value};
    if (bias.value) inputs.push_back(bias.value);
    ggml_tensor *y = g.kernel(n_out, rows, inputs, [=](ggml_tensor *dst, int ith, int nth) {
        k->linear(in(dst, 0), in(dst, 1), bias.value ? in(dst, 2) : nullptr, rows, n_in, n_out, out(dst), ith, nth);
    });
    return g.record(y, {w, x, bias}, [=, &g](ggml_tensor *dy) {
        // What is wanted of dx, dw and db, one after the other.
        const int64_t of_x = x.node >= 0 ? n_in * rows : 0, of_w = w.node >= 0 ? n_in * n_out : 0,
                      of_bias = bias.node >= 0 ? n_out : 0;
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            float *dx = out(dst), *dw = dx + of_x, *db = dw + of_w;
            if (of_x) k->linear_back_input(in(dst, 0), in(dst, 1), rows, n_in, n_out, dx, ith, nth);
            if (of_w) k->linear_back_weight(in(dst, 0), in(dst, 2), rows, n_in, n_out, dw, ith, nth);
            if (of_bias) k->sum_rows(in(dst, 0), rows, n_out, db, ith, nth);
        };
        ggml_tensor *all = g.kernel(of_x + of_w + of_bias, 1, {dy, w.value, x.value}, back);
        if (of_x) g.accumulate(x, g.part(all, 0, n_in, rows));
        if (of_w) g.accumulate(w, g.part(all, of_x, n_in, n_out));
        if (of_bias) g.accumulate(bias, g.part(all, of_x + of_w, n_out));
    });
}

Var gelu(Graph &g, Var a) { return activation(g, a, g.kernels()->gelu_tanh, g.kernels()->gelu_tanh_back); }

Var gelu_erf(Graph &g, Var a) { return activation(g, a, g.kernels()->gelu_erf, g.kernels()->gelu_erf_back); }

Var silu(Graph &g, Var a) { return activation(g, a, g.kernels()->silu, g.kernels()->silu_back); }

Var layer_norm(Graph &g, Var a, Var weight, Var bias, float eps) {
    const KernelSet *k = g.kernels();
    ggml_tensor *x = a.value;
    const int64_t width = x->ne[0], rows = ggml_nrows(x);
    ggml_tensor *w = weight.value;
    ggml_tensor *y = g.kernel(width, rows, {x, w, bias.value}, [=](ggml_tensor *dst, int ith, int nth) {
        k->layer_norm(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, width, out(dst), ith, nth);
    });
    return g.record(y, {a, weight, bias}, [=, &g](ggml_tensor *dy) {
        // dx, dw and db, one after the other.
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            float *dx = out(dst), *dw = dx + width * rows;
            if (a.node >= 0) k->layer_norm_back(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, width, dx, ith, nth);
            k->layer_norm_back_weights(in(dst, 0), in(dst, 2), eps, rows, width, dw, dw + width, ith, nth);
        };
        ggml_tensor *all = g.kernel(width * (rows + 2), 1, {x, w, dy}, back);
        g.accumulate(a, g.part(all, 0, width, rows));
        g.accumulate(weight, g.part(all, width * rows, width));
        g.accumulate(bias, g.part(all, width * (rows + 1), width));
    });
}

Var rms_norm(Graph &g, Var a, ggml_tensor *weight, float eps) {
    const KernelSet *k = g.kernels();
    ggml_tensor *x = a.value;
    const int64_t n = x->ne[0], rows = x->ne[1];
    ggml_tensor *y = g.kernel(n, rows, {x, weight}, [=](ggml_tensor *dst, int ith, int nth) {
        k->rms_norm(in(dst, 0), in(dst, 1), eps, rows, n, out(dst), ith, nth);
    });
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) {
        g.accumulate(a, g.kernel(n, rows, {x, weight, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            k->rms_norm_back(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, n, out(dst), ith, nth);
        }));
    });
}

Var head_norms(Graph &g, Var a, const HeadNorm &first, const HeadNorm &second, float eps) {
    const KernelSet *k = g.kernels();
    ggml_tensor *x = a.value, *w1 = first.weight, *w2 = second.weight;
    const int64_t width = x->ne[0], rows = x->ne[1], head = w1->ne[0], n1 = first.heads, n2 = second.heads;
    const int64_t next = n1 * head, rest = next + n2 * head;
    // Each thread takes some rows.
    auto each_row = [=](int ith, int nth, auto &&body) {
        for (int64_t at = rows * ith / nth * width; at < rows * (ith + 1) / nth * width; at += width) body(at);
    };
    ggml_tensor *y = g.kernel(width, rows, {x, w1, w2}, [=](ggml_tensor *dst, int ith, int nth) {
        each_row(ith, nth, [=](int64_t at) {
            const float *from = in(dst, 0) + at;
            float *to = out(dst) + at;
            k->rms_norm(from, in(dst, 1), eps, n1, head, to, 0, 1);
            k->rms_norm(from + next, in(dst, 2), eps, n2, head, to + next, 0, 1);
            std::copy(from + rest, from + width, to + rest);
        });
    });
    return g.record(y, {a}, [=, &g](ggml_tensor *dy) {
        g.accumulate(a, g.kernel(width, rows, {x, w1, w2, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            each_row(ith, nth, [=](int64_t at) {
                const float *from = in(dst, 0) + at, *d = in(dst, 3) + at;
                float *to = out(dst) + at;
                k->rms_norm_back(from, in(dst, 1), d, eps, n1, head, to, 0, 1);
                k->rms_norm_back(from + next, in(dst, 2), d + next, eps, n2, head, to + next, 0, 1);
                std::copy(d + rest, d + width, to + rest);
            });
        }));
    });
}

Var swiglu(Graph &g, Var gate_up) {
    const KernelSet *k = g.kernels();
    ggml_tensor *x = gate_up.value;
    const int64_t n = x->ne[0] / 2, rows = x->ne[1];
    ggml_tensor *y = g.kernel(
        n, rows, {x}, [=](ggml_tensor *dst, int ith, int nth) { k->swiglu(in(dst, 0), rows, n, out(dst), ith, nth); });
    return g.record(y, {gate_up}, [=, &g](ggml_tensor *dy) {
        g.accumulate(gate_up, g.kernel(2 * n, rows, {x, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            k->swiglu_back(in(dst, 0), in(dst, 1), rows, n, out(dst), ith, nth);
        }));
    });
}

Var frozen_linear(Graph &g, const FrozenLinear &m, Var x) {
    auto product = [&g](const kernels::PackedMatrix *matrix, int64_t n_out, ggml_tensor *a) {
        return g.kernel(n_out, a->ne[1], {a}, [matrix](ggml_tensor *dst, int ith, int nth) {
            matrix->multiply(in(dst, 0), dst->ne[1], out(dst), ith, nth);
        });
    };
    return g.record(product(m.packed.get(), m.n_out, x.value), {x},
                    [=, &g, &m](ggml_tensor *dy) { g.accumulate(x, product(m.packed_transposed.get(), m.n_in, dy)); });
}

Var softmax(Graph &g, Var a, float factor) {
    const KernelSet *k = g.kernels();
    const int64_t n = a.value->ne[0], rows = ggml_nrows(a.value);
    ggml_tensor *p = g.kernel(n, rows, {a.value}, [=](ggml_tensor *dst, int ith, int nth) {
        k->softmax(in(dst, 0), factor, rows, n, out(dst), ith, nth);
    });
    return g.record(ggml_reshape(g.ctx(), p, a.value), {a}, [=, &g](ggml_tensor *dy) {
        ggml_tensor *dx = g.kernel(n, rows, {p, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            k->softmax_back(in(dst, 0), in(dst, 1), factor, rows, n, out(dst), ith, nth);
        });
        g.accumulate(a, ggml_reshape(g.ctx(), dx, a.value));
    });
}

ggml_tensor *gather_rows(Graph &g, ggml_tensor *table, ggml_tensor *ids) {
    const KernelSet *k = g.kernels();
    const int64_t width = table->ne[0], n_ids = ids->ne[0];
    return g.kernel(width, n_ids, {table, ids}, [=](ggml_tensor *dst, int ith, int nth) {
        k->gather_rows(in(dst, 0), ri::ids(dst, 1), n_ids, width, out(dst), ith, nth);
    });
}

ggml_tensor *scatter_rows(Graph &g, ggml_tensor *dy, ggml_tensor *ids, const ggml_tensor *table) {
    const KernelSet *k = g.kernels();
    const int64_t width = table->ne[0], n_rows = table->ne[1], n_ids = ids->ne[0];
    return g.kernel(width, n_rows, {dy, ids}, [=](ggml_tensor *dst, int ith, int nth) {
        k->scatter_rows(in(dst, 0), ri::ids(dst, 1), n_ids, width, out(dst), n_rows, ith, nth);
    });
}

Var candidate_scores(Graph &g, Var table, Var bias, Var x, ggml_tensor *ids) {
    const KernelSet *k = g.kernels();
    const int64_t width = x.value->ne[0], n = x.value->ne[1], count = ids->ne[0] / n, rows = table.value->ne[1];
    std::vector<ggml_tensor *> inputs = {x.value, table.value, ids};
    if (bias.value) inputs.push_back(bias.value);
    ggml_tensor *y = g.kernel(count, n, inputs, [=](ggml_tensor *dst, int ith, int nth) {
        k->candidate_scores(in(dst, 0), in(dst, 1), bias.value ? in(dst, 3) : nullptr, ri::ids(dst, 2), n, count, width,
                            out(dst), ith, nth);
    });
    return g.record(y, {table, bias, x}, [=, &g](ggml_tensor *dy) {
        // dx, and those of the table and the bias, one after the other.
        const int64_t of_x = width * n, of_table = width * rows, of_bias = bias.value ? bias.value->ne[0] : 0;
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            float *dx = out(dst), *dtable = dx + of_x;
            k->candidate_scores_back_input(in(dst, 0), in(dst, 2), ri::ids(dst, 3), n, count, width, dx, ith, nth);
            k->candidate_scores_back_table(in(dst, 0), in(dst, 1), ri::ids(dst, 3), n, count, width, rows, dtable,
                                           of_bias ? dtable + of_table : nullptr, ith, nth);
        };
        ggml_tensor *all = g.kernel(of_x + of_table + of_bias, 1, {dy, x.value, table.value, ids}, back);
        g.accumulate(x, g.part(all, 0, width, n));
        g.accumulate(table, g.part(all, of_x, width, rows));
        if (of_bias) g.accumulate(bias, g.part(all, of_x + of_table, of_bias));
    });
}

Var cross_entropy(Graph &g, Var logits, ggml_tensor *flat_targets, ggml_tensor *weights, ggml_tensor **logprobs) {
    const KernelSet *k = g.kernels();
    const int64_t n_classes = logits.value->ne[0], n = logits.value->ne[1];
    ggml_tensor *x = logits.value;
    ggml_tensor *logp = g.kernel(n, 1, {x, flat_targets}, [=](ggml_tensor *dst, int ith, int nth) {
        k->log_probability(in(dst, 0), ids(dst, 1), n, n_classes, out(dst), ith, nth);
    });
    if (logprobs) *logprobs = logp;
    ggml_tensor *loss = ggml_scale(g.ctx(), ggml_sum(g.ctx(), ggml_mul(g.ctx(), logp, weights)), -1.0f);
    return g.record(loss, {logits}, [=, &g](ggml_tensor *) {
        auto back = [=](ggml_tensor *dst, int ith, int nth) {
            k->cross_entropy_back(in(dst, 0), ids(dst, 1), in(dst, 2), n, n_classes, out(dst), ith, nth);
        };
        g.accumulate(logits, g.kernel(n_classes, n, {x, flat_targets, weights}, back));
    });
}

Var mean_squared_error(Graph &g, Var a, Var target) {
    const KernelSet *k = g.kernels();
    // The gradient, followed by what each row adds to the loss.
    const int64_t width = a.value->ne[0], rows = ggml_nrows(a.value), count = width * rows;
    const float share = 1.0f / float(count);
    ggml_tensor *all = g.kernel(count + rows, 1, {a.value, target.value}, [=](ggml_tensor *dst, int ith, int nth) {
        k->squared_error(in(dst, 0), in(dst, 1), 2 * share, rows, width, out(dst), out(dst) + count, ith, nth);
    });
    ggml_tensor *gradient = ggml_reshape(g.ctx(), g.part(all, 0, count), a.value);
    return g.record(ggml_scale(g.ctx(), ggml_sum(g.ctx(), g.part(all, count, rows)), share), {a, target},
                    [=, &g](ggml_tensor *) {
                        g.accumulate(a, gradient);
                        if (target.node >= 0) g.accumulate(target, ggml_scale(g.ctx(), gradient, -1.0f));
                    });
}

} // namespace ri::by_kernels
