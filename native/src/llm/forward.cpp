// The forward pass, whose tape gives the backward pass.
//
// What keeps a training step small: the constant prefix is computed once (Prefix), the head and what comes after the
// last layer's attention run at the answer's positions only, and no gradient of a weight is ever formed.
#include "llm.h"

#include <cmath>

namespace ri {

Var Llm::hidden_states(Graph &g, const Prefix &prefix, Var x, const SampleRows &rows, const std::vector<int32_t> *asked,
                       std::vector<ggml_tensor *> *qkv_of_layer) const {
    std::vector<AttentionPlan> plans; // of each kind of attention
    auto plan_of = [&](const LayerAttention &kind) -> const AttentionPlan & {
        for (const AttentionPlan &plan : plans)
            if (plan.kind == kind) return plan;
        return plans.emplace_back(plan_attention(g, kind, prefix.n, rows));
    };
    if (shape_.input_scale != 1) x = scale(g, x, shape_.input_scale);
    for (size_t l = 0; l < layers_.size(); ++l) {
        const Layer &layer = layers_[l];
        Var qkv = queries_keys_values(g, layer, x); // [(heads + 2 heads_kv) * hd, rows]
        if (qkv_of_layer) qkv_of_layer->push_back(qkv.value);
        Var mixed = attention(g, plan_of(shape_.layers[l]), prefix, l, qkv); // [heads * hd, rows]
        if (asked && l + 1 == layers_.size()) {                              // from here on each position stands alone
            mixed = pick_rows(g, mixed, *asked);
            x = pick_rows(g, x, *asked);
        }
        x = add_block(g, x, linear(g, layer.attention_out, mixed), layer.attention_post_norm); // [E, ...]
        Var gate_up = linear(g, layer.gate_up, rms_norm(g, x, layer.ffn_norm));                // [2 n_ff, ...]
        x = add_block(g, x, linear(g, layer.down, gated(g, gate_up)), layer.ffn_post_norm);
    }
    x = rms_norm(g, x, output_norm_);
    return shape_.logit_scale == 1 ? x : scale(g, x, shape_.logit_scale);
}

// The positions of each sample up to its last target or soft token: the rest is padding. Composed attention
// takes samples of one length.
SampleRows Llm::rows_of(const ri_align_batch &batch, std::vector<int32_t> parents) const {
    const size_t positions = batch.n_positions;
    std::vector<int64_t> lengths(batch.n_samples, int64_t(positions));
    if (engine_->kernels())
        for (size_t b = 0; b < batch.n_samples; ++b) {
            const int32_t *tokens = batch.tokens + b * positions, *targets = batch.targets + b * positions;
            while (targets[lengths[b] - 1] < 0 && tokens[lengths[b] - 1] >= 0) --lengths[b];
        }
    return SampleRows(lengths, std::move(parents));
}

Llm::Pass Llm::forward(Graph &g, const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch,
                       std::vector<int32_t> parents) const {
    const SampleRows rows = rows_of(batch, std::move(parents));
    const int64_t n_rows = rows.count(), K = adapter.params().n_tokens;
    int64_t states = 0;
    for (size_t b = 0; b < batch.n_samples; ++b) states += batch.n_states[b];
    // Rows of the embedding table where there are tokens, soft tokens elsewhere.
    std::vector<float> base(size_t(n_rows * shape_.n_embd));
    std::vector<int32_t> index(static_cast<size_t>(n_rows)), places(static_cast<size_t>(states * K)), asked, targets;
    for (int64_t b = 0, first_soft = 0; b < rows.samples(); first_soft += batch.n_states[b++] * K)
        for (int64_t row = rows.first[size_t(b)]; row < rows.first[size_t(b) + 1]; ++row) {
            const int64_t at = b * int64_t(batch.n_positions) + row - rows.first[size_t(b)];
            const int32_t token = batch.tokens[at];
            if (token >= 0) {
                gguf_->embed(&token, 1, base.data() + row * shape_.n_embd);
                index[size_t(row)] = int32_t(row);
            } else {
                const int64_t soft = first_soft + (-1 - token);
                index[size_t(row)] = int32_t(n_rows + soft);
                places[size_t(soft)] = int32_t(row);
            }
            if (batch.targets[at] >= 0) {
                targets.push_back(int32_t(int64_t(asked.size()) * shape_.n_vocab + batch.targets[at]));
                asked.push_back(int32_t(row));
            }
        }
    require_finite(base.data(), base.size(), "embeddings of the batch"); // an untied table was not checked on loading
    const int64_t n_targets = int64_t(asked.size());
    Var given = g.constant(g.input(GGML_TYPE_F32, batch.states, adapter.params().n_in, states));
    Var soft = reshape(g, adapter.soft_tokens(g, given), shape_.n_embd, states * K);
    Var x = splice(g, g.input(std::move(base), shape_.n_embd, n_rows), soft, g.input(std::move(index), n_rows),
                   g.input(std::move(places), states * K));
    Var hidden = hidden_states(g, prefix, x, rows, &asked, nullptr);
    return {linear(g, head_, hidden), g.input(std::move(targets), n_targets), n_targets};
}

void Llm::check(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &b, size_t depth) const {
    if (b.n_samples == 0 || b.n_positions == 0)
        fail(RI_INVALID, "a batch needs samples and positions; got %zu, %zu", b.n_samples, b.n_positions);
    require(b.n_states, "batch.n_states");
    require(b.tokens, "batch.tokens");
    require(b.targets, "batch.targets");
    require(b.states, "batch.states");
    const ri_adapter_params &a = adapter.params();
    if (a.n_embd != shape_.n_embd)
        fail(RI_INVALID, "the adapter makes soft tokens of width %d, this LLM reads %lld; train one for it", a.n_embd,
             static_cast<long long>(shape_.n_embd));
    if (depth > size_t(shape_.n_context) || prefix.n + int64_t(depth) > shape_.n_context)
        fail(RI_INVALID, "a prefix of %lld and %zu positions do not fit a context of %lld",
             static_cast<long long>(prefix.n), depth, static_cast<long long>(shape_.n_context));
    const size_t positions = b.n_positions;
    if (b.n_samples > INT32_MAX / (2 * positions))
        fail(RI_INVALID, "the batch is too large: %zu samples of %zu positions", b.n_samples, positions);
    size_t n_states = 0;
    for (size_t s = 0; s < b.n_samples; n_states += size_t(b.n_states[s++])) {
        if (b.n_states[s] < 1) fail(RI_INVALID, "sample %zu has %d states; it needs at least 1", s, b.n_states[s]);
        if (size_t(b.n_states[s]) * size_t(a.n_tokens) > positions)
            fail(RI_INVALID, "sample %zu: %d states of %d soft tokens do not fit %zu positions", s, b.n_states[s],
                 a.n_tokens, positions);
    }
    require_finite(b.states, n_states * size_t(a.n_in), "states");
    if (!std::isfinite(b.weight)) fail(RI_INVALID, "the weight of a target must be finite");
    size_t n_targets = 0;
    std::vector<char> used;
    for (size_t s = 0; s < b.n_samples; ++s) {
        const size_t soft = size_t(b.n_states[s]) * size_t(a.n_tokens);
        used.assign(soft, 0);
        for (size_t p = 0; p < positions; ++p) {
            const int32_t token = b.tokens[s * positions + p], target = b.targets[s * positions + p];
            if (token >= shape_.n_vocab)
                fail(RI_INVALID, "sample %zu, position %zu: token %d; the vocabulary has %lld", s, p, token,
                     static_cast<long long>(shape_.n_vocab));
            if (target < -1 || target >= shape_.n_vocab)
                fail(RI_INVALID, "sample %zu, position %zu: target %d; the vocabulary has %lld", s, p, target,
                     static_cast<long long>(shape_.n_vocab));
            n_targets += target >= 0;
            if (token >= 0) continue;
            const size_t slot = size_t(-1 - int64_t(token));
            if (slot >= soft || used[slot]++)
                fail(RI_INVALID, "sample %zu, position %zu: soft token %zu; each of 0 to %zu must stand there once", s,
                     p, slot, soft - 1);
        }
        for (size_t slot = 0; slot < soft; ++slot)
            if (!used[slot]) fail(RI_INVALID, "sample %zu: soft token %zu is missing", s, slot);
    }
    if (n_targets == 0) fail(RI_INVALID, "the batch has no target");
    if (n_targets > size_t(INT32_MAX / shape_.n_vocab))
        fail(RI_INVALID, "%zu targets in one batch; use a smaller one", n_targets);
}

} // namespace ri
