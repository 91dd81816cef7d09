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

ggml_tensor *Llm::rotated(Graph &g, const AttentionPlan &plan, ggml_tensor *x, decltype(ggml_rope_ext) *rope) const {
    if (!plan.rope_positions) return ggml_is_contiguous(x) ? x : ggml_cont(g.ctx(), x);
    const Yarn yarn = shape_.yarn;
    const float scale = plan.kind.rope_frequency_scale, yarn_part = yarn.n_context ? 1 : 0;
    const float factor = shape_.rope_attention_factor / (yarn.n_context ? Yarn::attention_factor(scale) : 1);
    return rope(g.ctx(), x, plan.rope_positions, rope_factor_tensor_, int(shape_.head_dim), GGML_ROPE_TYPE_NORMAL,
                int(yarn.n_context), plan.kind.rope_base, scale, yarn_part, factor, yarn.beta_fast, yarn.beta_slow);
}

Var Llm::attention_composed(Graph &g, const AttentionPlan &plan, const Prefix &prefix, size_t layer, Var qkv) const {
    ggml_context *ctx = g.ctx();
    const int64_t hd = shape_.head_dim, H = shape_.n_heads, Hkv = shape_.n_heads_kv, group = H / Hkv;
    const int64_t S = plan.rows->longest(), B = plan.rows->samples(), N = S * B, P = plan.prefix;
    const float attention_scale = shape_.attention_scale;

    // Of rows [hd, heads, N] those heads that follow the first ones -> [hd * per_group, S, B, Hkv],
    // heads of one group side by side; by_position puts them back as [hd, per_group * Hkv, N].
    auto heads_of = [=](ggml_tensor *x, int64_t heads, int64_t first, int64_t per_group) {
        const size_t head = size_t(hd) * sizeof(float), row = size_t(heads) * head;
        x = ggml_view_4d(ctx, x, hd * per_group, Hkv, S, B, size_t(per_group) * head, row, size_t(S) * row,
                         size_t(first) * head);
        return ggml_permute(ctx, x, 0, 3, 1, 2);
    };
    // The same with the positions of a group's heads below each other: [hd, group * S, B * Hkv].
    auto by_group = [=](ggml_tensor *x, int64_t heads) {
        return ggml_reshape_3d(ctx, ggml_cont(ctx, heads_of(x, heads, 0, group)), hd, group * S, B * Hkv);
    };
    auto by_position = [=](ggml_tensor *x, int64_t per_group) {
        x = ggml_permute(ctx, ggml_reshape_4d(ctx, x, hd * per_group, S, B, Hkv), 0, 2, 3, 1);
        return ggml_reshape_3d(ctx, ggml_cont(ctx, x), hd, per_group * Hkv, N);
    };
    auto transposed = [=](ggml_tensor *x) { return ggml_cont(ctx, ggml_transpose(ctx, x)); };
    // Keys or values of every sample: the prefix's and its own. The prefix has those of one sample,
    // which all others find in the same place; ggml has no function that makes such a view.
    auto joined = [=](ggml_tensor *of_prefix, ggml_tensor *own, int64_t axis) {
        if (P == 0) return ggml_cont(ctx, own);
        ggml_tensor *start = ggml_view_4d(ctx, of_prefix, of_prefix->ne[0], of_prefix->ne[1], 1, Hkv, of_prefix->nb[1],
                                          of_prefix->nb[2], of_prefix->nb[2], 0);
        start->ne[2] = B;
        start->nb[2] = 0;
        return ggml_concat(ctx, start, own, int(axis));
    };
    auto rows = [=](ggml_tensor *of_prefix, ggml_tensor *x, int64_t heads, int64_t first) { // [hd, P + S, B * Hkv]
        return ggml_reshape_3d(ctx, joined(of_prefix, heads_of(x, heads, first, 1), 1), hd, P + S, B * Hkv);
    };
    auto columns = [=](ggml_tensor *of_prefix, ggml_tensor *x, int64_t heads, int64_t first) { // [P + S, hd, B * Hkv]
        ggml_tensor *own = ggml_permute(ctx, heads_of(x, heads, first, 1), 1, 0, 2, 3);
        return ggml_reshape_3d(ctx, joined(of_prefix, own, 0), P + S, hd, B * Hkv);
    };
    // Of scores [P + S, ...] those of the sample's own positions, as columns: [group * S, S, ...].
    auto own_columns = [=](ggml_tensor *x) {
        return transposed(ggml_view_3d(ctx, x, S, x->ne[1], x->ne[2], x->nb[1], x->nb[2], size_t(P) * sizeof(float)));
    };
    // Queries and keys [hd, H + Hkv, N], which are rotated again for the gradient: kept is what
    // they come from.
    auto turned = [=, &g] {
        return rotated(g, plan,
                       ggml_view_3d(ctx, qkv.value, hd, H + Hkv, N, size_t(hd) * sizeof(float), qkv.value->nb[1], 0));
    };
    const Prefix::Layer cached = P > 0 ? prefix.layers[layer] : Prefix::Layer{};

    ggml_tensor *qk = turned();
    auto weights = [=](ggml_tensor *turned, ggml_tensor *q) {
        ggml_tensor *scores = ggml_mul_mat(ctx, rows(cached.k, turned, H + Hkv, H), q);
        return ggml_soft_max_ext(ctx, scores, plan.mask, attention_scale, 0.0f); // [P+S, group*S, B*Hkv]
    };
    ggml_tensor *p = weights(qk, by_group(qk, H + Hkv));
    ggml_tensor *mixed = ggml_mul_mat(ctx, columns(cached.v_t, qkv.value, H + 2 * Hkv, H + Hkv), p);
    ggml_tensor *y = ggml_reshape_2d(ctx, by_position(mixed, group), hd * H, N);

    return g.record(y, {qkv}, [=, &g](ggml_tensor *dy) {
        ggml_tensor *d = by_group(dy, H), *again = turned(), *q = by_group(again, H + Hkv), *p = weights(again, q);
        ggml_tensor *dp = ggml_mul_mat(ctx, rows(cached.v, qkv.value, H + 2 * Hkv, H + Hkv), d);
        // ggml's CPU backend computes this wrongly where the result takes p's place, which it
        // cannot: dv reads p later.
        ggml_tensor *ds = ggml_soft_max_ext_back(ctx, dp, p, attention_scale, 0.0f);
        if (!g.supported(ds)) ds = composed::softmax_back(g, dp, p, attention_scale);
        ggml_tensor *dq = ggml_mul_mat(ctx, columns(cached.k_t, again, H + Hkv, H), ds);
        ggml_tensor *dk = ggml_mul_mat(ctx, transposed(q), own_columns(ds)); // [hd, S, B*Hkv]
        ggml_tensor *dv = ggml_mul_mat(ctx, transposed(d), own_columns(p));  // [hd, S, B*Hkv]
        ggml_tensor *turned_back =
            rotated(g, plan, ggml_concat(ctx, by_position(dq, group), by_position(dk, 1), 1), ggml_rope_ext_back);
        ggml_tensor *all = ggml_concat(ctx, turned_back, by_position(dv, 1), 1); // [hd, H + 2 Hkv, N]
        g.accumulate(qkv, ggml_reshape_2d(ctx, all, hd * (H + 2 * Hkv), N));
    });
}

} // namespace ri
