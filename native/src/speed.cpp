// How fast this engine multiplies: by frozen matrices, as training does, and at most.
#include "graph/losses.h"
#include "graph/operations.h"
#include "kernels/packed_matrix.h"

#include <atomic>
#include <chrono>

namespace ri {

namespace {

struct Sizes {
    int64_t n_in, n_out;
};
// Those of a small LLM's feed-forward layers, which take most of a training step, with as many rows
// as keep the engine busy for longer than it takes to start, from the least on.
constexpr Sizes small_llm = {576, 3072};
constexpr int64_t least_rows = 256, most_rows = 16384;
constexpr Sizes large = {4096, 4096}; // and 8192 rows: enough for a GPU to reach its peak
constexpr int64_t large_rows = 8192;
constexpr int64_t copied = int64_t(256) << 20; // bytes that no cache holds
constexpr double long_enough = 5e-4;           // seconds
constexpr double long_run = 5e-3;              // in which starting the threads does not count

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
std::function<void()> prepare(Engine &engine, ri_precision precision, Sizes sizes, int64_t rows) {
    const auto [n_in, n_out] = sizes;
    if (const KernelSet *set = engine.kernels()) {
        struct Operands {
            kernels::PackedMatrix matrix;
            std::vector<float> x, y;
        };
        auto operands =
            std::make_shared<Operands>(Operands{{*set, kernels::weights_of(precision), n_out, n_in}, {}, {}});
        operands->x = numbers(rows * n_in);
        operands->y.resize(size_t(rows * n_out));
        for (int64_t out = 0; out < sizes.n_out; ++out) operands->matrix.set_row(out, operands->x.data());
        return [&engine, operands, rows] {
            engine.parallel([&](int ith, int nth) {
                operands->matrix.multiply(operands->x.data(), rows, operands->y.data(), ith, nth);
            });
        };
    }
    // The operands lie where the engine computes: bringing them there is no part of a product.
    struct Product {
        ggml_context_ptr ctx{ggml_init({2 * ggml_tensor_overhead(), nullptr, true})};
        ggml_backend_buffer_ptr buffer;
        Graph graph;
        explicit Product(Engine &engine) : graph(engine, false, Graph::Life::kept) {}
    };
    auto product = std::make_shared<Product>(engine);
    ggml_context *ctx = product->ctx.get();
    if (!ctx) throw std::bad_alloc();
    const bool bf16 = precision == RI_BF16;
    ggml_tensor *weight = ggml_new_tensor_2d(ctx, bf16 ? GGML_TYPE_BF16 : GGML_TYPE_F32, n_in, n_out);
    ggml_tensor *x = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_in, rows);
    product->buffer.reset(ggml_backend_alloc_ctx_tensors(ctx, engine.backend()));
    if (!product->buffer) fail(RI_MEMORY, "no memory to measure the speed of products in");
    const std::vector<float> matrix = numbers(n_in * n_out), input = numbers(n_in * rows);
    if (bf16) {
        std::vector<ggml_bf16_t> rounded(matrix.size());
        ggml_fp32_to_bf16_row(matrix.data(), rounded.data(), n_in * n_out);
        ggml_backend_tensor_set(weight, rounded.data(), 0, ggml_nbytes(weight));
    } else {
        ggml_backend_tensor_set(weight, matrix.data(), 0, ggml_nbytes(weight));
    }
    ggml_backend_tensor_set(x, input.data(), 0, ggml_nbytes(x));
    product->graph.output(ggml_mul_mat(product->graph.ctx(), weight, x));
    return [product] { product->graph.run(); };
}

// The shortest of some runs, the first of which has been made: a run may be interrupted.
double shortest(const std::function<void()> &work) {
    double best = seconds_of(work), spent = best;
    for (int n = 0; n < 3 || spent < 0.1; ++n) {
        const double seconds = seconds_of(work);
        best = std::min(best, seconds);
        spent += seconds;
    }
    return best;
}

double flop_of(Sizes sizes, int64_t rows) { return 2.0 * double(sizes.n_in) * double(sizes.n_out) * double(rows); }

double product_speed(Engine &engine, ri_precision precision) {
    int64_t rows = least_rows;
    auto product = prepare(engine, precision, small_llm, rows);
    product(); // memory is touched, and processors wake up
    while (seconds_of(product) < long_enough && rows < most_rows) {
        rows *= 4;
        product = prepare(engine, precision, small_llm, rows);
        product();
    }
    return flop_of(small_llm, rows) / shortest(product);
}

// The speed of the kernel set's multiply-add loop on all threads of the engine; on a GPU of large
// products.
double peak(Engine &engine, ri_precision precision) {
    if (!engine.on_cpu()) {
        auto product = prepare(engine, precision, large, large_rows);
        product();
        return flop_of(large, large_rows) / shortest(product);
    }
    std::atomic<double> flop{0};  // of all threads
    std::atomic<float> result{0}; // is stored, so that the loop has to run
    auto seconds_of_rounds = [&](int64_t rounds) {
        flop = 0;
        return seconds_of([&] {
            engine.parallel([&](int, int) {
                float sum = 0;
                const double done = engine.host_kernels().multiply_adds(kernels::weights_of(precision), rounds, &sum);
                result = sum;
                for (double before = flop; !flop.compare_exchange_weak(before, before + done);) {
                }
            });
        });
    };
    int64_t rounds = 1024;
    while (seconds_of_rounds(rounds) < long_run) rounds *= 2;
    double best = seconds_of_rounds(rounds), spent = best;
    while (spent < 0.1) { // a run may be interrupted
        const double seconds = seconds_of_rounds(rounds);
        best = std::min(best, seconds);
        spent += seconds;
    }
    return flop / best;
}

// Bytes a second that a GPU reads and writes in its own memory; 0 on the CPU.
double memory_speed(Engine &engine) {
    if (engine.on_cpu()) return 0;
    ggml_context_ptr ctx(ggml_init({2 * ggml_tensor_overhead(), nullptr, true}));
    if (!ctx) throw std::bad_alloc();
    ggml_tensor *from = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_F32, copied / int64_t(sizeof(float)));
    ggml_tensor *to = ggml_dup_tensor(ctx.get(), from);
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(ctx.get(), engine.backend()));
    if (!buffer) fail(RI_MEMORY, "no memory to measure the speed of copies in");
    ggml_backend_buffer_clear(buffer.get(), 0);
    Graph graph(engine, false, Graph::Life::kept);
    graph.output(ggml_cpy(graph.ctx(), from, to));
    const auto copy = [&] { graph.run(); };
    copy();
    return 2 * double(copied) / shortest(copy);
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

extern "C" ri_status ri_engine_peak(ri_engine *engine, ri_precision precision, double *flop_per_s, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(flop_per_s, "flop_per_s");
        ri::require_precision(precision);
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        *flop_per_s = ri::peak(*engine->impl, precision);
    });
}

extern "C" ri_status ri_engine_memory_speed(ri_engine *engine, double *bytes_per_s, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(bytes_per_s, "bytes_per_s");
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        *bytes_per_s = ri::memory_speed(*engine->impl);
    });
}
