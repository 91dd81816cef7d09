// The operations of an LLM's layer: by a kernel set on the CPU, composed of ggml operations
// elsewhere.
#include "llm.h"

#include <algorithm>
#include <cmath>

namespace ri {

Var Llm::gated(Graph &g, Var gate_up) const {
    const int64_t n = gate_up.value->ne[0] / 2;
    if (shape_.architecture->activation == Activation::gelu_tanh)
        return mul(g, gelu(g, slice(g, gate_up, 0, n)), slice(g, gate_up, n, n));
    return swiglu(g, gate_up);
}

Var Llm::add_block(Graph &g, Var x, Var given, ggml_tensor *post_norm) const {
    if (post_norm) given = norm(g, given, post_norm);
    if (shape_.residual_scale != 1) given = scale(g, given, shape_.residual_scale);
    return add(g, x, given);
}

Var Llm::queries_keys_values(Graph &g, const Layer &layer, Var x) const {
    Var qkv = frozen_linear(g, layer.qkv, norm(g, x, layer.attention_norm));
    if (layer.qkv_bias) qkv = add(g, qkv, g.constant(layer.qkv_bias));
    if (!layer.q_norm) return qkv;
    return head_norms(g, qkv, {layer.q_norm, shape_.n_heads}, {layer.k_norm, shape_.n_heads_kv}, shape_.rms_eps);
}

// ---- attention

Llm::RopeTable Llm::rope_table(const LayerAttention &kind, int64_t first, const std::vector<int64_t> &places) const {
    const int64_t hd = shape_.head_dim, count = int64_t(places.size());
    RopeTable table{std::vector<float>(size_t(count * hd), 1.0f), std::vector<float>(size_t(count * hd))};
    for (int64_t i = 0; kind.rotates && i < hd / 2; ++i) {
        // theta_i = base^(-2i/d) (Su et al. 2021, arXiv 2104.09864), divided by the file's factor
        // where there is one.
        const double scale = kind.rope_frequency_scale;
        double theta = std::pow(double(kind.rope_base), -2.0 * double(i) / double(hd));
        const double unscaled = shape_.yarn.n_context ? shape_.yarn.unscaled(i, hd, kind.rope_base) : 0;
        theta *= unscaled + (1 - unscaled) * scale;
        if (!rope_factors_.empty()) theta /= rope_factors_[size_t(i)];
        for (int64_t p = 0; p < count; ++p) {
            const double angle = double(first + places[size_t(p)]) * theta;
            const size_t at = size_t(p * hd + 2 * i);
            table.cos[at] = table.cos[at + 1] = shape_.rope_attention_factor * float(std::cos(angle));
            table.sin[at + 1] = shape_.rope_attention_factor * float(std::sin(angle));
            table.sin[at] = -table.sin[at + 1];
        }
    }
    return table;
}

Llm::AttentionPlan Llm::plan_attention(Graph &g, const LayerAttention &kind, int64_t prefix,
                                       const SampleRows &rows) const {
    AttentionPlan plan;
    plan.kind = kind;
    plan.prefix = prefix;
    plan.rows = g.keep(std::make_shared<SampleRows>(rows));
    const std::vector<int64_t> places = rows.places();
    if (g.kernels()) {
        plan.rope = g.keep(std::make_shared<RopeTable>(rope_table(kind, prefix, places)));
        return plan;
    }
    const int64_t positions = rows.longest();
    std::vector<int32_t> at(size_t(rows.count()));
    for (size_t i = 0; i < at.size(); ++i) at[i] = int32_t(prefix + places[i % places.size()]);
    if (kind.rotates) plan.rope_positions = g.input(std::move(at), rows.count());
    // The heads of a key-value group are folded into the rows of the queries: row s*group + i is
    // head i at position s.
    const int64_t group = shape_.n_heads / shape_.n_heads_kv, keys = prefix + positions;
    std::vector<float> mask(size_t(keys * group * positions), -INFINITY);
    for (int64_t row = 0; row < group * positions; ++row) {
        float *seen = mask.data() + row * keys;
        const int64_t position = prefix + places[size_t(row / group)];
        const int64_t first = kind.window ? std::max(int64_t(0), position + 1 - kind.window) : 0; // that is seen
        std::fill(seen + std::min(first, prefix), seen + prefix, 0.0f);
        for (int64_t s = row / group; s >= 0 && prefix + places[size_t(s)] >= first; s = rows.before(s))
            seen[prefix + s] = 0.0f;
    }
    plan.mask = g.input(std::move(mask), keys, group * positions);
    return plan;
}

Var Llm::attention(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    return g.kernels() ? attention_by_kernels(g, plan, prefix, layer, qkv)
                       : attention_composed(g, plan, prefix, layer, qkv);
}

Var Llm::attention_by_kernels(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    const KernelSet *kernels = g.kernels();
    kernels::Attention shape{};
    shape.heads = shape_.n_heads;
    shape.heads_kv = shape_.n_heads_kv;
    shape.head_dim = shape_.head_dim;
    shape.samples = plan.rows->samples();
    shape.longest = plan.rows->longest();
    shape.first = plan.rows->first.data();
    shape.scale = shape_.attention_scale;
    shape.window = plan.kind.window;
    shape.cos = plan.rope->cos.data();
    shape.sin = plan.rope->sin.data();
    shape.parents = plan.rows->parents.empty() ? nullptr : plan.rows->parents.data();
    const kernels::PrefixCache cache = prefix.cache(layer);
    const int64_t rows = plan.rows->count();
    ggml_tensor *y = g.kernel(shape_.width_q(), rows, {qkv.value}, [=](ggml_tensor *dst, int ith, int nth) {
        kernels->attention(shape, cache, in(dst, 0), out(dst), ith, nth);
    });
    return g.record(y, {qkv}, [=, &g](ggml_tensor *dy) {
        g.accumulate(qkv, g.kernel(qkv.value->ne[0], rows, {qkv.value, dy}, [=](ggml_tensor *dst, int ith, int nth) {
            kernels->attention_back(shape, cache, in(dst, 0), in(dst, 1), out(dst), ith, nth);
        }));
    });
}

Var Llm::attention_composed(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    ggml_context *ctx = g.ctx();
    const int64_t hd = shape_.head_dim, H = shape_.n_heads, Hkv = shape_.n_heads_kv, group = H / Hkv;
    const int64_t S = plan.rows->longest(), B = plan.rows->samples(), N = S * B, P = plan.prefix;
    const Prefix::Layer *cached = P > 0 ? &prefix.layers[layer] : nullptr;
    const int n_rot = int(hd);
    const float base = plan.kind.rope_base, frequency_scale = plan.kind.rope_frequency_scale;
    const Yarn yarn = shape_.yarn;
    const float yarn_part = yarn.n_context ? 1 : 0;
    const float rope_factor =
        shape_.rope_attention_factor / (yarn.n_context ? Yarn::attention_factor(frequency_scale) : 1);
    const float attention_scale = shape_.attention_scale;

    auto rope = [=](ggml_tensor *x) {
        if (!plan.rope_positions) return ggml_cont(ctx, x);
        return ggml_rope_ext(ctx, x, plan.rope_positions, rope_factor_tensor_, n_rot, GGML_ROPE_TYPE_NORMAL,
                             int(yarn.n_context), base, frequency_scale, yarn_part, rope_factor, yarn.beta_fast,
                             yarn.beta_slow);
    };
    auto rope_back = [=](ggml_tensor *dx) {
        if (!plan.rope_positions) return dx;
        return ggml_rope_ext_back(ctx, dx, plan.rope_positions, rope_factor_tensor_, n_rot, GGML_ROPE_TYPE_NORMAL,
                                  int(yarn.n_context), base, frequency_scale, yarn_part, rope_factor, yarn.beta_fast,
                                  yarn.beta_slow);
    };
    // Of rows [hd, heads, N] those heads that follow the first ones -> [hd, rows of a group, B *
    // Hkv], heads of one group side by side with the positions; by_position puts them back as [hd,
    // per_group * Hkv, N].
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
    ggml_tensor *p = ggml_soft_max_ext(ctx, scores, plan.mask, attention_scale, 0.0f);
    ggml_tensor *mixed = ggml_mul_mat(ctx, transposed(v), part(p, true)); // [hd, group*S, B*Hkv]
    if (P) mixed = ggml_add(ctx, mixed, by_prefix(cached->v_t, part(p, false)));
    ggml_tensor *y = ggml_reshape_2d(ctx, by_position(mixed, group), hd * H, N);

    return g.record(y, {qkv}, [=, &g](ggml_tensor *dy) {
        ggml_tensor *d = by_group(dy, H, 0, group); // [hd, group*S, B*Hkv]
        ggml_tensor *dp = joined(P ? by_prefix(cached->v, d) : nullptr, ggml_mul_mat(ctx, v, d));
        ggml_tensor *ds = composed::softmax_back(g, dp, p, attention_scale), *own = part(ds, true);
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
