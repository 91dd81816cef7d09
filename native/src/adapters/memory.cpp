// memory: a hidden layer attends to entries by their keys (Sukhbaatar et al. 2015, arXiv
// 1503.08895). Soft tokens = for each of the K tokens turn·Σ entries·softmax(keys·GELU(w1·state +
// b1) + key_bias), plus bias.
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    const int64_t out = int64_t(p.n_tokens) * p.n_embd;
    // Once the keys are learned, one entry fits best.
    return {{"w1", {p.n_hidden, p.n_in}, false, RI_ROLE_MATRIX, spread(p.n_in)},
            {"b1", {p.n_hidden}, false, RI_ROLE_BIAS},
            {"keys", {p.n_entries, p.n_hidden}, false, RI_ROLE_MATRIX, spread(p.n_hidden), true},
            {"key_bias", {p.n_entries}, false, RI_ROLE_BIAS, {}, true},
            {"entries", {out, p.n_entries}, false, RI_ROLE_ITEMS, {RI_INITIAL_NORMAL, p.rms}},
            {"turn", {p.n_embd, p.n_embd}, false, RI_ROLE_MATRIX, {RI_INITIAL_IDENTITY}},
            {"bias", {out}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    Var hidden = gelu(g, linear(g, a.use(g, "w1"), states, a.use(g, "b1")));
    Var scores = linear(g, a.use(g, "keys"), hidden, a.use(g, "key_bias"));
    return turn_and_shift(g, a, linear(g, a.use(g, "entries"), softmax(g, scores, nullptr, 1), {}));
}

extern const AdapterKind memory_adapter = {"memory", N_HIDDEN + N_ENTRIES, layout, soft_tokens};

} // namespace ri
