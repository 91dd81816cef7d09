// LLaMA (Touvron et al. 2023, arXiv 2302.13971): RMSNorm, rotary grouped-query attention, SwiGLU. The weights come from
// a GGUF, whose query and key rows are permuted so that rotation pairs are neighbours.
//
// What keeps a training step small: the constant prefix is computed once (Prefix), the head and what lies behind the
// last layer's attention run at the answer's positions only, and no gradient of a weight is ever formed.
#include "llama.h"
#include "llama_attention.h"

#include <atomic>
#include <cmath>
#include <thread>

namespace ri {

// ---- loading

// Collects the matrices and vectors of a model, allocates them, and fills them from the GGUF on all threads.
class Llama::Loader {
  public:
    Loader(Llama &llama, ri_precision precision) : llama_(llama), precision_(precision) {
        llama_.ctx_.reset(
            ggml_init({ggml_tensor_overhead() * (size_t(llama.gguf_->info().n_layer) * 10 + 8), nullptr, true}));
        if (!llama_.ctx_) throw std::bad_alloc();
    }

    // A matrix whose rows are those of the named tensors, one after the other; `exact` in float32 in either mode.
    void matrix(FrozenLinear &m, std::vector<std::string> names, bool exact = false) {
        m.n_out = 0;
        for (const std::string &name : names) {
            const TensorView view = llama_.gguf_->tensor(name);
            m.n_in = view.ne[0];
            m.n_out += view.ne[1];
        }
        const ri_precision precision = exact ? RI_F32 : precision_;
        if (const KernelSet *set = llama_.engine_->kernels()) {
            const kernels::Weights weights = kernels::weights_of(precision);
            m.packed = std::make_unique<kernels::PackedMatrix>(*set, weights, m.n_out, m.n_in);
            m.packed_transposed = std::make_unique<kernels::PackedMatrix>(*set, weights, m.n_in, m.n_out);
        } else {
            const ggml_type type = precision == RI_F32 ? GGML_TYPE_F32 : GGML_TYPE_BF16;
            m.weight = ggml_new_tensor_2d(llama_.ctx_.get(), type, m.n_in, m.n_out);
            m.transposed = ggml_new_tensor_2d(llama_.ctx_.get(), type, m.n_out, m.n_in);
        }
        matrices_.push_back({&m, std::move(names)});
    }

    ggml_tensor *vector(const std::string &name) {
        const TensorView view = llama_.gguf_->tensor(name);
        ggml_tensor *t = ggml_new_tensor_1d(llama_.ctx_.get(), GGML_TYPE_F32, view.ne[0]);
        vectors_.push_back({t, name});
        return t;
    }

    void fill() {
        llama_.buffer_.reset(ggml_backend_alloc_ctx_tensors(llama_.ctx_.get(), llama_.engine_->backend()));
        if (!llama_.buffer_)
            fail(RI_MEMORY, "no memory for the weights of %s; use a smaller model, or bf16",
                 llama_.gguf_->path().c_str());
        for (const auto &[tensor, name] : vectors_) {
            std::vector<float> row(size_t(ggml_nelements(tensor)));
            llama_.gguf_->dequantise_rows(llama_.gguf_->tensor(name), 0, 1, row.data());
            require_finite(row.data(), row.size(), name.c_str());
            ggml_backend_tensor_set(tensor, row.data(), 0, ggml_nbytes(tensor));
        }
        std::atomic<size_t> next{0};
        std::atomic<bool> failed{false};
        std::exception_ptr error;
        auto work = [&] {
            try {
                for (size_t i = next++; i < matrices_.size() && !failed; i = next++)
                    fill_matrix(*matrices_[i].matrix, matrices_[i].names);
            } catch (...) {
                if (!failed.exchange(true)) error = std::current_exception();
            }
        };
        std::vector<std::thread> threads;
        for (int i = 1; i < llama_.engine_->n_threads(); ++i) threads.emplace_back(work);
        work();
        for (std::thread &thread : threads) thread.join();
        if (error) std::rethrow_exception(error);
    }

  private:
    struct Matrix {
        FrozenLinear *matrix;
        std::vector<std::string> names;
    };

    void fill_matrix(FrozenLinear &m, const std::vector<std::string> &names) {
        constexpr int64_t at_once = 64;
        std::vector<float> rows(size_t(at_once * m.n_in));
        std::vector<float> plain, columns; // whole matrices, only where ggml tensors are wanted
        if (!m.packed) {
            plain.resize(size_t(m.n_in * m.n_out));
            columns.resize(plain.size());
        }
        int64_t out = 0;
        for (const std::string &name : names) {
            const TensorView view = llama_.gguf_->tensor(name);
            for (int64_t first = 0; first < view.ne[1]; first += at_once) {
                const int64_t n = std::min(at_once, view.ne[1] - first);
                llama_.gguf_->dequantise_rows(view, first, n, rows.data());
                require_finite(rows.data(), size_t(n * m.n_in), name.c_str());
                for (int64_t r = 0; r < n; ++r, ++out) {
                    const float *row = rows.data() + r * m.n_in;
                    if (m.packed) {
                        m.packed->set_row(out, row);
                        m.packed_transposed->set_column(out, row);
                        continue;
                    }
                    std::copy(row, row + m.n_in, plain.begin() + out * m.n_in);
                    for (int64_t i = 0; i < m.n_in; ++i) columns[size_t(i * m.n_out + out)] = row[i];
                }
            }
        }
        if (m.packed) return;
        upload(m.weight, plain);
        upload(m.transposed, columns);
    }

    static void upload(ggml_tensor *tensor, const std::vector<float> &values) {
        if (tensor->type == GGML_TYPE_F32) {
            ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
            return;
        }
        std::vector<ggml_bf16_t> rounded(values.size());
        ggml_fp32_to_bf16_row(values.data(), rounded.data(), int64_t(values.size()));
        ggml_backend_tensor_set(tensor, rounded.data(), 0, ggml_nbytes(tensor));
    }

    Llama &llama_;
    ri_precision precision_;
    std::vector<Matrix> matrices_;
    std::vector<std::pair<ggml_tensor *, std::string>> vectors_;
};

// In how many layers, from the first on, the matrices of the attention stay in float32 in either mode: a tenth. What
// they round, all later layers amplify. Measured with SmolLM2-135M on the reference cases: with none, the gradient of
// the adapter's bias is off by up to 4.8 % in length; with 3 of 30, by 1.6 %, no more than if the feed-forward matrices
// of these layers, three quarters of the work, were in float32 too.
static size_t exact_layers(size_t n_layers) { return n_layers / 10; }

Llama::Llama(std::shared_ptr<Engine> engine, std::shared_ptr<const Gguf> gguf, ri_precision precision)
    : engine_(std::move(engine)), gguf_(std::move(gguf)) {
    require_llama(*gguf_);
    const ri_gguf_info &info = gguf_->info();
    n_embd_ = info.n_embd;
    n_vocab_ = info.n_vocab;
    n_heads_ = info.n_head;
    n_heads_kv_ = info.n_head_kv;
    head_dim_ = info.head_dim;
    n_ff_ = info.n_ff;
    n_context_ = info.n_context;
    rms_eps_ = info.rms_eps;

    Loader loader(*this, precision);
    layers_.resize(size_t(info.n_layer));
    for (size_t i = 0; i < layers_.size(); ++i) {
        const std::string at = "blk." + std::to_string(i) + ".";
        Layer &layer = layers_[i];
        const bool exact = i < exact_layers(layers_.size());
        loader.matrix(layer.qkv, {at + "attn_q.weight", at + "attn_k.weight", at + "attn_v.weight"}, exact);
        loader.matrix(layer.attention_out, {at + "attn_output.weight"}, exact);
        loader.matrix(layer.gate_up, {at + "ffn_gate.weight", at + "ffn_up.weight"});
        loader.matrix(layer.down, {at + "ffn_down.weight"});
        layer.attention_norm = loader.vector(at + "attn_norm.weight");
        layer.ffn_norm = loader.vector(at + "ffn_norm.weight");
    }
    loader.matrix(head_, {info.tied_head ? "token_embd.weight" : "output.weight"});
    output_norm_ = loader.vector("output_norm.weight");
    if (gguf_->has("rope_freqs.weight")) {
        rope_factor_tensor_ = loader.vector("rope_freqs.weight");
        rope_factors_.resize(size_t(head_dim_ / 2));
        gguf_->dequantise_rows(gguf_->tensor("rope_freqs.weight"), 0, 1, rope_factors_.data());
    }
    loader.fill();
}

// ---- the prefix

kernels::PrefixCache Prefix::cache(size_t layer) const {
    if (n == 0) return {};
    const Layer &l = layers[layer];
    auto data = [](const ggml_tensor *t) { return static_cast<const float *>(t->data); };
    return {n, data(l.k), data(l.v), data(l.k_t), data(l.v_t)};
}

std::unique_ptr<Prefix> Llama::make_prefix(const int32_t *tokens, size_t n) const {
    auto prefix = std::make_unique<Prefix>();
    if (n == 0) return prefix;
    if (int64_t(n) >= n_context_)
        fail(RI_INVALID, "a prefix of %zu tokens does not fit a context of %lld", n,
             static_cast<long long>(n_context_));
    for (size_t i = 0; i < n; ++i)
        if (tokens[i] < 0 || tokens[i] >= n_vocab_)
            fail(RI_INVALID, "prefix token %zu is %d; the vocabulary has %lld", i, tokens[i],
                 static_cast<long long>(n_vocab_));

    const int64_t P = int64_t(n), hd = head_dim_, Hkv = n_heads_kv_;
    const int64_t width = (n_heads_ + 2 * Hkv) * hd;
    Graph graph(*engine_, false);
    std::vector<float> rows(n * size_t(n_embd_));
    gguf_->embed(tokens, n, rows.data());
    require_finite(rows.data(), rows.size(), "embeddings of the prefix");
    std::vector<ggml_tensor *> qkv;
    hidden_states(graph, *prefix, graph.constant(graph.input(std::move(rows), n_embd_, P)), SampleRows({P}), nullptr,
                  &qkv);
    for (ggml_tensor *t : qkv) graph.output(t);
    graph.run();

    prefix->layers.resize(layers_.size());
    prefix->ctx.reset(ggml_init({ggml_tensor_overhead() * layers_.size() * 4, nullptr, true}));
    if (!prefix->ctx) throw std::bad_alloc();
    for (Prefix::Layer &layer : prefix->layers) {
        for (ggml_tensor **rows : {&layer.k, &layer.v})
            *rows = ggml_new_tensor_3d(prefix->ctx.get(), GGML_TYPE_F32, hd, P, Hkv);
        for (ggml_tensor **columns : {&layer.k_t, &layer.v_t})
            *columns = ggml_new_tensor_3d(prefix->ctx.get(), GGML_TYPE_F32, P, hd, Hkv);
    }
    prefix->buffer.reset(ggml_backend_alloc_ctx_tensors(prefix->ctx.get(), engine_->backend()));
    if (!prefix->buffer) fail(RI_MEMORY, "no memory for the keys and values of a prefix of %zu tokens", n);
    const RopeTable rope = rope_table(0, SampleRows({P}).places());
    std::vector<float> raw(size_t(P * width));
    for (size_t l = 0; l < layers_.size(); ++l) {
        graph.read(qkv[l], raw.data());
        // Rows [hd, P] of each head, and the same as columns [P, hd].
        std::vector<float> k(size_t(Hkv * P * hd)), v(k.size()), k_t(k.size()), v_t(k.size());
        for (int64_t h = 0; h < Hkv; ++h)
            for (int64_t p = 0; p < P; ++p) {
                const float *key = raw.data() + p * width + (n_heads_ + h) * hd, *value = key + Hkv * hd;
                const float *cos = rope.cos.data() + p * hd, *sin = rope.sin.data() + p * hd;
                float *k_row = k.data() + (h * P + p) * hd, *v_row = v.data() + (h * P + p) * hd;
                for (int64_t i = 0; i < hd; ++i) k_row[i] = key[i] * cos[i] + key[i ^ 1] * sin[i];
                std::copy(value, value + hd, v_row);
                for (int64_t d = 0; d < hd; ++d) {
                    k_t[size_t((h * hd + d) * P + p)] = k_row[d];
                    v_t[size_t((h * hd + d) * P + p)] = v_row[d];
                }
            }
        const Prefix::Layer &layer = prefix->layers[l];
        ggml_backend_tensor_set(layer.k, k.data(), 0, ggml_nbytes(layer.k));
        ggml_backend_tensor_set(layer.v, v.data(), 0, ggml_nbytes(layer.v));
        ggml_backend_tensor_set(layer.k_t, k_t.data(), 0, ggml_nbytes(layer.k_t));
        ggml_backend_tensor_set(layer.v_t, v_t.data(), 0, ggml_nbytes(layer.v_t));
    }
    prefix->n = P;
    return prefix;
}

// ---- the forward pass

Var Llama::hidden_states(Graph &g, const Prefix &prefix, Var x, const SampleRows &rows,
                         const std::vector<int32_t> *asked, std::vector<ggml_tensor *> *qkv_of_layer) const {
    const AttentionPlan plan = plan_attention(g, prefix.n, rows);
    for (size_t l = 0; l < layers_.size(); ++l) {
        const Layer &layer = layers_[l];
        Var qkv = linear(g, layer.qkv, rms_norm(g, x, layer.attention_norm)); // [(heads + 2 heads_kv) * hd, rows]
        if (qkv_of_layer) qkv_of_layer->push_back(qkv.value);
        Var mixed = attention(g, plan, prefix, l, qkv); // [heads * hd, rows]
        if (asked && l + 1 == layers_.size()) {         // from here on each position stands alone
            mixed = g.pick_rows(mixed, *asked);
            x = g.pick_rows(x, *asked);
        }
        x = g.add(x, linear(g, layer.attention_out, mixed));                    // [E, ...]
        Var gate_up = linear(g, layer.gate_up, rms_norm(g, x, layer.ffn_norm)); // [2 n_ff, ...]
        x = g.add(x, linear(g, layer.down, swiglu(g, gate_up)));
    }
    return rms_norm(g, x, output_norm_);
}

// The positions of each sample up to its last target or soft token: what lies behind is padding. Composed attention
// takes samples of one length.
SampleRows Llama::rows_of(const ri_align_batch &batch, std::vector<int32_t> parents) const {
    const size_t positions = batch.n_positions;
    std::vector<int64_t> lengths(batch.n_samples, int64_t(positions));
    if (engine_->kernels())
        for (size_t b = 0; b < batch.n_samples; ++b) {
            const int32_t *tokens = batch.tokens + b * positions, *targets = batch.targets + b * positions;
            while (targets[lengths[b] - 1] < 0 && tokens[lengths[b] - 1] >= 0) --lengths[b];
        }
    return SampleRows(lengths, std::move(parents));
}

Llama::Pass Llama::forward(Graph &g, const Prefix &prefix, const Adapter &adapter, const ri_align_batch &batch,
                           std::vector<int32_t> parents) const {
    const SampleRows rows = rows_of(batch, std::move(parents));
    const int64_t n_rows = rows.count(), K = adapter.params().n_tokens;
    int64_t states = 0;
    for (size_t b = 0; b < batch.n_samples; ++b) states += batch.n_states[b];
    // Rows of the embedding table where there are tokens, soft tokens elsewhere.
    std::vector<float> base(size_t(n_rows * n_embd_));
    std::vector<int32_t> index(static_cast<size_t>(n_rows)), places(static_cast<size_t>(states * K)), asked, targets;
    for (int64_t b = 0, first_soft = 0; b < rows.samples(); first_soft += batch.n_states[b++] * K)
        for (int64_t row = rows.first[size_t(b)]; row < rows.first[size_t(b) + 1]; ++row) {
            const int64_t at = b * int64_t(batch.n_positions) + row - rows.first[size_t(b)];
            const int32_t token = batch.tokens[at];
            if (token >= 0) {
                gguf_->embed(&token, 1, base.data() + row * n_embd_);
                index[size_t(row)] = int32_t(row);
            } else {
                const int64_t soft = first_soft + (-1 - token);
                index[size_t(row)] = int32_t(n_rows + soft);
                places[size_t(soft)] = int32_t(row);
            }
            if (batch.targets[at] >= 0) {
                targets.push_back(int32_t(int64_t(asked.size()) * n_vocab_ + batch.targets[at]));
                asked.push_back(int32_t(row));
            }
        }
    require_finite(base.data(), base.size(), "embeddings of the batch"); // an untied table was not checked on loading
    const int64_t n_targets = int64_t(asked.size());
    Var given = g.constant(g.input(GGML_TYPE_F32, batch.states, adapter.params().n_in, states));
    Var soft = g.reshape(adapter.soft_tokens(g, given), n_embd_, states * K);
    Var x = g.splice(g.input(std::move(base), n_embd_, n_rows), soft, g.input(std::move(index), n_rows),
                     g.input(std::move(places), states * K));
    Var hidden = hidden_states(g, prefix, x, rows, &asked, nullptr);
    return {linear(g, head_, hidden), g.input(std::move(targets), n_targets), n_targets};
}

void Llama::check(const Prefix &prefix, const Adapter &adapter, const ri_align_batch &b, size_t depth) const {
    if (b.n_samples == 0 || b.n_positions == 0)
        fail(RI_INVALID, "a batch needs samples and positions; got %zu, %zu", b.n_samples, b.n_positions);
    require(b.n_states, "batch.n_states");
    require(b.tokens, "batch.tokens");
    require(b.targets, "batch.targets");
    require(b.states, "batch.states");
    const ri_adapter_params &a = adapter.params();
    if (a.n_embd != n_embd_)
        fail(RI_INVALID, "the adapter makes soft tokens of width %d, this LLaMA reads %lld; train one for it", a.n_embd,
             static_cast<long long>(n_embd_));
    if (depth > size_t(n_context_) || prefix.n + int64_t(depth) > n_context_)
        fail(RI_INVALID, "a prefix of %lld and %zu positions do not fit a context of %lld",
             static_cast<long long>(prefix.n), depth, static_cast<long long>(n_context_));
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
            if (token >= n_vocab_)
                fail(RI_INVALID, "sample %zu, position %zu: token %d; the vocabulary has %lld", s, p, token,
                     static_cast<long long>(n_vocab_));
            if (target < -1 || target >= n_vocab_)
                fail(RI_INVALID, "sample %zu, position %zu: target %d; the vocabulary has %lld", s, p, target,
                     static_cast<long long>(n_vocab_));
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
    if (n_targets > size_t(INT32_MAX / n_vocab_))
        fail(RI_INVALID, "%zu targets in one batch; use a smaller one", n_targets);
}

namespace {

// Checks the arguments that the functions on batches share, and runs `body` under the engine's lock. `depth` is how far
// samples that branch reach, else 0.
template <typename Body>
void with_batch(ri_llama *llama, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch, size_t depth,
                Body &&body) {
    require(llama, "llama");
    require(prefix, "prefix");
    require(batch, "batch");
    auto &model = as<Adapter>(adapter, "an adapter");
    if (prefix->llama != llama->impl) fail(RI_INVALID, "the prefix was made by another LLaMA");
    if (&model.engine() != &llama->impl->engine())
        fail(RI_INVALID, "the adapter and the LLaMA live on different engines");
    llama->impl->check(*prefix->impl, model, *batch, depth ? depth : batch->n_positions);
    std::lock_guard<std::mutex> hold(model.engine().lock());
    body(*llama->impl, *prefix->impl, model);
}

// A sample that branches, as a batch: the target of a position is the first token that is asked about behind it.
class Branches {
  public:
    explicit Branches(const ri_branches &b, int64_t n_vocab) {
        require(b.parents, "branches.parents");
        require(b.asked_counts, "branches.asked_counts");
        require(b.asked, "branches.asked");
        parents.assign(b.parents, b.parents + b.n_positions);
        for (size_t s = 0; s < b.n_positions; ++s) {
            if (parents[s] < -1 || parents[s] >= int64_t(s))
                fail(RI_INVALID, "position %zu comes behind %d; that must be a position before it, or -1", s,
                     parents[s]);
            if (b.asked_counts[s] < 0)
                fail(RI_INVALID, "position %zu: %d tokens are asked about", s, b.asked_counts[s]);
            targets_.push_back(b.asked_counts[s] ? b.asked[asked.size()] : -1);
            for (int32_t i = 0; i < b.asked_counts[s]; ++i) {
                const int32_t token = b.asked[asked.size()];
                require_token(token, n_vocab, "asked", asked.size());
                rows.push_back(n_rows);
                asked.push_back(int32_t(n_rows * n_vocab + token));
            }
            n_rows += b.asked_counts[s] > 0;
        }
        const std::vector<int64_t> places = SampleRows({int64_t(b.n_positions)}, parents).places();
        for (int64_t place : places) depth = std::max(depth, size_t(place) + 1);
        batch = {1, b.n_positions, &b.n_states, b.tokens, targets_.data(), b.states, 1};
    }
    Branches(const Branches &) = delete;

    ri_align_batch batch;
    std::vector<int32_t> parents;
    size_t depth = 0;
    std::vector<int32_t> asked; // row * n_vocab + token, of the rows of logits
    std::vector<int64_t> rows;  // of each of them
    int64_t n_rows = 0;

  private:
    std::vector<int32_t> targets_;
};

} // namespace

} // namespace ri

extern "C" {

ri_status ri_llama_create(ri_engine *engine, const ri_gguf *gguf, ri_precision precision, ri_llama **out,
                          ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(gguf, "gguf");
        ri::require(out, "out");
        ri::require_precision(precision);
        auto handle = std::make_unique<ri_llama>();
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        handle->impl = std::make_shared<ri::Llama>(engine->impl, gguf->impl, precision);
        *out = handle.release();
    });
}

void ri_llama_free(ri_llama *llama) { delete llama; }

ri_status ri_prefix_create(ri_llama *llama, const int32_t *tokens, size_t n, ri_prefix **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(llama, "llama");
        if (n) ri::require(tokens, "tokens");
        ri::require(out, "out");
        auto handle = std::make_unique<ri_prefix>();
        std::lock_guard<std::mutex> hold(llama->impl->engine().lock());
        handle->llama = llama->impl;
        handle->impl = llama->impl->make_prefix(tokens, n);
        *out = handle.release();
    });
}

void ri_prefix_free(ri_prefix *prefix) { delete prefix; }

ri_status ri_align_backward(ri_llama *llama, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                            double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        ri::with_batch(llama, prefix, adapter, batch, 0,
                       [&](const ri::Llama &model, const ri::Prefix &start, const ri::Adapter &a) {
                           ri::Graph graph(model.engine(), true);
                           const auto pass = model.forward(graph, start, a, *batch);
                           ri::Var error = model.loss(graph, pass, batch->weight, nullptr);
                           graph.backward(error);
                           graph.run();
                           if (loss) *loss = graph.scalar(error.value);
                       });
    });
}

ri_status ri_align_logprobs(ri_llama *llama, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                            float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(dst, "dst");
        ri::with_batch(llama, prefix, adapter, batch, 0,
                       [&](const ri::Llama &model, const ri::Prefix &start, const ri::Adapter &a) {
                           ri::Graph graph(model.engine(), false);
                           ggml_tensor *logprobs = nullptr;
                           model.loss(graph, model.forward(graph, start, a, *batch), 1.0, &logprobs);
                           graph.output(logprobs);
                           graph.run();
                           graph.read(logprobs, dst);
                       });
    });
}

ri_status ri_align_logits(ri_llama *llama, ri_prefix *prefix, ri_model *adapter, const ri_align_batch *batch,
                          float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(dst, "dst");
        ri::with_batch(llama, prefix, adapter, batch, 0,
                       [&](const ri::Llama &model, const ri::Prefix &start, const ri::Adapter &a) {
                           ri::Graph graph(model.engine(), false);
                           ggml_tensor *logits = model.forward(graph, start, a, *batch).logits.value;
                           graph.output(logits);
                           graph.run();
                           graph.read(logits, dst);
                       });
    });
}

ri_status ri_align_branches(ri_llama *llama, ri_prefix *prefix, ri_model *adapter, const ri_branches *branches,
                            float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(dst, "dst");
        ri::require(llama, "llama");
        ri::require(branches, "branches");
        const ri::Branches tree(*branches, llama->impl->n_vocab());
        ri::with_batch(llama, prefix, adapter, &tree.batch, tree.depth,
                       [&](const ri::Llama &model, const ri::Prefix &start, const ri::Adapter &a) {
                           ri::Graph graph(model.engine(), false);
                           const auto pass = model.forward(graph, start, a, tree.batch, tree.parents);
                           ggml_tensor *of_first = nullptr;
                           model.loss(graph, pass, 1.0, &of_first);
                           ggml_tensor *all =
                               ggml_reshape_2d(graph.ctx(), pass.logits.value, 1, tree.n_rows * model.n_vocab());
                           ggml_tensor *logits =
                               ggml_get_rows(graph.ctx(), all, graph.input(tree.asked, int64_t(tree.asked.size())));
                           graph.output(of_first);
                           graph.output(logits);
                           graph.run();
                           std::vector<float> first(size_t(tree.n_rows)), asked(tree.asked.size());
                           graph.read(of_first, first.data());
                           graph.read(logits, asked.data());
                           // Of one position, log-probabilities differ as logits do.
                           size_t row_start = 0;
                           for (size_t i = 0; i < asked.size(); ++i) {
                               if (tree.rows[i] != tree.rows[row_start]) row_start = i;
                               dst[i] = first[size_t(tree.rows[i])] + (asked[i] - asked[row_start]);
                           }
                       });
    });
}

} // extern "C"
