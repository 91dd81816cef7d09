// How fast this engine multiplies by frozen matrices: the measure that the speed of training is held against.
#include "diff.h"
#include "kernels.h"

#include <chrono>

namespace ri {

namespace {

// Of the sizes of a small LLaMA's feed-forward layers, which take most of a training step.
constexpr int64_t n_in = 576, n_out = 3072, rows = 256;

double seconds_of(const std::function<void()> &work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::vector<float> numbers(int64_t n) {
    std::vector<float> x(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) x[size_t(i)] = float(i % 17 - 8) / 8;
    return x;
}

// One product, made ready to be run again and again.
std::function<void()> prepare(Engine &engine, ri_precision precision) {
    if (precision == RI_BF16 && engine.packed_kernel()) {
        struct Operands {
            kernels::PackedMatrix matrix{n_out, n_in};
            std::vector<float> x = numbers(rows * n_in), y = std::vector<float>(size_t(rows * n_out));
        };
        auto operands = std::make_shared<Operands>();
        for (int64_t out = 0; out < n_out; ++out) operands->matrix.set_row(out, operands->x.data());
        return [&engine, operands] {
            engine.parallel([&](int ith, int nth) {
                operands->matrix.multiply(operands->x.data(), rows, operands->y.data(), ith, nth);
            });
        };
    }
    auto graph = std::make_shared<Graph>(engine, false, Graph::Life::kept);
    ggml_tensor *weight;
    if (precision == RI_F32) {
        weight = graph->input(numbers(n_in * n_out), n_in, n_out);
    } else {
        auto fill = [](void *dst) {
            ggml_fp32_to_bf16_row(numbers(n_in * n_out).data(), static_cast<ggml_bf16_t *>(dst), n_in * n_out);
        };
        weight = graph->input(GGML_TYPE_BF16, fill, n_in, n_out);
    }
    graph->output(ggml_mul_mat(graph->ctx(), weight, graph->input(numbers(rows * n_in), n_in, rows)));
    return [graph] { graph->run(); };
}

double product_speed(Engine &engine, ri_precision precision) {
    const auto product = prepare(engine, precision);
    product(); // memory is touched, and processors wake up
    double best = seconds_of(product), spent = 0;
    for (int n = 0; n < 3 || spent < 0.1; ++n) {
        const double seconds = seconds_of(product);
        best = std::min(best, seconds);
        spent += seconds;
    }
    return 2.0 * double(n_in) * double(n_out) * double(rows) / best;
}

} // namespace

} // namespace ri

extern "C" ri_status ri_engine_product_speed(ri_engine *engine, ri_precision precision, double *flop_per_s,
                                             ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(flop_per_s, "flop_per_s");
        ri::require_precision(precision);
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        *flop_per_s = ri::product_speed(*engine->impl, precision);
    });
}
