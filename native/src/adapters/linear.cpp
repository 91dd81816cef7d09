// linear: soft tokens = weight·state + bias, the paper's projection (arXiv 2310.20487, section
// 3.2).
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    const int64_t out = int64_t(p.n_tokens) * p.n_embd;
    return {{"weight", {out, p.n_in}, false, RI_ROLE_MATRIX, spread(p.n_in, p.rms)},
            {"bias", {out}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    return linear(g, a.use(g, "weight"), states, a.use(g, "bias"));
}

extern const AdapterKind linear_adapter = {"linear", NO_SIZES, layout, soft_tokens};

} // namespace ri
