// What training through an LLM takes, from the passes themselves: they are built as a training step
// builds them, of weights without memory, and measured instead of run.
#include "llm.h"

namespace ri {

namespace {

// Memory of the largest pass: of the prefix, or of a micro-batch with its gradient.
size_t pass_bytes(const Llm &llm, const Prefix &prefix, const Adapter &adapter, const ri_llm_estimate_params &p) {
    const auto n = size_t(p.n_positions), soft = size_t(p.n_states) * size_t(p.adapter->n_tokens);
    if (p.n_states < 1 || soft > n || p.n_targets < 1 || size_t(p.n_targets) > n)
        fail(RI_INVALID, "%d states and %d targets do not fit %d positions", p.n_states, p.n_targets, p.n_positions);
    std::vector<int32_t> tokens, targets;
    for (int32_t sample = 0; sample < p.n_samples; ++sample)
        for (size_t at = 0; at < n; ++at) {
            tokens.push_back(at < soft ? -1 - int32_t(at) : 0);
            targets.push_back(at < n - size_t(p.n_targets) ? -1 : 0);
        }
    const std::vector<int32_t> states_of_each(size_t(p.n_samples), p.n_states);
    const std::vector<float> states(size_t(p.n_samples) * size_t(p.n_states) * size_t(p.adapter->n_in));
    const ri_align_batch batch = {size_t(p.n_samples), n, states_of_each.data(), tokens.data(), targets.data(),
                                  states.data(),       1};
    llm.check(prefix, adapter, batch, n);
    const size_t step = llm.gradient_bytes(prefix, adapter, batch);
    if (prefix.n == 0) return step;
    Graph start(llm.engine(), false);
    llm.prefix_pass(start, prefix, std::vector<int32_t>(size_t(prefix.n)).data());
    return std::max(step, start.n_bytes());
}

} // namespace

} // namespace ri

extern "C" {

ri_status ri_llm_layout(const ri_llm_sizes *sizes, ri_tensor_info *dst, size_t capacity, size_t *count, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(sizes, "sizes");
        ri::require(count, "count");
        if (capacity > 0) ri::require(dst, "dst");
        size_t n = 0;
        for (const ri::TensorShape &t : ri::all_tensors(ri::llm_shape(*sizes))) {
            if (n++ >= capacity) continue;
            ri::TensorSpec spec{t.name, {t.n_in}, true, RI_ROLE_NORM_SCALE, {RI_INITIAL_ONE, 0}};
            if (t.n_out > 1) { // of LLMs before training
                spec.shape = {t.n_out, t.n_in};
                spec.role = RI_ROLE_MATRIX;
                spec.initial = {RI_INITIAL_NORMAL, 0.02};
            } else if (t.name.compare(t.name.rfind('.'), std::string::npos, ".bias") == 0) {
                spec.role = RI_ROLE_BIAS;
                spec.initial = {RI_INITIAL_ZERO, 0};
            }
            dst[n - 1] = ri::describe(spec);
        }
        *count = n;
    });
}

ri_llm_estimate_params ri_llm_estimate_params_default(void) {
    ri_llm_estimate_params p{};
    p.precision = RI_BF16;
    p.n_samples = p.n_positions = p.n_states = p.n_targets = 1;
    return p;
}

ri_status ri_llm_estimate(ri_engine *engine, const ri_gguf *gguf, const ri_llm_estimate_params *params,
                          ri_llm_needs *out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(gguf, "gguf");
        ri::require(params, "params");
        ri::require(out, "out");
        ri::require_precision(params->precision);
        if (params->n_prefix < 0 || params->n_samples < 1 || params->n_positions < 1)
            ri::fail(RI_INVALID, "a prefix of %d tokens, %d samples and %d positions cannot be estimated",
                     params->n_prefix, params->n_samples, params->n_positions);
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        const ri::Llm llm(engine->impl, gguf->impl, params->precision, ri::Memory::counted);
        const auto prefix = llm.empty_prefix(size_t(params->n_prefix), ri::Memory::counted);
        const ri::Llm::Products products = llm.products();
        ri_llm_needs needs{};
        needs.n_everywhere = products.everywhere;
        needs.n_at_targets = products.at_targets;
        needs.weights_bytes = int64_t(llm.weights_bytes());
        if (prefix->n) needs.prefix_bytes = int64_t(engine->impl->n_bytes(prefix->ctx.get()));
        if (params->adapter) {
            const ri::Adapter adapter(engine->impl, *params->adapter, ri::Memory::counted);
            needs.adapter_bytes = int64_t(adapter.n_bytes());
            needs.pass_bytes = int64_t(ri::pass_bytes(llm, *prefix, adapter, *params));
        }
        *out = needs;
    });
}

} // extern "C"
