#include "adapter.h"

#include <algorithm>

namespace ri {

namespace {

// Tensor shapes by kind. linear is the paper's projection (arXiv 2310.20487, section 3.2); mlp has one hidden layer;
// mixture is linear behind a learned mixture of a history's states, the variant of the authors' code for recovery;
// dictionary is a memory of entries that a hidden layer attends to by their keys (Sukhbaatar et al. 2015, arXiv
// 1503.08895); recall reads several items from one vector: its memory gives the entries that fit best, one after
// another. What looks these up is taught beforehand and stays as it is, so that the answers that a sample is taught
// with can follow the order of what is looked up.
std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    auto in_range = [](const char *name, int32_t value, int32_t most) {
        if (value < 1 || value > most) fail(RI_INVALID, "adapter: %s must be 1 to %d, not %d", name, most, value);
    };
    in_range("n_in", p.n_in, 1 << 20);
    in_range("n_tokens", p.n_tokens, 1024);
    in_range("n_embd", p.n_embd, 1 << 20);
    const int64_t out = int64_t(p.n_tokens) * p.n_embd;
    switch (number_of(p.kind)) {
    case RI_ADAPTER_LINEAR: return {{"weight", {out, p.n_in}}, {"bias", {out}}};
    case RI_ADAPTER_MLP:
        in_range("n_hidden", p.n_hidden, 1 << 20);
        return {{"w1", {p.n_hidden, p.n_in}}, {"b1", {p.n_hidden}}, {"w2", {out, p.n_hidden}}, {"b2", {out}}};
    case RI_ADAPTER_DICTIONARY:
        in_range("n_hidden", p.n_hidden, 1 << 20);
        in_range("n_entries", p.n_entries, 1 << 20);
        return {{"w1", {p.n_hidden, p.n_in}},
                {"b1", {p.n_hidden}},
                {"keys", {p.n_entries, p.n_hidden}},
                {"key_bias", {p.n_entries}},
                {"entries", {out, p.n_entries}},
                {"turn", {p.n_embd, p.n_embd}},
                {"bias", {out}}};
    case RI_ADAPTER_RECALL:
        in_range("n_hidden", p.n_hidden, 1 << 20);
        in_range("n_entries", p.n_entries, 1 << 20);
        in_range("n_lookups", p.n_lookups, std::min(p.n_entries, p.n_tokens));
        if (p.n_tokens % p.n_lookups)
            fail(RI_INVALID, "adapter: %d soft tokens are not %d times as many", p.n_tokens, p.n_lookups);
        return {{"w1", {p.n_hidden, p.n_in}, true},
                {"b1", {p.n_hidden}, true},
                {"keys", {p.n_entries, p.n_hidden}, true},
                {"key_bias", {p.n_entries}, true},
                {"entries", {p.n_entries, out / p.n_lookups}},
                {"sure", {out / p.n_lookups}},
                {"turn", {p.n_embd, p.n_embd}},
                {"bias", {out}}};
    case RI_ADAPTER_MIXTURE:
        in_range("n_mixed", p.n_mixed, p.n_in);
        if (p.n_in % p.n_mixed)
            fail(RI_INVALID, "adapter: %d numbers are not %d states of one width", p.n_in, p.n_mixed);
        return {{"mix", {p.n_mixed}}, {"weight", {out, p.n_in / p.n_mixed}}, {"bias", {out}}};
    }
    fail(RI_INVALID, "there is no adapter kind %d", number_of(p.kind));
}

} // namespace

Adapter::Adapter(std::shared_ptr<Engine> engine, const ri_adapter_params &params)
    : Model(std::move(engine), layout(params)), params_(params) {}

Var Adapter::soft_tokens(Graph &g, Var states) const {
    if (params_.kind == RI_ADAPTER_MIXTURE) {
        const int64_t width = params_.n_in / params_.n_mixed, n = states.value->ne[1];
        Var by_position = g.permute(g.reshape(states, width, params_.n_mixed, n), 1, 0, 2, 3); // [n_mixed, width, n]
        states = g.reshape(
            g.mul_mat(g.reshape(use(g, "mix"), params_.n_mixed, 1), g.reshape(by_position, params_.n_mixed, width * n)),
            width, n);
    }
    if (params_.n_hidden == 0) return g.linear(use(g, "weight"), states, use(g, "bias"));
    // What recall shows has to be what the probe (probe.cpp) that it was taught with scores best: the same GELU.
    Var first = g.linear(use(g, "w1"), states, use(g, "b1"));
    Var hidden = params_.kind == RI_ADAPTER_RECALL ? g.gelu_erf(first) : g.gelu(first);
    if (params_.kind == RI_ADAPTER_MLP) return g.linear(use(g, "w2"), hidden, use(g, "b2"));
    Var scores = g.linear(use(g, "keys"), hidden, use(g, "key_bias"));
    const int64_t n = states.value->ne[1], tokens = params_.n_tokens, embd = params_.n_embd;
    Var entry = params_.kind == RI_ADAPTER_RECALL ? look_up(g, scores.value)
                                                  : g.linear(use(g, "entries"), g.softmax(scores, nullptr, 1), {});
    Var turned = g.linear(use(g, "turn"), g.reshape(entry, embd, tokens * n), {});
    return g.add(g.reshape(turned, embd * tokens, n), use(g, "bias"));
}

Var Adapter::look_up(Graph &g, ggml_tensor *scores) const {
    const int64_t n_entries = scores->ne[0], n = scores->ne[1], n_lookups = params_.n_lookups;
    ggml_context *ctx = g.ctx();
    ggml_tensor *best = ggml_cont(ctx, ggml_argsort_top_k(ctx, scores, int(n_lookups))); // [n_lookups, n]
    ggml_tensor *fit =
        ggml_reshape_2d(ctx, ggml_get_rows(ctx, ggml_reshape_3d(ctx, scores, 1, n_entries, n), best), n_lookups, n);
    ggml_tensor *most = ggml_cont(ctx, ggml_view_2d(ctx, fit, 1, n, fit->nb[1], 0));
    ggml_tensor *weight = ggml_exp(ctx, ggml_sub(ctx, fit, most));
    Var found = g.get_rows(use(g, "entries"), ggml_reshape_1d(ctx, best, n_lookups * n));
    const int64_t width = found.value->ne[0];
    return g.add(found, g.mul_mat(g.reshape(use(g, "sure"), 1, width),
                                  g.constant(ggml_reshape_2d(ctx, weight, 1, n_lookups * n))));
}

} // namespace ri

extern "C" {

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
        auto &model = ri::as<ri::Adapter>(adapter, "an adapter");
        ri::require(states, "states");
        ri::require(targets, "targets");
        if (n == 0) ri::fail(RI_INVALID, "a regression step needs at least one state");
        const int64_t width = model.params().n_in;
        const int64_t out = int64_t(model.params().n_tokens) * model.params().n_embd;
        ri::require_finite(states, n * size_t(width), "states");
        ri::require_finite(targets, n * size_t(out), "targets");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        ri::Graph graph(model.engine(), true);
        ri::Var soft = model.soft_tokens(graph, graph.constant(graph.input(GGML_TYPE_F32, states, width, int64_t(n))));
        ri::Var error =
            graph.mean_squared_error(soft, graph.constant(graph.input(GGML_TYPE_F32, targets, out, int64_t(n))));
        graph.backward(error);
        graph.run();
        if (loss) *loss = graph.scalar(error.value);
    });
}

} // extern "C"
