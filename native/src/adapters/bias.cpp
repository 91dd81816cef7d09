// bias: soft tokens = bias, the same for every state. It is a control (arXiv 2602.10352): it scores
// what LLM and training achieve without a state.
#include "adapters/registry.h"

namespace ri {

static std::vector<TensorSpec> layout(const ri_adapter_params &p) {
    return {{"bias", {int64_t(p.n_tokens) * p.n_embd}, false, RI_ROLE_BIAS}};
}

static Var soft_tokens(Graph &g, const Adapter &a, Var states) {
    Var bias = a.use(g, "bias");
    ggml_tensor *empty = ggml_new_tensor_2d(g.ctx(), GGML_TYPE_F32, ggml_nelements(bias.value), states.value->ne[1]);
    return add(g, g.constant(ggml_fill(g.ctx(), empty, 0.0f)), bias);
}

extern const AdapterKind bias_adapter = {"bias", NO_SIZES, layout, soft_tokens};

} // namespace ri
