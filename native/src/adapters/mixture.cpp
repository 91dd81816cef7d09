// mixture: linear, applied to a learned mixture of a history's states: the variant of the authors'
// code for recovery. An input is the states of all positions side by side, zero after the history's
// end.
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    if (p.n_in % p.n_mixed)
        fail(RI_INVALID, "adapter: n_in (%d) must be a multiple of n_mixed (%d)", p.n_in, p.n_mixed);
    const int64_t out = int64_t(p.n_tokens) * p.n_embd;
    const int64_t width = p.n_in / p.n_mixed;
    // At first a mixture of independent states has the variance of one.
    return {{"mix", {p.n_mixed}, false, RI_ROLE_OTHER, {RI_INITIAL_CONSTANT, 1 / std::sqrt(double(p.n_mixed))}},
            {"weight", {out, width}, false, RI_ROLE_MATRIX, spread(width, p.rms)},
            {"bias", {out}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    const int64_t mixed = a.params().n_mixed, width = a.params().n_in / mixed, n = states.value->ne[1];
    Var by_position = permute(g, reshape(g, states, width, mixed, n), 1, 0, 2, 3); // [n_mixed, width, n]
    Var mixture = mul_mat(g, reshape(g, a.use(g, "mix"), mixed, 1), reshape(g, by_position, mixed, width * n));
    return linear(g, a.use(g, "weight"), reshape(g, mixture, width, n), a.use(g, "bias"));
}

extern const AdapterKind mixture_adapter = {"mixture", N_MIXED, layout, soft_tokens};

} // namespace ri
