// The probe: a classifier of vectors, trained to tell what can be read from them. Softmax
// regression (Alain and Bengio 2016, arXiv 1610.01644), or with one hidden layer: scores = w2
// gelu(w1 x + b1) + b2.
#include "graph/program.h"
#include "model.h"

#include <algorithm>

namespace ri {

namespace {

std::vector<TensorSpec> layout(const ri_probe_params &p) {
    auto in_range = [](const char *name, int32_t value, int32_t least, int32_t most) {
        if (value < least || value > most)
            fail(RI_INVALID, "probe: %s must be %d to %d, not %d", name, least, most, value);
    };
    in_range("n_in", p.n_in, 1, 1 << 20);
    in_range("n_hidden", p.n_hidden, 0, 1 << 20);
    in_range("n_classes", p.n_classes, 1, 1 << 28);
    const int64_t in = p.n_in, hidden = p.n_hidden, classes = p.n_classes;
    if (hidden == 0) return {{"weight", {classes, in}}, {"bias", {classes}}};
    return {{"w1", {hidden, in}}, {"b1", {hidden}}, {"w2", {classes, hidden}}, {"b2", {classes}}};
}

class Probe : public Model {
  public:
    Probe(std::shared_ptr<Engine> engine, const ri_probe_params &params)
        : Model(std::move(engine), layout(params)), params_(params) {}

    double backward(const float *inputs, const int32_t *targets, size_t n_targets, size_t n) {
        check(inputs, n);
        if (n == 0) fail(RI_INVALID, "a probe's step needs at least one input");
        if (n_targets == 0 || n_targets > size_t(INT32_MAX / params_.n_classes) / n)
            fail(RI_INVALID, "%zu targets for each of %zu inputs; give 1, or a few", n_targets, n);
        for (size_t i = 0; i < n * n_targets; ++i)
            if (targets[i] < (i % n_targets ? -1 : 0) || targets[i] >= params_.n_classes)
                fail(RI_INVALID, "target %zu is class %d; it must be 0 to %d", i, targets[i], params_.n_classes - 1);
        const Program &p = run(training_, n, inputs, targets, n_targets);
        return double(p.graph->scalar(p.result));
    }

    void scores(const float *inputs, size_t n, float *dst) {
        check(inputs, n);
        if (n == 0) return;
        const Program &p = run(scoring_, n, inputs, nullptr, 0);
        p.graph->read(p.result, dst);
    }

  private:
    // A kept graph for n inputs with so many targets each.
    struct Shape {
        size_t n, n_targets; // inputs, and targets of each
        bool operator==(const Shape &o) const { return n == o.n && n_targets == o.n_targets; }
    };
    using Program = Programs<Shape>::Program;

    void check(const float *inputs, size_t n) const {
        if (n > size_t(INT32_MAX / std::max({params_.n_classes, params_.n_hidden, params_.n_in})))
            fail(RI_INVALID, "%zu inputs are too many for one call; give fewer", n);
        require_finite(inputs, n * size_t(params_.n_in), "inputs");
    }

    Var scores(Graph &g, int64_t n) const {
        const int64_t n_in = params_.n_in;
        auto fill = [=](void *dst) { std::copy(inputs_, inputs_ + n_in * n, static_cast<float *>(dst)); };
        Var x = g.constant(g.input(GGML_TYPE_F32, fill, n_in, n));
        if (params_.n_hidden == 0) return linear(g, use(g, "weight"), x, use(g, "bias"));
        Var hidden = gelu_erf(g, linear(g, use(g, "w1"), x, use(g, "b1")));
        return linear(g, use(g, "w2"), hidden, use(g, "b2"));
    }

    // Over all targets that there are; an input's scores are repeated for each of its targets.
    Var mean_cross_entropy(Graph &g, Var scores, int64_t n_inputs, int64_t n_targets) const {
        const int32_t n_classes = params_.n_classes;
        const int64_t n = n_inputs * n_targets;
        if (n_targets > 1) {
            std::vector<int32_t> input(size_t(n), 0);
            for (int64_t i = 0; i < n; ++i) input[size_t(i)] = int32_t(i / n_targets);
            scores = get_rows(g, scores, g.input(std::move(input), n));
        }
        auto targets = [=](void *dst) {
            for (int64_t i = 0; i < n; ++i)
                static_cast<int32_t *>(dst)[i] = int32_t(i * n_classes) + std::max(targets_[i], 0);
        };
        auto weights = [=](void *dst) {
            const auto n_none = std::count(targets_, targets_ + n, -1);
            for (int64_t i = 0; i < n; ++i)
                static_cast<float *>(dst)[i] = targets_[i] < 0 ? 0.0f : 1.0f / float(n - n_none);
        };
        return cross_entropy(g, scores, g.input(GGML_TYPE_I32, targets, n), g.input(GGML_TYPE_F32, weights, n));
    }

    // Runs the graph for n inputs: the last one of its kind if it fits, else a new one.
    const Program &run(Programs<Shape> &programs, size_t n, const float *inputs, const int32_t *targets,
                       size_t n_targets) {
        Program &program = programs.get(engine(), targets != nullptr, {n, n_targets}, [&](Graph &graph) {
            const Var all = scores(graph, int64_t(n));
            return targets ? mean_cross_entropy(graph, all, int64_t(n), int64_t(n_targets)) : all;
        });
        inputs_ = inputs;
        targets_ = targets;
        program.graph->run();
        return program;
    }

    ri_probe_params params_;
    const float *inputs_ = nullptr; // of the call under way, as is the next
    const int32_t *targets_ = nullptr;
    Programs<Shape> training_, scoring_;
};

} // namespace

} // namespace ri

extern "C" {

ri_probe_params ri_probe_params_default(void) { return {}; }

ri_status ri_probe_create(ri_engine *engine, const ri_probe_params *params, ri_model **out, ri_error *err) {
    return ri::guard(err, [&] { ri::create_model<ri::Probe>(engine, params, out); });
}

ri_status ri_probe_backward(ri_model *probe, const float *inputs, const int32_t *targets, size_t n_targets, size_t n,
                            double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Probe>(probe, "a probe");
        ri::require(inputs, "inputs");
        ri::require(targets, "targets");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        const double mean = model.backward(inputs, targets, n_targets, n);
        if (loss) *loss = mean;
    });
}

ri_status ri_probe_scores(ri_model *probe, const float *inputs, size_t n, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Probe>(probe, "a probe");
        if (n == 0) return;
        ri::require(inputs, "inputs");
        ri::require(dst, "dst");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.scores(inputs, n, dst);
    });
}

} // extern "C"
