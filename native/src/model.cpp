#include "model.h"

#include <cmath>

namespace ri {

Model::Model(std::shared_ptr<Engine> engine, std::vector<TensorSpec> specs, Memory memory)
    : engine_(std::move(engine)), specs_(std::move(specs)) {
    ctx_.reset(ggml_init({ggml_tensor_overhead() * specs_.size() * 4, nullptr, true}));
    if (!ctx_) throw std::bad_alloc();
    for (const TensorSpec &spec : specs_) {
        int64_t ne[GGML_MAX_DIMS];
        const int n_dims = int(spec.shape.size());
        for (int i = 0; i < n_dims; ++i) ne[i] = spec.shape[n_dims - 1 - i];
        std::array<ggml_tensor *, 4> slots;
        for (ggml_tensor *&slot : slots) slot = ggml_new_tensor(ctx_.get(), GGML_TYPE_F32, n_dims, ne);
        ggml_set_param(slots[RI_VALUE]);
        tensors_.push_back(slots);
    }
    buffer_ = engine_->place(ctx_.get(), memory);
    if (!buffer_) fail(RI_MEMORY, "no memory for a model of %zu bytes; make it smaller", n_bytes());
    ggml_backend_buffer_clear(buffer_.get(), 0);
}

Var Model::use(Graph &graph, const std::string &name) const {
    for (size_t i = 0; i < specs_.size(); ++i)
        if (specs_[i].name == name)
            return specs_[i].fixed ? graph.constant(tensors_[i][RI_VALUE])
                                   : graph.parameter(tensors_[i][RI_VALUE], tensors_[i][RI_GRADIENT]);
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

float Model::gradient_norm() {
    double total = 0;
    if (const KernelSet *k = engine_->kernels()) {
        const std::vector<kernels::Trained> all = trained(0);
        std::vector<double> sums(size_t(k->n_pieces(all.data(), all.size())));
        engine_->parallel([&](int ith, int nth) { k->squares(all.data(), all.size(), sums.data(), ith, nth); });
        for (double sum : sums) total += sum;
        return float(std::sqrt(total));
    }
    Graph graph(*engine_, false);
    std::vector<ggml_tensor *> sums;
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (specs_[i].fixed) continue;
        sums.push_back(ggml_sum(graph.ctx(), ggml_sqr(graph.ctx(), tensors_[i][RI_GRADIENT])));
        graph.output(sums.back());
    }
    graph.run();
    for (ggml_tensor *sum : sums) total += double(graph.scalar(sum));
    return float(std::sqrt(total));
}

float Model::update(const ri_adamw &params) {
    const float norm = gradient_norm();
    if (!std::isfinite(norm)) {
        zero_gradients();
        fail(RI_NUMERIC, "the gradient's norm is not finite; the step is skipped");
    }
    const float clip = params.max_norm > 0 && norm > params.max_norm ? params.max_norm / norm : 1.0f;
    const float correction1 = 1.0f / (1.0f - std::pow(params.beta1, float(params.step)));
    const float correction2 = 1.0f / (1.0f - std::pow(params.beta2, float(params.step)));
    if (const KernelSet *k = engine_->kernels()) {
        const std::vector<kernels::Trained> all = trained(params.weight_decay);
        const kernels::AdamW settings = {params.learning_rate, params.beta1, params.beta2, params.epsilon,
                                         correction1,          correction2,  clip};
        engine_->parallel([&](int ith, int nth) { k->adamw(all.data(), all.size(), settings, ith, nth); });
        return norm;
    }

    Graph graph(*engine_, false);
    ggml_tensor *factor = graph.input(std::vector<float>{clip}, 1);
    auto settings = [&](float decay) {
        return graph.input(std::vector<float>{params.learning_rate, params.beta1, params.beta2, params.epsilon, decay,
                                              correction1, correction2},
                           7);
    };
    ggml_tensor *decayed = settings(params.weight_decay), *plain = settings(0.0f);
    for (size_t i = 0; i < tensors_.size(); ++i) {
        if (specs_[i].fixed) continue;
        auto &slots = tensors_[i];
        ggml_tensor *gradient = ggml_mul(graph.ctx(), slots[RI_GRADIENT], factor);
        ggml_tensor *step = ggml_opt_step_adamw(graph.ctx(), slots[RI_VALUE], gradient, slots[RI_MOMENT1],
                                                slots[RI_MOMENT2], specs_[i].shape.size() > 1 ? decayed : plain);
        graph.output(step);
    }
    graph.run();
    zero_gradients();
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
        ggml_backend_tensor_get(tensor, dst, 0, ggml_nbytes(tensor));
    });
}

ri_status ri_model_write(ri_model *model, size_t index, ri_slot slot, const float *src, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(src, "src");
        ggml_tensor *tensor = slot_of(model, index, slot, n);
        ri::require_finite(src, n, model->impl->spec(index).name.c_str());
        std::lock_guard<std::mutex> hold(model->impl->engine().lock());
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
        ri::require(params, "params");
        if (params->step < 1)
            ri::fail(RI_INVALID, "AdamW's step starts at 1, not %lld", static_cast<long long>(params->step));
        const float settings[] = {params->learning_rate, params->beta1,        params->beta2,
                                  params->epsilon,       params->weight_decay, params->max_norm};
        ri::require_finite(settings, 6, "AdamW's settings");
        if (!(params->beta1 >= 0 && params->beta1 < 1 && params->beta2 >= 0 && params->beta2 < 1 &&
              params->learning_rate >= 0 && params->epsilon > 0))
            ri::fail(RI_INVALID, "AdamW needs learning_rate >= 0, 0 <= beta < 1 and epsilon > 0");
        std::lock_guard<std::mutex> hold(model->impl->engine().lock());
        const float norm = model->impl->update(*params);
        if (grad_norm) *grad_norm = norm;
    });
}

} // extern "C"
