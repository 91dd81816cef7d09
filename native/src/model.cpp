#include "model.h"

#include <cmath>
#include <limits>
#include <numeric>

namespace ri {

Model::Model(std::shared_ptr<Engine> engine, std::vector<TensorSpec> specs, Memory memory)
    : engine_(std::move(engine)), number_(engine_->next_number()), specs_(std::move(specs)) {
    for (Placed *placed : {&values_, &training_}) {
        placed->ctx.reset(ggml_init({ggml_tensor_overhead() * specs_.size() * 3, nullptr, true}));
        if (!placed->ctx) throw std::bad_alloc();
    }
    for (const TensorSpec &spec : specs_) {
        int64_t ne[GGML_MAX_DIMS];
        const int n_dims = int(spec.shape.size());
        for (int i = 0; i < n_dims; ++i) ne[i] = spec.shape[n_dims - 1 - i];
        std::array<ggml_tensor *, 4> slots;
        for (int slot = RI_VALUE; slot <= RI_MOMENT2; ++slot)
            slots[slot] =
                ggml_new_tensor((slot == RI_VALUE ? values_ : training_).ctx.get(), GGML_TYPE_F32, n_dims, ne);
        ggml_set_param(slots[RI_VALUE]);
        tensors_.push_back(slots);
    }
    place(values_, memory);
    if (memory == Memory::counted) place(training_, memory);
}

void Model::place(Placed &tensors, Memory memory) const {
    tensors.buffer = engine_->place(tensors.ctx.get(), memory);
    if (!tensors.buffer)
        fail(RI_MEMORY, "no memory for %zu bytes of a model; make it smaller", engine_->n_bytes(tensors.ctx.get()));
    ggml_backend_buffer_clear(tensors.buffer.get(), 0);
}

void Model::prepare_training() const {
    if (!training_.buffer) place(training_, Memory::taken);
}

Var Model::use(Graph &graph, const std::string &name) const {
    for (size_t i = 0; i < specs_.size(); ++i)
        if (specs_[i].name == name) {
            if (specs_[i].fixed) return graph.constant(tensors_[i][RI_VALUE]);
            if (graph.has_gradients()) prepare_training();
            return graph.parameter(tensors_[i][RI_VALUE], tensors_[i][RI_GRADIENT]);
        }
    fail(RI_INTERNAL, "the model has no tensor %s", name.c_str());
}

void Model::zero_gradients() {
    for (auto &slots : tensors_) ggml_backend_tensor_memset(slots[RI_GRADIENT], 0, 0, ggml_nbytes(slots[RI_GRADIENT]));
}

std::vector<kernels::Trained> Model::trained(float decay) const {
    std::vector<kernels::Trained> all;
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (specs_[i].fixed) continue;
        auto data = [&](ri_slot slot) { return static_cast<float *>(tensors_[i][slot]->data); };
        all.push_back({data(RI_VALUE), data(RI_GRADIENT), data(RI_MOMENT1), data(RI_MOMENT2),
                       ggml_nelements(tensors_[i][RI_VALUE]), specs_[i].shape.size() > 1 ? decay : 0.0f});
    }
    return all;
}

float Model::require_norm(float norm) {
    if (!std::isfinite(norm)) fail(RI_NUMERIC, "the gradient's norm is not finite; the step is skipped");
    return norm;
}

namespace {

float correction(float beta, int64_t step) { return 1.0f / (1.0f - std::pow(beta, float(step))); }

} // namespace

float Model::update(const ri_adamw &params) {
    prepare_training();
    const KernelSet *k = engine_->kernels();
    if (!k) {
        set(params);
        auto &program = updates_.get(*engine_, false, 0, [&](Graph &g) { return g.constant(add_update(g)); });
        program.graph->run();
        return require_norm(program.graph->scalar(program.result));
    }
    const std::vector<kernels::Trained> all = trained(params.weight_decay);
    std::vector<double> sums(size_t(k->n_pieces(all.data(), all.size())));
    engine_->parallel([&](int ith, int nth) { k->squares(all.data(), all.size(), sums.data(), ith, nth); });
    const auto norm = float(std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0)));
    if (!std::isfinite(norm)) zero_gradients();
    require_norm(norm);
    const kernels::AdamW settings = {params.learning_rate,
                                     params.beta1,
                                     params.beta2,
                                     params.epsilon,
                                     correction(params.beta1, params.step),
                                     correction(params.beta2, params.step),
                                     params.max_norm > 0 && norm > params.max_norm ? params.max_norm / norm : 1.0f};
    engine_->parallel([&](int ith, int nth) { k->adamw(all.data(), all.size(), settings, ith, nth); });
    return norm;
}

ggml_tensor *Model::add_update(Graph &g) const {
    ggml_context *ctx = g.ctx();
    constexpr float largest = std::numeric_limits<float>::max();
    ggml_tensor *squares = nullptr;
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (specs_[i].fixed) continue;
        ggml_tensor *sum = ggml_sum(ctx, ggml_sqr(ctx, g.gradient(tensors_[i][RI_GRADIENT])));
        squares = squares ? ggml_add(ctx, squares, sum) : sum;
    }
    ggml_tensor *norm = ggml_sqrt(ctx, squares);
    g.output(norm);
    // 1 if the norm is finite, else 0. Then nothing may change, and what is not finite must not
    // spread.
    ggml_tensor *sound = ggml_step(ctx, ggml_scale_bias(ctx, norm, -1.0f, largest));
    ggml_tensor *limit = g.input(
        GGML_TYPE_F32,
        [this](void *dst) { *static_cast<float *>(dst) = settings_.max_norm > 0 ? settings_.max_norm : largest; }, 1);
    // limit / max(norm, limit)
    ggml_tensor *clip = ggml_div(ctx, limit, ggml_add(ctx, limit, ggml_relu(ctx, ggml_sub(ctx, norm, limit))));
    ggml_tensor *factor = ggml_mul(ctx, clip, sound);
    auto settings = [&](bool decays) {
        auto fill = [this, decays](void *dst) {
            const ri_adamw &s = settings_;
            const float values[] = {s.learning_rate,
                                    s.beta1,
                                    s.beta2,
                                    s.epsilon,
                                    decays ? s.weight_decay : 0,
                                    correction(s.beta1, s.step),
                                    correction(s.beta2, s.step)};
            std::copy(std::begin(values), std::end(values), static_cast<float *>(dst));
        };
        ggml_tensor *rest = g.input(std::vector<float>{0, 1, 1, 1, 0, 1, 1}, 7); // a step that changes nothing
        return ggml_add(ctx, ggml_mul(ctx, g.input(GGML_TYPE_F32, fill, 7), sound),
                        ggml_mul(ctx, rest, ggml_scale_bias(ctx, sound, -1.0f, 1.0f)));
    };
    ggml_tensor *decayed = settings(true), *plain = settings(false);
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (specs_[i].fixed) continue;
        const auto &slots = tensors_[i];
        ggml_tensor *gradient = g.gradient(slots[RI_GRADIENT]);
        ggml_tensor *clipped = ggml_mul(ctx, ggml_clamp(ctx, gradient, -largest, largest), factor);
        g.output(ggml_opt_step_adamw(ctx, slots[RI_VALUE], clipped, slots[RI_MOMENT1], slots[RI_MOMENT2],
                                     specs_[i].shape.size() > 1 ? decayed : plain));
        g.output(ggml_fill_inplace(ctx, gradient, 0.0f));
    }
    return norm;
}

ri_tensor_info describe(const TensorSpec &spec) {
    ri_tensor_info info{};
    snprintf(info.name, sizeof info.name, "%s", spec.name.c_str());
    info.n_dims = int32_t(spec.shape.size());
    info.n_elements = 1;
    info.role = spec.role;
    info.initial = spec.initial.kind;
    info.initial_scale = spec.initial.scale;
    info.item_rows = spec.item_rows;
    info.trainable = !spec.fixed;
    for (int i = 0; i < 4; ++i) {
        info.shape[i] = i < info.n_dims ? spec.shape[size_t(i)] : 1;
        info.n_elements *= info.shape[i];
    }
    return info;
}

void require_settings(const ri_adamw *params) {
    require(params, "params");
    if (params->step < 1) fail(RI_INVALID, "AdamW's step starts at 1, not %lld", static_cast<long long>(params->step));
    const float settings[] = {params->learning_rate, params->beta1,        params->beta2,
                              params->epsilon,       params->weight_decay, params->max_norm};
    require_finite(settings, 6, "AdamW's settings");
    if (!(params->beta1 >= 0 && params->beta1 < 1 && params->beta2 >= 0 && params->beta2 < 1 &&
          params->learning_rate >= 0 && params->epsilon > 0))
        fail(RI_INVALID, "AdamW needs learning_rate >= 0, 0 <= beta < 1 and epsilon > 0");
}

void require_finite(const float *x, size_t n, const char *what) {
    for (size_t i = 0; i < n; ++i)
        if (!std::isfinite(x[i]))
            fail(RI_NUMERIC, "%s: number %zu is %s", what, i, std::isnan(x[i]) ? "NaN" : "infinite");
}

} // namespace ri

extern "C" {

void ri_model_free(ri_model *model) { delete model; }

size_t ri_model_n_tensors(const ri_model *model) { return model ? model->impl->n_tensors() : 0; }

ri_status ri_model_tensor(const ri_model *model, size_t index, ri_tensor_info *out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(model, "model");
        ri::require(out, "out");
        if (index >= model->impl->n_tensors())
            ri::fail(RI_INVALID, "tensor %zu of a model with %zu", index, model->impl->n_tensors());
        *out = ri::describe(model->impl->spec(index));
    });
}

namespace {

ggml_tensor *slot_of(ri_model *model, size_t index, const ri_slot &slot, size_t n) {
    ri::require(model, "model");
    if (index >= model->impl->n_tensors())
        ri::fail(RI_INVALID, "tensor %zu of a model with %zu", index, model->impl->n_tensors());
    if (ri::number_of(slot) < RI_VALUE || ri::number_of(slot) > RI_MOMENT2)
        ri::fail(RI_INVALID, "there is no slot %d", ri::number_of(slot));
    ggml_tensor *tensor = model->impl->tensor(index, slot);
    if (n != size_t(ggml_nelements(tensor)))
        ri::fail(RI_INVALID, "tensor %s has %lld numbers, not %zu", model->impl->spec(index).name.c_str(),
                 static_cast<long long>(ggml_nelements(tensor)), n);
    return tensor;
}

} // namespace

ri_status ri_model_read(ri_model *model, size_t index, ri_slot slot, float *dst, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(dst, "dst");
        const ggml_tensor *tensor = slot_of(model, index, slot, n);
        std::lock_guard<std::mutex> hold(model->impl->engine().lock());
        if (slot != RI_VALUE) model->impl->prepare_training();
        ggml_backend_tensor_get(tensor, dst, 0, ggml_nbytes(tensor));
    });
}

ri_status ri_model_write(ri_model *model, size_t index, ri_slot slot, const float *src, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(src, "src");
        ggml_tensor *tensor = slot_of(model, index, slot, n);
        ri::require_finite(src, n, model->impl->spec(index).name.c_str());
        std::lock_guard<std::mutex> hold(model->impl->engine().lock());
        if (slot != RI_VALUE) model->impl->prepare_training();
        ggml_backend_tensor_set(tensor, src, 0, ggml_nbytes(tensor));
    });
}

ri_adamw ri_adamw_default(void) {
    ri_adamw p{};
    p.beta1 = 0.9f;
    p.beta2 = 0.999f;
    p.epsilon = 1e-8f;
    return p;
}

ri_status ri_model_update(ri_model *model, const ri_adamw *params, float *grad_norm, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(model, "model");
        ri::require_settings(params);
        std::lock_guard<std::mutex> hold(model->impl->engine().lock());
        const float norm = model->impl->update(*params);
        if (grad_norm) *grad_norm = norm;
    });
}

} // extern "C"
