// Keys and values of the constant beginning, computed once.
#include "llm.h"

namespace ri {

kernels::PrefixCache Prefix::cache(size_t layer) const {
    if (n == 0) return {};
    const Layer &l = layers[layer];
    auto data = [](const ggml_tensor *t) { return static_cast<const float *>(t->data); };
    return {n, data(l.k), data(l.v), data(l.k_t), data(l.v_t)};
}

std::unique_ptr<Prefix> Llm::empty_prefix(size_t n, Memory memory) const {
    auto prefix = std::make_unique<Prefix>();
    if (n == 0) return prefix;
    const int64_t P = int64_t(n), hd = shape_.head_dim, Hkv = shape_.n_heads_kv;
    prefix->n = P;
    prefix->layers.resize(layers_.size());
    prefix->ctx.reset(ggml_init({ggml_tensor_overhead() * layers_.size() * 4, nullptr, true}));
    if (!prefix->ctx) throw std::bad_alloc();
    for (Prefix::Layer &layer : prefix->layers) {
        for (ggml_tensor **rows : {&layer.k, &layer.v})
            *rows = ggml_new_tensor_3d(prefix->ctx.get(), GGML_TYPE_F32, hd, P, Hkv);
        for (ggml_tensor **columns : {&layer.k_t, &layer.v_t})
            *columns = ggml_new_tensor_3d(prefix->ctx.get(), GGML_TYPE_F32, P, hd, Hkv);
    }
    prefix->buffer = engine_->place(prefix->ctx.get(), memory);
    if (!prefix->buffer) fail(RI_MEMORY, "no memory for the keys and values of a prefix of %zu tokens", n);
    return prefix;
}

std::vector<ggml_tensor *> Llm::prefix_pass(Graph &graph, const Prefix &prefix, const int32_t *tokens) const {
    auto *kept = graph.keep(std::make_shared<std::vector<int32_t>>(tokens, tokens + prefix.n));
    std::vector<ggml_tensor *> all;
    auto each = [&](size_t layer, const AttentionPlan &plan, ggml_tensor *qkv) {
        if (!graph.kernels()) return store(graph, plan, prefix.layers[layer], qkv);
        graph.output(qkv);
        all.push_back(qkv);
    };
    hidden_states(graph, Prefix(), graph.constant(embeddings(graph, *kept, prefix.n)), {SampleRows({prefix.n})}, each);
    return all;
}

void Llm::store(Graph &g, const AttentionPlan &plan, const Prefix::Layer &layer, ggml_tensor *qkv) const {
    const int64_t hd = shape_.head_dim, Hkv = shape_.n_heads_kv;
    auto heads = [&](int64_t first) { // [hd, heads_kv, P]
        return ggml_view_3d(g.ctx(), qkv, hd, Hkv, qkv->ne[1], size_t(hd) * sizeof(float), qkv->nb[1],
                            size_t(first * hd) * sizeof(float));
    };
    auto put = [&](ggml_tensor *x, ggml_tensor *rows, ggml_tensor *columns) {
        g.output(ggml_cpy(g.ctx(), ggml_permute(g.ctx(), x, 0, 2, 1, 3), rows));
        g.output(ggml_cpy(g.ctx(), ggml_permute(g.ctx(), x, 1, 2, 0, 3), columns));
    };
    put(rotated(g, plan, heads(shape_.n_heads)), layer.k, layer.k_t);
    put(heads(shape_.n_heads + Hkv), layer.v, layer.v_t);
}

std::unique_ptr<Prefix> Llm::make_prefix(const int32_t *tokens, size_t n) const {
    if (n == 0) return empty_prefix(0, Memory::taken);
    if (int64_t(n) >= shape_.n_context)
        fail(RI_INVALID, "a prefix of %zu tokens does not fit a context of %lld", n,
             static_cast<long long>(shape_.n_context));
    for (size_t i = 0; i < n; ++i)
        if (tokens[i] < 0 || tokens[i] >= shape_.n_vocab)
            fail(RI_INVALID, "prefix token %zu is %d; the vocabulary has %lld", i, tokens[i],
                 static_cast<long long>(shape_.n_vocab));

    const int64_t P = int64_t(n), hd = shape_.head_dim, Hkv = shape_.n_heads_kv;
    const int64_t width = shape_.width_qkv();
    std::unique_ptr<Prefix> prefix = empty_prefix(n, Memory::taken);
    Graph graph(*engine_, false, engine_->kernels() ? Graph::Life::once : Graph::Life::kept); // which uploads once
    const std::vector<ggml_tensor *> qkv = prefix_pass(graph, *prefix, tokens);
    graph.run();
    if (!engine_->kernels()) return prefix;
    const std::vector<int64_t> places = SampleRows({P}).places();
    std::vector<float> raw(size_t(P * width));
    for (size_t l = 0; l < layers_.size(); ++l) {
        graph.read(qkv[l], raw.data());
        const RopeTable rope = rope_table(shape_.layers[l], 0, places);
        // Rows [hd, P] of each head, and the same as columns [P, hd].
        std::vector<float> k(size_t(Hkv * P * hd)), v(k.size()), k_t(k.size()), v_t(k.size());
        for (int64_t h = 0; h < Hkv; ++h)
            for (int64_t p = 0; p < P; ++p) {
                const float *key = raw.data() + p * width + (shape_.n_heads + h) * hd, *value = key + Hkv * hd;
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
    return prefix;
}

} // namespace ri
