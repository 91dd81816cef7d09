// The operations of a LLaMA block: by a kernel set on the CPU, composed of ggml operations elsewhere.
#include "llama.h"
#include "llama_attention.h"

#include <cmath>

namespace ri {

Var Llama::linear(Graph &g, const FrozenLinear &m, Var x) const {
    if (!m.packed)
        return g.record(ggml_mul_mat(g.ctx(), m.weight, x.value), {x},
                        [&g, &m, x](ggml_tensor *dy) { g.accumulate(x, ggml_mul_mat(g.ctx(), m.transposed, dy)); });
    auto product = [&g](const kernels::PackedMatrix *matrix, ggml_tensor *a) {
        return g.kernel(matrix->n_out(), a->ne[1], {a}, [matrix](ggml_tensor *dst, int ith, int nth) {
            matrix->multiply(in(dst, 0), dst->ne[1], out(dst), ith, nth);
        });
    };
    return g.record(product(m.packed.get(), x.value), {x},
                    [=, &g, &m](ggml_tensor *dy) { g.accumulate(x, product(m.packed_transposed.get(), dy)); });
}

Var Llama::rms_norm(Graph &g, Var x, ggml_tensor *weight) const {
    const KernelSet *kernels = g.kernels();
    if (!kernels) return g.rms_norm(x, weight, rms_eps_);
    const int64_t n = x.value->ne[0], rows = x.value->ne[1];
    const float eps = rms_eps_;
    ggml_tensor *y = g.kernel(n, rows, {x.value, weight}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->rms_norm(in(dst, 0), in(dst, 1), eps, rows, n, out(dst), ith, nth);
    });
    return g.record(y, {x}, [=, &g](ggml_tensor *dy) {
        g.accumulate(x, g.kernel(n, rows, {x.value, weight, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            kernels->rms_norm_back(in(dst, 0), in(dst, 1), in(dst, 2), eps, rows, n, out(dst), ith, nth);
        }));
    });
}

Var Llama::swiglu(Graph &g, Var gate_up) const {
    const KernelSet *kernels = g.kernels();
    if (!kernels) return g.swiglu(gate_up);
    const int64_t n = gate_up.value->ne[0] / 2, rows = gate_up.value->ne[1];
    ggml_tensor *y = g.kernel(n, rows, {gate_up.value}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->swiglu(in(dst, 0), rows, n, out(dst), ith, nth);
    });
    return g.record(y, {gate_up}, [=, &g](ggml_tensor *dy) {
        g.accumulate(gate_up, g.kernel(2 * n, rows, {gate_up.value, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            kernels->swiglu_back(in(dst, 0), in(dst, 1), rows, n, out(dst), ith, nth);
        }));
    });
}

Var Llama::loss(Graph &g, const Pass &pass, double weight, ggml_tensor **logprobs) const {
    ggml_tensor *weights = g.input(std::vector<float>(size_t(pass.n_targets), float(weight)), pass.n_targets);
    return g.cross_entropy(pass.logits, pass.flat_targets, weights, logprobs);
}

// ---- attention

Llama::RopeTable Llama::rope_table(int64_t first, const std::vector<int64_t> &places) const {
    const int64_t hd = head_dim_, count = int64_t(places.size());
    const ri_gguf_info &info = gguf_->info();
    RopeTable table{std::vector<float>(size_t(count * hd)), std::vector<float>(size_t(count * hd))};
    for (int64_t i = 0; i < hd / 2; ++i) {
        // theta_i = base^(-2i/d) (Su et al. 2021, arXiv 2104.09864), divided by Llama 3's factor where there is one.
        double theta = std::pow(double(info.rope_base), -2.0 * double(i) / double(hd)) * gguf_->rope_frequency_scale();
        if (!rope_factors_.empty()) theta /= rope_factors_[size_t(i)];
        for (int64_t p = 0; p < count; ++p) {
            const double angle = double(first + places[size_t(p)]) * theta;
            const size_t at = size_t(p * hd + 2 * i);
            table.cos[at] = table.cos[at + 1] = float(std::cos(angle));
            table.sin[at + 1] = float(std::sin(angle));
            table.sin[at] = -table.sin[at + 1];
        }
    }
    return table;
}

Llama::AttentionPlan Llama::plan_attention(Graph &g, int64_t prefix, const SampleRows &rows) const {
    AttentionPlan plan;
    plan.prefix = prefix;
    plan.rows = g.keep(std::make_shared<SampleRows>(rows));
    plan.scale = 1.0f / std::sqrt(float(head_dim_));
    if (g.kernels()) {
        plan.rope = g.keep(std::make_shared<RopeTable>(rope_table(prefix, rows.places())));
        return plan;
    }
    const int64_t positions = rows.longest();
    std::vector<int32_t> at(size_t(rows.count()));
    const std::vector<int64_t> places = rows.places();
    for (size_t i = 0; i < at.size(); ++i) at[i] = int32_t(prefix + places[i % places.size()]);
    plan.rope_positions = g.input(std::move(at), rows.count());
    // The heads of a key-value group are folded into the rows of the queries: row s*group + i is head i at position s.
    const int64_t group = n_heads_ / n_heads_kv_, keys = prefix + positions;
    std::vector<float> mask(size_t(keys * group * positions), -INFINITY);
    for (int64_t row = 0; row < group * positions; ++row) {
        float *seen = mask.data() + row * keys;
        std::fill(seen, seen + prefix, 0.0f);
        for (int64_t s = row / group; s >= 0; s = rows.before(s)) seen[prefix + s] = 0.0f;
    }
    plan.mask = g.input(std::move(mask), keys, group * positions);
    return plan;
}

Var Llama::attention(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    return g.kernels() ? attention_by_kernels(g, plan, prefix, layer, qkv)
                       : attention_composed(g, plan, prefix, layer, qkv);
}

Var Llama::attention_by_kernels(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer,
                                Var qkv) const {
    const KernelSet *kernels = g.kernels();
    const kernels::Attention shape = {n_heads_,
                                      n_heads_kv_,
                                      head_dim_,
                                      plan.rows->samples(),
                                      plan.rows->longest(),
                                      plan.rows->first.data(),
                                      plan.scale,
                                      plan.rope->cos.data(),
                                      plan.rope->sin.data(),
                                      plan.rows->parents.empty() ? nullptr : plan.rows->parents.data()};
    const kernels::PrefixCache cache = prefix.cache(layer);
    const int64_t rows = plan.rows->count();
    ggml_tensor *y = g.kernel(n_heads_ * head_dim_, rows, {qkv.value}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->attention(shape, cache, in(dst, 0), out(dst), ith, nth);
    });
    return g.record(y, {qkv}, [=, &g](ggml_tensor *dy) {
        g.accumulate(qkv, g.kernel(qkv.value->ne[0], rows, {qkv.value, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            kernels->attention_back(shape, cache, in(dst, 0), in(dst, 1), out(dst), ith, nth);
        }));
    });
}

Var Llama::attention_composed(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    ggml_context *ctx = g.ctx();
    const int64_t hd = head_dim_, H = n_heads_, Hkv = n_heads_kv_, group = H / Hkv;
    const int64_t S = plan.rows->longest(), B = plan.rows->samples(), N = S * B, P = plan.prefix;
    const Prefix::Layer *cached = P > 0 ? &prefix.layers[layer] : nullptr;
    const float frequency_scale = gguf_->rope_frequency_scale(), base = gguf_->info().rope_base;
    const int n_rot = int(hd);

    auto rope = [=](ggml_tensor *x) {
        return ggml_rope_ext(ctx, x, plan.rope_positions, rope_factor_tensor_, n_rot, GGML_ROPE_TYPE_NORMAL, 0, base,
                             frequency_scale, 0.0f, 1.0f, 0.0f, 0.0f);
    };
    auto rope_back = [=](ggml_tensor *dx) {
        return ggml_rope_ext_back(ctx, dx, plan.rope_positions, rope_factor_tensor_, n_rot, GGML_ROPE_TYPE_NORMAL, 0,
                                  base, frequency_scale, 0.0f, 1.0f, 0.0f, 0.0f);
    };
    // Of rows [hd, heads, N] those heads that follow the first ones -> [hd, rows of a group, B * Hkv], heads of one
    // group side by side with the positions; by_position puts them back as [hd, per_group * Hkv, N].
    auto by_group = [=](ggml_tensor *x, int64_t heads, int64_t first, int64_t per_group) {
        const size_t head = size_t(hd) * sizeof(float), row = size_t(heads) * head;
        x = ggml_view_4d(ctx, x, hd * per_group, Hkv, S, B, size_t(per_group) * head, row, size_t(S) * row,
                         size_t(first) * head);
        return ggml_reshape_3d(ctx, ggml_cont(ctx, ggml_permute(ctx, x, 0, 3, 1, 2)), hd, per_group * S, B * Hkv);
    };
    auto by_position = [=](ggml_tensor *x, int64_t per_group) {
        x = ggml_permute(ctx, ggml_reshape_4d(ctx, x, hd * per_group, S, B, Hkv), 0, 2, 3, 1);
        return ggml_reshape_3d(ctx, ggml_cont(ctx, x), hd, per_group * Hkv, N);
    };
    auto transposed = [=](ggml_tensor *x) { return ggml_cont(ctx, ggml_transpose(ctx, x)); };
    // The part of scores [P + S, ...] that belongs to the prefix, or to the sample's own positions.
    auto part = [=](ggml_tensor *x, bool own) {
        if (P == 0) return x;
        return ggml_cont(ctx, ggml_view_3d(ctx, x, own ? S : P, x->ne[1], x->ne[2], x->nb[1], x->nb[2],
                                           own ? size_t(P) * sizeof(float) : 0));
    };
    // A matrix of the prefix for each of Hkv, times the rows of all samples at once.
    auto by_prefix = [=](ggml_tensor *matrix, ggml_tensor *x) {
        ggml_tensor *product = ggml_mul_mat(ctx, matrix, ggml_reshape_3d(ctx, x, x->ne[0], x->ne[1] * B, Hkv));
        return ggml_reshape_3d(ctx, product, product->ne[0], x->ne[1], x->ne[2]);
    };
    auto joined = [=](ggml_tensor *of_prefix, ggml_tensor *own) {
        return P == 0 ? own : ggml_concat(ctx, of_prefix, own, 0);
    };

    ggml_tensor *turned = rope(ggml_view_3d(ctx, qkv.value, hd, H + Hkv, N, size_t(hd) * sizeof(float),
                                            qkv.value->nb[1], 0)); // queries and keys
    ggml_tensor *q = by_group(turned, H + Hkv, 0, group);          // [hd, group*S, B*Hkv]
    ggml_tensor *k = by_group(turned, H + Hkv, H, 1);              // [hd, S, B*Hkv]
    ggml_tensor *v = by_group(qkv.value, H + 2 * Hkv, H + Hkv, 1); // [hd, S, B*Hkv]
    ggml_tensor *scores =
        joined(P ? by_prefix(cached->k, q) : nullptr, ggml_mul_mat(ctx, k, q)); // [P+S, group*S, B*Hkv]
    ggml_tensor *p = ggml_soft_max_ext(ctx, scores, plan.mask, plan.scale, 0.0f);
    ggml_tensor *mixed = ggml_mul_mat(ctx, transposed(v), part(p, true)); // [hd, group*S, B*Hkv]
    if (P) mixed = ggml_add(ctx, mixed, by_prefix(cached->v_t, part(p, false)));
    ggml_tensor *y = ggml_reshape_2d(ctx, by_position(mixed, group), hd * H, N);

    return g.record(y, {qkv}, [=, &g](ggml_tensor *dy) {
        ggml_tensor *d = by_group(dy, H, 0, group); // [hd, group*S, B*Hkv]
        ggml_tensor *dp = joined(P ? by_prefix(cached->v, d) : nullptr, ggml_mul_mat(ctx, v, d));
        ggml_tensor *ds = g.softmax_back(dp, p, plan.scale), *own = part(ds, true);
        ggml_tensor *dq = ggml_mul_mat(ctx, transposed(k), own);
        if (P) dq = ggml_add(ctx, dq, by_prefix(cached->k_t, part(ds, false)));
        ggml_tensor *dk = ggml_mul_mat(ctx, transposed(q), transposed(own));           // [hd, S, B*Hkv]
        ggml_tensor *dv = ggml_mul_mat(ctx, transposed(d), transposed(part(p, true))); // [hd, S, B*Hkv]
        ggml_tensor *turned_back = rope_back(ggml_concat(ctx, by_position(dq, group), by_position(dk, 1), 1));
        ggml_tensor *all = ggml_concat(ctx, turned_back, by_position(dv, 1), 1); // [hd, H + 2 Hkv, N]
        g.accumulate(qkv, ggml_reshape_2d(ctx, all, hd * (H + 2 * Hkv), N));
    });
}

} // namespace ri
