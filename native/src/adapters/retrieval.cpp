// retrieval: several items from one vector. Scores = keys·GELU(w1·state + b1) + key_bias; the
// n_lookups entries with the highest scores follow one after the other, best first, each as
// turn·(entry + sure·exp(score - best score)), plus bias. The tensors that score are trained in the
// warm start by a probe (probe.cpp), which is why GELU has its exact form here, and are fixed
// afterwards: the answers that a training sample gets follow the order of the lookups.
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    if (p.n_lookups > p.n_entries)
        fail(RI_INVALID, "adapter: n_lookups (%d) must be at most n_entries (%d)", p.n_lookups, p.n_entries);
    if (p.n_tokens % p.n_lookups)
        fail(RI_INVALID, "adapter: n_tokens (%d) must be a multiple of n_lookups (%d)", p.n_tokens, p.n_lookups);
    const int64_t out = int64_t(p.n_tokens) * p.n_embd, of_entry = out / p.n_lookups;
    return {{"w1", {p.n_hidden, p.n_in}, true, RI_ROLE_MATRIX, spread(p.n_in)},
            {"b1", {p.n_hidden}, true, RI_ROLE_BIAS},
            {"keys", {p.n_entries, p.n_hidden}, true, RI_ROLE_MATRIX, spread(p.n_hidden), true},
            {"key_bias", {p.n_entries}, true, RI_ROLE_BIAS, {}, true},
            {"entries", {p.n_entries, of_entry}, false, RI_ROLE_ITEMS, {RI_INITIAL_NORMAL, p.rms}, true},
            {"sure", {of_entry}},
            {"turn", {p.n_embd, p.n_embd}, false, RI_ROLE_MATRIX, {RI_INITIAL_IDENTITY}},
            {"bias", {out}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    Var hidden = gelu_erf(g, linear(g, a.use(g, "w1"), states, a.use(g, "b1")));
    ggml_tensor *scores = linear(g, a.use(g, "keys"), hidden, a.use(g, "key_bias")).value;
    const int64_t n_entries = scores->ne[0], n = scores->ne[1], n_lookups = a.params().n_lookups;
    ggml_context *ctx = g.ctx();
    ggml_tensor *best = ggml_cont(ctx, ggml_argsort_top_k(ctx, scores, int(n_lookups))); // [n_lookups, n]
    ggml_tensor *fit =
        ggml_reshape_2d(ctx, ggml_get_rows(ctx, ggml_reshape_3d(ctx, scores, 1, n_entries, n), best), n_lookups, n);
    ggml_tensor *most = ggml_cont(ctx, ggml_view_2d(ctx, fit, 1, n, fit->nb[1], 0));
    ggml_tensor *weight = ggml_exp(ctx, ggml_sub(ctx, fit, most));
    Var found = get_rows(g, a.use(g, "entries"), ggml_reshape_1d(ctx, best, n_lookups * n));
    const int64_t width = found.value->ne[0];
    Var sure =
        mul_mat(g, reshape(g, a.use(g, "sure"), 1, width), g.constant(ggml_reshape_2d(ctx, weight, 1, n_lookups * n)));
    return turn_and_shift(g, a, add(g, found, sure));
}

extern const AdapterKind retrieval_adapter = {"retrieval", N_HIDDEN + N_ENTRIES + N_LOOKUPS, layout, soft_tokens};

} // namespace ri
