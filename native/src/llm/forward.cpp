// The forward pass, whose tape gives the backward pass.
//
// What keeps a training step small: the constant prefix is computed once (Prefix), the head and
// what comes after the last layer's attention run at the answer's positions only, and no gradient
// of a weight is ever formed.
#include "llm.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ri {

Var Llm::hidden_states(Graph &g, const Prefix &prefix, Var x, const Rows &rows, const EachLayer &each) const {
    std::vector<AttentionPlan> plans; // of each kind of attention
    auto plan_of = [&](const LayerAttention &kind) -> const AttentionPlan & {
        for (const AttentionPlan &plan : plans)
            if (plan.kind == kind) return plan;
        return plans.emplace_back(plan_attention(g, kind, prefix.n, rows.attended));
    };
    if (shape_.input_scale != 1) x = scale(g, x, shape_.input_scale);
    for (size_t l = 0; l < layers_.size(); ++l) {
        const Layer &layer = layers_[l];
        Var qkv = queries_keys_values(g, layer, x); // [(heads + 2 heads_kv) * hd, rows]
        const AttentionPlan &plan = plan_of(shape_.layers[l]);
        if (each) each(l, plan, qkv.value);
        if (rows.aside) qkv = pick_rows(g, qkv, rows.aside, rows.back);
        Var mixed = attention(g, plan, prefix, l, qkv); // [heads * hd, rows]
        if (rows.aside) mixed = pick_rows(g, mixed, rows.back, rows.aside);
        if (rows.asked && l + 1 == layers_.size()) { // from here on each position stands alone
            mixed = pick_rows(g, mixed, rows.asked, rows.went);
            x = pick_rows(g, x, rows.asked, rows.went);
        }
        x = add_block(g, x, frozen_linear(g, layer.attention_out, mixed), layer.attention_post_norm); // [E, ...]
        Var gate_up = frozen_linear(g, layer.gate_up, norm(g, x, layer.ffn_norm));                    // [2 n_ff, ...]
        x = add_block(g, x, frozen_linear(g, layer.down, gated(g, gate_up)), layer.ffn_post_norm);
    }
    x = norm(g, x, output_norm_);
    return shape_.logit_scale == 1 ? x : scale(g, x, shape_.logit_scale);
}

namespace {

// n or a little more, so that sizes that differ from batch to batch give few shapes: a power of two
// up to 8, then the next multiple of 8 or of the power of two below n, divided by `parts`.
int64_t rounded_up(int64_t n, int64_t parts = 8) {
    int64_t step = 1;
    while (step < 8 ? step < n : 2 * parts * step <= n) step *= 2;
    return (n + step - 1) / step * step;
}

// The positions of each sample up to its last target or soft token: the rest is padding.
std::vector<int64_t> lengths_of(const ri_align_batch &batch) {
    std::vector<int64_t> lengths(batch.n_samples, int64_t(batch.n_positions));
    for (size_t b = 0; b < batch.n_samples; ++b) {
        const int32_t *tokens = batch.tokens + b * batch.n_positions, *targets = batch.targets + b * batch.n_positions;
        while (targets[lengths[b] - 1] < 0 && tokens[lengths[b] - 1] >= 0) --lengths[b];
    }
    return lengths;
}

// How many rows a composed pass has of samples that use so many of them: at least one more, which
// nothing depends on, or what samples of one length have.
int64_t rows_with_room(int64_t used, int64_t most) { return std::min(rounded_up(used + 1), most); }

} // namespace

PassShape Llm::shape_of(const Adapter &adapter, const ri_align_batch &batch, Asked asked,
                        const Branching &branching) const {
    const auto B = int64_t(batch.n_samples), S = int64_t(batch.n_positions);
    PassShape shape{asked, adapter.number(), B, S, 0, 0, 0, 0, branching.parents, branching.rows_asked};
    const std::vector<int64_t> lengths = lengths_of(batch);
    const int64_t used = std::accumulate(lengths.begin(), lengths.end(), int64_t(0));
    const int64_t most_targets = INT32_MAX / shape_.n_vocab; // that 32 bits can number with their tokens
    for (int64_t b = 0; b < B; ++b) shape.states += batch.n_states[b];
    shape.targets = std::count_if(batch.targets, batch.targets + B * S, [](int32_t t) { return t >= 0; });
    shape.at_once = shape.targets;
    shape.rows = engine_->kernels() ? used : B * S;
    if (engine_->kernels() || asked == Asked::branches) {
        if (shape.targets > most_targets)
            fail(RI_INVALID, "%lld targets in one batch; use a smaller one", static_cast<long long>(shape.targets));
        return shape;
    }
    shape.samples = rounded_up(B, 4);
    shape.positions = rounded_up(S, 4);
    // States that only fill up need a row that nothing depends on.
    const int64_t states = rounded_up(shape.states, 4);
    if (states > shape.states && used == shape.samples * shape.positions) ++shape.samples;
    shape.states = states;
    shape.rows = rows_with_room(used, shape.samples * shape.positions);
    shape.targets = rounded_up(shape.targets + 1, 4); // one has no weight, and stands for rows without a target
    // The logits that are in memory at once are as many as the widest activations of a layer, which
    // the gradient has room for, but those of as many targets as the LLM is wide, so that a product
    // with the head takes longer than reading it does. Blocks are few, because ggml aborts where
    // the free memory is in more than 256 pieces.
    constexpr int64_t most_blocks = 16;
    const int64_t wide = shape.rows * 2 * shape_.n_ff / shape_.n_vocab;
    const int64_t few = (shape.targets + most_blocks - 1) / most_blocks;
    const int64_t most = std::min(std::max({wide, shape_.n_embd, few}), most_targets);
    const int64_t blocks = (shape.targets + most - 1) / most;
    shape.at_once = (shape.targets + blocks - 1) / blocks;
    return shape;
}

SampleRows Llm::rows_of(const ri_align_batch &batch, const PassShape &shape) const {
    return shape.packed() ? SampleRows(lengths_of(batch), shape.parents) : shape.side_by_side();
}

PassInputs Llm::inputs_of(const Adapter &adapter, const ri_align_batch &batch, const SampleRows &rows,
                          const PassShape &shape) const {
    const int64_t n_rows = shape.rows, K = adapter.params().n_tokens, width = adapter.params().n_in;
    // A place where attention finds no sample's position, and a row of none, if there is one.
    const std::vector<int64_t> lengths = lengths_of(batch);
    int64_t spare_place = 0;
    for (int64_t b = 0; b < shape.samples; ++b) {
        const int64_t length = b < int64_t(batch.n_samples) ? lengths[size_t(b)] : 0;
        if (length < shape.positions) spare_place = b * shape.positions + length;
    }
    const int64_t spare = shape.packed() ? rows.count() : spare_place;
    PassInputs in;
    in.tokens.resize(size_t(n_rows));
    in.places.assign(size_t(shape.states * K), int32_t(spare));
    in.went.assign(size_t(n_rows), -1);
    if (shape.packed()) {
        in.aside.assign(size_t(shape.samples * shape.positions), int32_t(spare));
        in.back.assign(size_t(n_rows), int32_t(spare_place));
    }
    auto add_target = [&](int32_t token) {
        in.targets.push_back(int32_t(int64_t(in.asked.size()) % shape.at_once * shape_.n_vocab + token));
    };
    int64_t first_soft = 0, states = 0;
    for (int64_t b = 0; b < int64_t(batch.n_samples); first_soft += batch.n_states[b++] * K) {
        states += batch.n_states[b];
        const int64_t first = rows.first[size_t(b)];
        for (int64_t row = first; row < std::min(rows.first[size_t(b) + 1], first + int64_t(batch.n_positions));
             ++row) {
            const int64_t at = b * int64_t(batch.n_positions) + row - first;
            const int64_t place = b * shape.positions + row - first;
            if (shape.packed()) {
                in.aside[size_t(place)] = int32_t(row);
                in.back[size_t(row)] = int32_t(place);
            }
            const int32_t token = batch.tokens[at];
            if (token >= 0)
                in.tokens[size_t(row)] = token;
            else
                in.places[size_t(first_soft + (-1 - token))] = int32_t(row);
            if (batch.targets[at] < 0) continue;
            in.went[size_t(row)] = int32_t(in.asked.size());
            add_target(batch.targets[at]);
            in.asked.push_back(int32_t(row));
        }
    }
    in.n_targets = in.asked.size();
    in.weights.assign(in.n_targets, float(batch.weight));
    // What fills up has no weight, and so no gradient.
    std::replace(in.went.begin(), in.went.end(), -1, int32_t(in.n_targets));
    while (int64_t(in.asked.size()) < shape.targets) {
        add_target(0);
        in.asked.push_back(int32_t(spare));
    }
    in.weights.resize(size_t(shape.targets));
    in.states.assign(batch.states, batch.states + states * width);
    in.states.resize(size_t(shape.states * width));
    return in;
}

ggml_tensor *Llm::embeddings(Graph &g, const std::vector<int32_t> &tokens, int64_t rows) const {
    if (embeddings_) {
        auto fill = [this, &tokens](void *dst) {
            for (size_t i = 0; i < tokens.size(); ++i) {
                require_token(tokens[i], embeddings_->ne[1], "token", i);
                if (!damaged_tokens_.count(tokens[i])) continue;
                std::vector<float> row(size_t(shape_.n_embd));
                gguf_->embed(&tokens[i], 1, row.data());
                require_finite(row.data(), row.size(), "embeddings of the batch");
            }
            std::copy(tokens.begin(), tokens.end(), static_cast<int32_t *>(dst));
        };
        ggml_tensor *found = ggml_get_rows(g.ctx(), embeddings_, g.input(GGML_TYPE_I32, fill, rows));
        const float factor = gguf_->token_scale();
        return factor == 1 ? found : ggml_scale(g.ctx(), found, factor);
    }
    auto fill = [this, &tokens](void *dst) {
        gguf_->embed(tokens.data(), tokens.size(), static_cast<float *>(dst));
        // An untied table was not checked on loading.
        require_finite(static_cast<float *>(dst), tokens.size() * size_t(shape_.n_embd), "embeddings of the batch");
    };
    return g.input(GGML_TYPE_F32, fill, shape_.n_embd, rows);
}

Var Llm::pass(Graph &g, const Prefix &prefix, const Adapter &adapter, const SampleRows &rows, const PassShape &shape,
              const PassInputs &inputs) const {
    auto input = [&](ggml_type type, const auto &from, int64_t ne0, int64_t ne1 = 1) {
        auto fill = [&from](void *dst) {
            std::copy(from.begin(), from.end(),
                      static_cast<std::remove_const_t<std::remove_reference_t<decltype(from[0])>> *>(dst));
        };
        return g.input(type, fill, ne0, ne1);
    };
    const int64_t n_rows = shape.rows, n_soft = shape.states * adapter.params().n_tokens;
    Var states = g.constant(input(GGML_TYPE_F32, inputs.states, adapter.params().n_in, shape.states));
    Var soft = reshape(g, adapter.soft_tokens(g, states), shape_.n_embd, n_soft);
    Var x = splice(g, embeddings(g, inputs.tokens, n_rows), soft, input(GGML_TYPE_I32, inputs.places, n_soft));
    Rows taken{rows, input(GGML_TYPE_I32, inputs.asked, shape.targets)};
    if (!g.kernels()) taken.went = input(GGML_TYPE_I32, inputs.went, n_rows);
    if (!g.kernels() && shape.packed()) {
        taken.attended = shape.side_by_side();
        taken.aside = input(GGML_TYPE_I32, inputs.aside, taken.attended.count());
        taken.back = input(GGML_TYPE_I32, inputs.back, n_rows);
    }
    x = hidden_states(g, prefix, x, taken, {});
    Var logits;
    if (shape.asked == Asked::logits || shape.asked == Asked::branches) logits = frozen_linear(g, head_, x);
    if (shape.asked == Asked::logits) return logits;
    ggml_tensor *targets = input(GGML_TYPE_I32, inputs.targets, shape.targets), *logprobs = nullptr;
    ggml_tensor *weights = input(GGML_TYPE_F32, inputs.weights, shape.targets);
    Var loss = logits.value ? cross_entropy(g, logits, targets, weights, &logprobs)
                            : frozen_cross_entropy(g, head_, x, shape.at_once, targets, weights, &logprobs);
    if (shape.asked == Asked::gradient) return loss;
    if (shape.asked == Asked::step) {
        g.backward(loss);
        return g.constant(ggml_concat(g.ctx(), loss.value, adapter.add_update(g), 0));
    }
    if (shape.asked == Asked::logprobs) return g.constant(logprobs);
    const auto n = int64_t(shape.rows_asked.size());
    ggml_tensor *all = ggml_reshape_2d(g.ctx(), logits.value, 1, shape.targets * shape_.n_vocab);
    ggml_tensor *of_rows = ggml_reshape_1d(g.ctx(), ggml_get_rows(g.ctx(), all, g.input(shape.rows_asked, n)), n);
    return g.constant(ggml_concat(g.ctx(), logprobs, of_rows, 0));
}

void Llm::run(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch, Asked asked,
              const Branching &branching, const Read &read) const {
    const PassShape shape = shape_of(adapter, batch, asked, branching);
    const SampleRows rows = rows_of(batch, shape);
    const bool gradients = asked == Asked::gradient || asked == Asked::step;
    if (engine_->kernels()) {
        const PassInputs inputs = inputs_of(adapter, batch, rows, shape);
        Graph graph(*engine_, gradients);
        Var result = pass(graph, prefix, adapter, rows, shape, inputs);
        if (gradients)
            graph.backward(result);
        else
            graph.output(result.value);
        graph.run();
        return read(graph, result.value, inputs.n_targets);
    }
    prefix.inputs = inputs_of(adapter, batch, rows, shape);
    auto &program = prefix.programs.get(*engine_, gradients, shape, [&](Graph &graph) {
        return pass(graph, prefix, adapter, rows, shape, prefix.inputs);
    });
    program.graph->run();
    read(*program.graph, program.result, prefix.inputs.n_targets);
}

size_t Llm::gradient_bytes(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch) const {
    const PassShape shape = shape_of(adapter, batch, Asked::gradient, {});
    const SampleRows rows = rows_of(batch, shape);
    const PassInputs inputs = inputs_of(adapter, batch, rows, shape);
    Graph graph(*engine_, true, engine_->kernels() ? Graph::Life::once : Graph::Life::kept);
    graph.backward(pass(graph, prefix, adapter, rows, shape, inputs));
    return graph.n_bytes();
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
}

} // namespace ri

extern "C" int64_t ri_engine_pass_rows(const ri_engine *engine, size_t n_samples, size_t n_positions, size_t n_used) {
    if (!engine || engine->impl->kernels()) return 0;
    return ri::rows_with_room(int64_t(n_used),
                              ri::rounded_up(int64_t(n_samples), 4) * ri::rounded_up(int64_t(n_positions), 4));
}
