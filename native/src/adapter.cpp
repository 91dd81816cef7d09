#include "adapters/registry.h"

namespace ri {

namespace {

// The tensors of an adapter whose sizes are valid.
std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    require(p.kind, "kind");
    const AdapterKind &kind = adapter_kind(p.kind);
    auto in_range = [](const char *name, int32_t value, int32_t most) {
        if (value < 1 || value > most) fail(RI_INVALID, "adapter: %s must be 1 to %d, not %d", name, most, value);
    };
    in_range("n_in", p.n_in, 1 << 20);
    in_range("n_tokens", p.n_tokens, 1024);
    in_range("n_embd", p.n_embd, 1 << 20);
    if (!(p.rms > 0) || std::isinf(p.rms)) fail(RI_INVALID, "adapter: rms must be above 0 and finite, not %g", p.rms);
    const struct {
        AdapterSizes size;
        const char *name;
        int32_t value;
    } optional[] = {{N_HIDDEN, "n_hidden", p.n_hidden},
                    {N_MIXED, "n_mixed", p.n_mixed},
                    {N_ENTRIES, "n_entries", p.n_entries},
                    {N_LOOKUPS, "n_lookups", p.n_lookups}};
    for (const auto &o : optional) {
        if (kind.sizes & o.size)
            in_range(o.name, o.value, 1 << 20);
        else if (o.value)
            fail(RI_INVALID, "adapter: %s must be 0 for the kind %s, not %d", o.name, kind.name, o.value);
    }
    return kind.layout(p);
}

} // namespace

Adapter::Adapter(std::shared_ptr<Engine> engine, const ri_adapter_params &params, Memory memory)
    : Model(std::move(engine), layout(params), memory), kind_(adapter_kind(params.kind)), params_(params) {
    params_.kind = kind_.name; // the caller's may go
}

Var Adapter::soft_tokens(Graph &g, Var states) const { return kind_.soft_tokens(g, *this, states); }

Var turn_and_shift(Graph &g, const Adapter &a, Var found) {
    const int64_t embd = a.params().n_embd, out = embd * a.params().n_tokens, n = ggml_nelements(found.value) / out;
    Var turned = linear(g, a.use(g, "turn"), reshape(g, found, embd, out / embd * n), {});
    return add(g, reshape(g, turned, out, n), a.use(g, "bias"));
}

namespace {

// Adds the gradient of a loss of the soft tokens [K*E, n] of states to the adapter's, and gives the
// loss.
template <typename Loss> double teach(ri_model *adapter, const float *states, size_t n, Loss loss_of) {
    auto &model = as<Adapter>(adapter, "an adapter");
    require(states, "states");
    if (n == 0) fail(RI_INVALID, "a step of training needs at least one state");
    const int64_t width = model.params().n_in;
    require_finite(states, n * size_t(width), "states");
    std::lock_guard<std::mutex> hold(model.engine().lock());
    Graph graph(model.engine(), true);
    Var loss =
        loss_of(graph, model.soft_tokens(graph, graph.constant(graph.input(GGML_TYPE_F32, states, width, int64_t(n)))));
    graph.backward(loss);
    graph.run();
    return double(graph.scalar(loss.value));
}

} // namespace

} // namespace ri

extern "C" {

ri_adapter_params ri_adapter_params_default(void) {
    ri_adapter_params p{};
    p.n_tokens = 1;
    p.rms = 1;
    return p;
}

ri_status ri_adapter_layout(const ri_adapter_params *params, ri_tensor_info *dst, size_t capacity, size_t *count,
                            ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(params, "params");
        ri::require(count, "count");
        if (capacity > 0) ri::require(dst, "dst");
        const std::vector<ri::TensorSpec> specs = ri::layout(*params);
        for (size_t i = 0; i < specs.size() && i < capacity; ++i) dst[i] = ri::describe(specs[i]);
        *count = specs.size();
    });
}

ri_status ri_adapter_create(ri_engine *engine, const ri_adapter_params *params, ri_model **out, ri_error *err) {
    return ri::guard(err, [&] { ri::create_model<ri::Adapter>(engine, params, out); });
}

ri_status ri_adapter_forward(ri_model *adapter, const float *states, size_t n, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Adapter>(adapter, "an adapter");
        if (n == 0) return;
        ri::require(states, "states");
        ri::require(dst, "dst");
        const int64_t width = model.params().n_in;
        ri::require_finite(states, n * size_t(width), "states");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        ri::Graph graph(model.engine(), false);
        ri::Var soft = model.soft_tokens(graph, graph.constant(graph.input(GGML_TYPE_F32, states, width, int64_t(n))));
        graph.output(soft.value);
        graph.run();
        graph.read(soft.value, dst);
    });
}

ri_status ri_adapter_regress(ri_model *adapter, const float *states, const float *targets, size_t n, double *loss,
                             ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(targets, "targets");
        const double mean = ri::teach(adapter, states, n, [&](ri::Graph &graph, ri::Var soft) {
            ri::require_finite(targets, size_t(ggml_nelements(soft.value)), "targets");
            return mean_squared_error(
                graph, soft, graph.constant(graph.input(GGML_TYPE_F32, targets, soft.value->ne[0], soft.value->ne[1])));
        });
        if (loss) *loss = mean;
    });
}

ri_status ri_adapter_classify(ri_model *adapter, const float *states, const float *words, size_t n_words,
                              const int32_t *targets, size_t n, double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(words, "words");
        ri::require(targets, "targets");
        const double mean = ri::teach(adapter, states, n, [&](ri::Graph &graph, ri::Var soft) {
            const int64_t embd = ri::as<ri::Adapter>(adapter, "an adapter").params().n_embd;
            const int64_t n_soft = ggml_nelements(soft.value) / embd;
            if (n_words == 0 || n_words > size_t(INT32_MAX / std::max(n_soft, embd)))
                ri::fail(RI_INVALID, "%zu words for %lld soft tokens; give fewer, but at least one", n_words,
                         static_cast<long long>(n_soft));
            ri::require_finite(words, n_words * size_t(embd), "words");
            std::vector<int32_t> places(size_t(n_soft), 0);
            for (size_t i = 0; i < places.size(); ++i) {
                if (targets[i] < 0 || size_t(targets[i]) >= n_words)
                    ri::fail(RI_INVALID, "target %zu is word %d; it must be 0 to %zu", i, targets[i], n_words - 1);
                places[i] = int32_t(i * n_words) + targets[i];
            }
            ri::Var table = graph.constant(graph.input(GGML_TYPE_F32, words, embd, int64_t(n_words)));
            return cross_entropy(graph, linear(graph, table, reshape(graph, soft, embd, n_soft), {}),
                                 graph.input(std::move(places), n_soft),
                                 graph.input(std::vector<float>(size_t(n_soft), 1.0f / float(n_soft)), n_soft));
        });
        if (loss) *loss = mean;
    });
}

} // extern "C"
