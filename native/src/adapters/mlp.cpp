// mlp: soft tokens = w2·GELU(w1·state + b1) + b2, one hidden layer.
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    const int64_t out = int64_t(p.n_tokens) * p.n_embd;
    return {{"w1", {p.n_hidden, p.n_in}, false, RI_ROLE_MATRIX, spread(p.n_in)},
            {"b1", {p.n_hidden}, false, RI_ROLE_BIAS},
            {"w2", {out, p.n_hidden}, false, RI_ROLE_MATRIX, spread(p.n_hidden, p.rms / gelu_rms)},
            {"b2", {out}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    Var hidden = gelu(g, linear(g, a.use(g, "w1"), states, a.use(g, "b1")));
    return linear(g, a.use(g, "w2"), hidden, a.use(g, "b2"));
}

extern const AdapterKind mlp_adapter = {"mlp", N_HIDDEN, layout, soft_tokens};

} // namespace ri
