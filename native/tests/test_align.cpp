// Training through a frozen LLM. References: llama.cpp for logits and greedy generation, central
// differences for gradients, float32 for bfloat16, and the same numbers asked for in another way.
#include "support/align.h"

#include "gguf.h"
#include "kernels/kernel_set.h"
#include "llm/llm.h"
#include "support/architectures.h"
#include "support/made_up_gpu.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include <cstdlib>
#include <cstring>
#include <functional>

namespace {

double largest_difference(const std::vector<float> &a, const std::vector<float> &b) {
    double largest = a.size() == b.size() ? 0 : INFINITY;
    for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
        const double difference = std::abs(double(a[i]) - b[i]);
        if (!(difference <= largest)) largest = difference; // NaN stays
    }
    return largest;
}

double cosine(const std::vector<float> &a, const std::vector<float> &b) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        ab += double(a[i]) * b[i];
        aa += double(a[i]) * a[i];
        bb += double(b[i]) * b[i];
    }
    return ab / std::sqrt(aa * bb);
}

// llama.cpp looks GELU up in a table of half-precision numbers, which moves logits by a few
// thousandths. Wherever it has done so, this puts the formula's numbers in their place (Hendrycks
// and Gimpel 2016, arXiv 1606.08415).
bool compute_gelu(ggml_tensor *node, bool ask, void *) {
    if (node->op != GGML_OP_GLU || ggml_get_glu_op(node) != GGML_GLU_OP_GEGLU) return false;
    if (ask) return true;
    const auto *gate = static_cast<const float *>(node->src[0]->data),
               *up = static_cast<const float *>(node->src[1]->data);
    auto *out = static_cast<float *>(node->data);
    for (int64_t i = 0; i < ggml_nelements(node); ++i) {
        const double x = double(gate[i]);
        out[i] = float(x / 2 * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))) * double(up[i]));
    }
    return true;
}

// llama.cpp with its own kernels, keys and values in float32, and exact activations.
class LlamaCpp {
  public:
    LlamaCpp(const std::string &path, const ri_gguf_info &info) : info_(info) {
        ggml_backend_dev_t none = nullptr;
        llama_model_params model_params = llama_model_default_params();
        model_params.devices = &none;
        model_.reset(llama_model_load_from_file(path.c_str(), model_params));
        llama_context_params params = llama_context_default_params();
        params.n_ctx = params.n_batch = params.n_ubatch = 32;
        params.type_k = params.type_v = GGML_TYPE_F32;
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
        params.n_threads = params.n_threads_batch = 1;
        params.cb_eval = compute_gelu;
        context_.reset(llama_init_from_model(model_.get(), params));
    }
    explicit LlamaCpp(const AlignFixture &f) : LlamaCpp(f.path, f.info) {}

    // Logits after each of the rows [n, E].
    std::vector<float> logits(const std::vector<float> &rows) const {
        const int32_t E = info_.n_embd, n = int32_t(rows.size()) / E;
        llama_memory_clear(llama_get_memory(context_.get()), true);
        llama_batch batch = llama_batch_init(n, E, 1);
        batch.n_tokens = n;
        std::copy(rows.begin(), rows.end(), batch.embd);
        for (int32_t i = 0; i < n; ++i) {
            batch.pos[i] = i;
            batch.n_seq_id[i] = batch.logits[i] = 1;
            batch.seq_id[i][0] = 0;
        }
        std::vector<float> all;
        if (CHECK(llama_decode(context_.get(), batch) == 0))
            all.assign(llama_get_logits(context_.get()), llama_get_logits(context_.get()) + n * info_.n_vocab);
        llama_batch_free(batch);
        return all;
    }

  private:
    const ri_gguf_info info_;
    llama_model_ptr model_;
    llama_context_ptr context_;
};

std::vector<float> embeddings(const AlignFixture &f, const std::vector<int32_t> &tokens) {
    std::vector<float> rows(tokens.size() * size_t(f.info.n_embd));
    CHECK_OK(ri_gguf_embed(f.gguf, tokens.data(), tokens.size(), rows.data(), &err));
    return rows;
}

// The same samples through llama.cpp.
void test_against_llama_cpp(const TinyGguf &model) {
    AlignFixture f(model);
    const size_t V = size_t(f.info.n_vocab), E = size_t(f.info.n_embd), B = 3, S = 9;
    const LlamaCpp reference(f);
    const Samples samples = make_samples(B, S, true);
    std::vector<float> soft(B * n_states * n_tokens * E);
    CHECK_OK(ri_adapter_forward(f.adapter, samples.states.data(), B * n_states, soft.data(), &err));
    for (size_t n_prefix : {0, 5}) {
        const auto start = random_tokens(n_prefix, 7);
        ri_prefix *prefix = f.prefix(start);
        std::vector<float> logits(B * S * V, NAN), expected;
        const ri_align_batch batch = samples.batch(0.5);
        CHECK_OK(ri_align_logits(f.llama, prefix, f.adapter, &batch, logits.data(), &err));
        for (size_t b = 0; b < B; ++b) {
            std::vector<float> rows = embeddings(f, start);
            for (size_t s = 0; s < S; ++s) {
                const int32_t token = samples.tokens[b * S + s];
                const auto own = soft.begin() + ptrdiff_t((b * n_states * n_tokens + size_t(-1 - token)) * E);
                const std::vector<float> row =
                    token >= 0 ? embeddings(f, {token}) : std::vector<float>(own, own + ptrdiff_t(E));
                rows.insert(rows.end(), row.begin(), row.end());
            }
            const std::vector<float> all = reference.logits(rows);
            expected.insert(expected.end(), all.begin() + ptrdiff_t(n_prefix * V), all.end());
        }
        CHECK_NEAR(largest_difference(logits, expected), 0, bound(1e-4, 0.01));

        // Log-probabilities and the loss by their formulas, from those logits.
        const auto logp = logprobs(f, prefix, samples);
        double loss = 0;
        for (size_t i = 0; i < B * S; ++i) {
            double sum = 0;
            for (size_t t = 0; t < V; ++t) sum += std::exp(double(logits[i * V + t]));
            const double p = double(logits[i * V + size_t(samples.targets[i])]) - std::log(sum);
            CHECK_NEAR(logp[i], p, 1e-5);
            loss -= 0.5 * p;
        }
        CHECK_NEAR(backward(f, prefix, samples, 0.5).loss, loss, 1e-6 * loss);
        ri_prefix_free(prefix);
    }
}

// A file in three parts whose matrices are of a type. Training dequantises them once, so that
// llama.cpp's logits for the same numbers in float32 are the reference. The generator may round
// them, and what they are multiplied with.
void test_stored(TinyGguf model, ggml_type type) {
    model.type = type;
    model.n_layer = 2;
    model.n_head = 4;
    model.n_head_kv = 2;
    model.head_dim = 64;
    model.n_embd = model.n_ff = 256; // quantised in blocks of up to 256
    const std::string whole = temporary_path("stored.gguf"), copy = temporary_path("stored_in_float32.gguf");
    write_tiny_gguf(whole, model);
    write_float32_copy(whole, copy);
    const std::vector<std::string> parts = split_gguf(whole, 3);
    remove(whole.c_str());
    {
        AlignFixture f(parts[1], RI_F32, 1);
        const size_t V = size_t(f.info.n_vocab), S = 9;
        const Samples samples = make_samples(1, S, true);
        std::vector<float> soft(n_states * n_tokens * size_t(f.info.n_embd)), logits(S * V, NAN);
        CHECK_OK(ri_adapter_forward(f.adapter, samples.states.data(), n_states, soft.data(), &err));
        const auto start = random_tokens(5, 7);
        std::vector<float> rows = embeddings(f, start);
        for (const int32_t token : samples.tokens) {
            const auto own = soft.begin() + ptrdiff_t(-1 - token) * f.info.n_embd;
            const auto row = token >= 0 ? embeddings(f, {token}) : std::vector<float>(own, own + f.info.n_embd);
            rows.insert(rows.end(), row.begin(), row.end());
        }
        auto expected = LlamaCpp(copy, f.info).logits(rows);
        expected.erase(expected.begin(), expected.begin() + ptrdiff_t(start.size() * V));
        ri_prefix *prefix = f.prefix(start);
        const ri_align_batch batch = samples.batch(1);
        CHECK_OK(ri_align_logits(f.llama, prefix, f.adapter, &batch, logits.data(), &err));
        CHECK_NEAR(largest_difference(logits, expected), 0, bound(1e-4, 0.05));
        ri_prefix_free(prefix);

        const ri_generator_params params = generator_params(1, 32);
        ri_generator *generator = nullptr;
        CHECK_OK(ri_generator_create(f.engine, f.gguf, &params, &generator, &err));
        CHECK_OK(ri_generator_prefix(generator, start.data(), start.size(), &err));
        const int32_t slot = 0, count = int32_t(S);
        ri_decode_batch all{};
        all.n_slots = 1;
        all.slots = &slot;
        all.counts = &count;
        all.rows = rows.data() + start.size() * size_t(f.info.n_embd);
        ri_decode_result result{};
        std::vector<float> last(V);
        result.logits = last.data();
        CHECK_OK(ri_generator_decode(generator, &all, &result, &err));
        expected.erase(expected.begin(), expected.end() - ptrdiff_t(V));
        CHECK_NEAR(largest_difference(last, expected), 0, 0.15);
        ri_generator_free(generator);
    }
    remove(copy.c_str());
    for (const std::string &part : parts) remove(part.c_str());
}

// Of Phi-3 and Ministral 3 the formulas for long contexts are not implemented, so that such
// contexts are refused.
void test_long_context(const TinyGguf &model) {
    AlignFixture f(model);
    ri_prefix *prefix = nullptr;
    const auto tokens = random_tokens(256, 7);
    CHECK(f.info.n_context == 256 && f.info.n_context_named == 512);
    CHECK_FAILS(ri_prefix_create(f.llama, tokens.data(), tokens.size(), &prefix, &err), RI_INVALID,
                "does not fit a context of 256");
}

// Greedy generation by the generator and by llama.cpp, each after its own tokens: token for token
// the same. The generator's keys and values are in half precision, which moves logits by a few
// thousandths, so that either of two tokens may win where llama.cpp's best two are nearly equal:
// the beginning is one after which they never are.
void test_generation(const TinyGguf &model) {
    AlignFixture f(model);
    const LlamaCpp reference(f);
    const size_t V = size_t(f.info.n_vocab), n_generated = 12;
    const double moved = bound(0.01, 0.025);
    std::vector<int32_t> tokens; // llama.cpp's, and the beginning before them
    std::vector<std::vector<float>> logits;
    for (uint64_t seed = 1; seed <= 500 && logits.size() < n_generated; ++seed) {
        tokens = random_tokens(6, seed);
        logits.clear();
        while (logits.size() < n_generated) {
            std::vector<float> last = reference.logits(embeddings(f, tokens));
            last.erase(last.begin(), last.end() - ptrdiff_t(V));
            std::vector<float> sorted = last;
            std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<float>());
            if (sorted[0] - sorted[1] <= 2 * moved) break;
            tokens.push_back(int32_t(std::max_element(last.begin(), last.end()) - last.begin()));
            logits.push_back(std::move(last));
        }
    }
    if (!CHECK(logits.size() == n_generated)) return;
    const ri_generator_params params = generator_params(1, 32);
    ri_generator *generator = nullptr;
    CHECK_OK(ri_generator_create(f.engine, f.gguf, &params, &generator, &err));
    CHECK_OK(ri_generator_prefix(generator, tokens.data(), 5, &err));
    int32_t next = tokens[5];
    const int32_t slot = 0, count = 1;
    for (size_t i = 0; i < n_generated; ++i) {
        const ri_decode_batch batch{1, &slot, &count, nullptr, &next, nullptr, nullptr};
        std::vector<float> own(V);
        int32_t best = -1;
        const ri_decode_result result{&best, nullptr, nullptr, own.data()};
        CHECK_OK(ri_generator_decode(generator, &batch, &result, &err));
        CHECK_NEAR(largest_difference(own, logits[i]), 0, moved);
        CHECK(best == tokens[6 + i]);
        next = best;
    }
    ri_generator_free(generator);
}

// All derivatives by a bias, and some by a weight, against the five-point difference of the summed
// log-probabilities. They are rounded to float, 3e-7 each, which the step h makes 1e-4; the
// derivatives are of size 0.1 to 1.
void test_gradient(const TinyGguf &model, size_t n_prefix) {
    if (coarse_products())
        return; // the step would make their rounding as large as the derivatives (the formula sees to those)
    AlignFixture f(model);
    ri_prefix *prefix = f.prefix(random_tokens(n_prefix, 7));
    const Samples samples = make_samples(2, 8);
    const Step step = backward(f, prefix, samples, 1);
    size_t at = 0;
    double largest = 0;
    for (size_t i = 0; i < 2; ++i) {
        const auto values = read(f.adapter, i, RI_VALUE);
        for (size_t j = 0; j < values.size(); j += i == 0 ? 7 : 3) {
            auto moved = [&](float by) {
                auto changed = values;
                changed[j] += by;
                write(f.adapter, i, RI_VALUE, changed);
                double sum = 0;
                for (float p : logprobs(f, prefix, samples)) sum -= p;
                return sum;
            };
            const float h = 0x1p-7f;
            const double difference = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * double(h));
            CHECK_NEAR(step.gradient[at + j], difference, 2e-3 * std::max(1.0, std::abs(difference)));
            largest = std::max(largest, std::abs(difference));
        }
        write(f.adapter, i, RI_VALUE, values);
        at += values.size();
    }
    CHECK(largest > 0.2);
    ri_prefix_free(prefix);
}

// A GPU that lacks an operation composes it of others, in a whole step, too.
void test_composed(const TinyGguf &model) {
    if (strcmp(test_backend(), "made-up") != 0) return;
    for (const ggml_op op : {GGML_OP_SOFT_MAX_BACK, GGML_OP_RMS_NORM_BACK}) {
        lacking = op;
        times_refused = 0;
        test_gradient(model, 5);
        CHECK(times_refused > 0);
    }
    lacking = GGML_OP_COUNT;
}

// The estimate of a step is the memory that one takes, and reads no weight.
void test_estimate(const TinyGguf &model, size_t n_prefix, ri_precision precision) {
    AlignFixture f(model, precision);
    const size_t n_samples = 3, n_positions = 12;
    Samples samples = make_samples(n_samples, n_positions);
    for (size_t i = 0; i < samples.targets.size(); ++i) samples.targets[i] = i % n_positions < 7 ? -1 : 5;
    const ri_adapter_params adapter = linear_adapter(f.info);
    ri_llm_estimate_params params = ri_llm_estimate_params_default();
    params.precision = precision;
    params.adapter = &adapter;
    params.n_prefix = int32_t(n_prefix);
    params.n_samples = int32_t(n_samples);
    params.n_positions = int32_t(n_positions);
    params.n_states = int32_t(n_states);
    params.n_targets = 5;
    ri_llm_needs needs{};
    CHECK_OK(ri_llm_estimate(f.engine, f.gguf, &params, &needs, &err));
    ri_prefix *prefix = f.prefix(random_tokens(n_prefix, 7));
    backward(f, prefix, samples, 1);
    // The inputs of a graph that is kept lie elsewhere.
    const int64_t taken = int64_t(f.engine->impl->scratch_bytes());
    CHECK(f.engine->impl->kernels() ? needs.pass_bytes == taken : needs.pass_bytes >= taken);
    CHECK(needs.weights_bytes == int64_t(f.llama->impl->weights_bytes()));
    const int64_t matrices = needs.n_everywhere + needs.n_at_targets, width = precision == RI_F32 ? 4 : 2;
    CHECK(needs.weights_bytes >= 2 * width * matrices); // panels may be wider than matrices
    CHECK(needs.adapter_bytes >= 4 * 4 * int64_t(n_tokens) * f.info.n_embd * (n_in + 1));
    CHECK((needs.prefix_bytes > 0) == (n_prefix > 0));
    params.n_targets = int32_t(n_positions) + 1;
    CHECK(ri_llm_estimate(f.engine, f.gguf, &params, &needs, &err) == RI_INVALID);
    ri_prefix_free(prefix);
}

// A step is a gradient and an update: after another pass, and where the gradient is not finite.
void test_step() {
    AlignFixture f;
    ri_model *apart = make_adapter(f.engine, linear_adapter(f.info));
    fill(apart, 50, 0.2f);
    ri_prefix *prefix = f.prefix(random_tokens(5, 7));
    Samples first = make_samples(3, 12), second = make_samples(2, 9);
    auto values_of = [](ri_model *model, ri_slot slot) {
        std::vector<float> all;
        for (size_t i = 0; i < ri_model_n_tensors(model); ++i) {
            const auto values = read(model, i, slot);
            all.insert(all.end(), values.begin(), values.end());
        }
        return all;
    };
    for (int64_t step : {1, 2, 3}) {
        ri_adamw settings = ri_adamw_default();
        settings.learning_rate = 1e-2f;
        settings.weight_decay = 0.01f;
        settings.max_norm = step == 1 ? 0.5f : 0.0f;
        settings.step = step;
        const ri_align_batch one = first.batch(0.1), two = second.batch(step == 3 ? 1e39 : 0.1);
        double loss[2] = {}, ignored = 0;
        float norm[2] = {};
        for (ri_model *model : {f.adapter, apart})
            CHECK_OK(ri_align_backward(f.llama, prefix, model, &one, &ignored, &err));
        const auto before = values_of(f.adapter, RI_VALUE);
        const ri_status status = ri_align_step(f.llama, prefix, f.adapter, &two, &settings, &loss[0], &norm[0], &err);
        CHECK_OK(ri_align_backward(f.llama, prefix, apart, &two, &loss[1], &err));
        CHECK(status == ri_model_update(apart, &settings, &norm[1], &err));
        CHECK(status == (step == 3 ? RI_NUMERIC : RI_OK));
        CHECK((values_of(f.adapter, RI_VALUE) == before) == (step == 3));
        for (float gradient : values_of(f.adapter, RI_GRADIENT)) CHECK(gradient == 0);
        if (step == 3) continue;
        CHECK_NEAR(loss[0], loss[1], 1e-6 * loss[1]);
        CHECK_NEAR(norm[0], norm[1], 1e-5 * norm[1]);
        for (ri_slot slot : {RI_VALUE, RI_MOMENT1, RI_MOMENT2}) {
            const auto here = values_of(f.adapter, slot), there = values_of(apart, slot);
            for (size_t i = 0; i < here.size(); ++i) CHECK_NEAR(here[i], there[i], 1e-4);
        }
    }
    ri_prefix_free(prefix);
    ri_model_free(apart);
}

// bfloat16 has 8 bits: a number is off by up to 2^-9 of its size. Measured: log-probabilities
// within 0.024, losses within 0.0025, a cosine of 1 - 8e-5.
void test_bf16(const TinyGguf &model, size_t n_prefix) {
    const Samples samples = make_samples(3, 9);
    const auto start = random_tokens(n_prefix, 7);
    std::vector<float> expected;
    Step exact;
    {
        AlignFixture f(model);
        ri_prefix *prefix = f.prefix(start);
        expected = logprobs(f, prefix, samples);
        exact = backward(f, prefix, samples, 1.0 / double(samples.n_targets()));
        ri_prefix_free(prefix);
    }
    Step on_one_thread;
    for (int32_t n_threads = 1; n_threads <= (n_prefix ? 2 : 1); ++n_threads) {
        AlignFixture f(model, RI_BF16, n_threads);
        ri_prefix *prefix = f.prefix(start);
        CHECK_NEAR(largest_difference(logprobs(f, prefix, samples), expected), 0, 0.1);
        const Step step = backward(f, prefix, samples, 1.0 / double(samples.n_targets()));
        CHECK_NEAR(step.loss, exact.loss, 0.02);
        CHECK(cosine(step.gradient, exact.gradient) > 0.999);
        const Step again = backward(f, prefix, samples, 1.0 / double(samples.n_targets()));
        CHECK(again.loss == step.loss && again.gradient == step.gradient);
        if (n_threads == 1) on_one_thread = step;
        CHECK(largest_difference(step.gradient, on_one_thread.gradient) < 1e-6);
        ri_prefix_free(prefix);
    }
}

// Largest difference of log-probabilities between passes of other shapes (bfloat16: 0.011
// measured).
double tolerance_between_shapes(ri_precision precision) { return precision == RI_F32 ? bound(5e-5, 0.01) : 0.03; }

// The log-probabilities of each sample by itself, of as many positions as it has, and the sum of
// their losses; the adapter sums their gradients.
std::pair<std::vector<float>, double> one_by_one(const AlignFixture &f, ri_prefix *prefix, const Samples &samples,
                                                 size_t n, const size_t *lengths) {
    std::vector<float> apart;
    double loss = 0;
    for (size_t b = 0; b < n; ++b) {
        const Samples alone = samples.only(b, lengths[b]);
        const auto logp = logprobs(f, prefix, alone);
        apart.insert(apart.end(), logp.begin(), logp.end());
        const ri_align_batch batch = alone.batch(0.25);
        double part = 0;
        CHECK_OK(ri_align_backward(f.llama, prefix, f.adapter, &batch, &part, &err));
        loss += part;
    }
    return {apart, loss};
}

// The same sample in two forms: with or without a prefix, alone or in a batch with padding.
void test_same_samples(const TinyGguf &model, ri_precision precision) {
    AlignFixture f(model, precision);
    const size_t P = 5, B = 3, S = 11, lengths[B] = {11, 6, 8};
    const double tolerance = tolerance_between_shapes(precision);
    Samples samples = make_samples(B, S);
    for (size_t b = 0; b < B; ++b)
        std::fill(samples.targets.begin() + ptrdiff_t(b * S + lengths[b]),
                  samples.targets.begin() + ptrdiff_t((b + 1) * S), -1);
    const auto start = random_tokens(P, 7);
    ri_prefix *prefix = f.prefix(start), *none = f.prefix({});
    const auto together = logprobs(f, prefix, samples);
    const Step step = backward(f, prefix, samples, 0.25);

    Samples longer{B, P + S, {}, {}, samples.states};
    for (size_t b = 0; b < B; ++b) {
        longer.tokens.insert(longer.tokens.end(), start.begin(), start.end());
        longer.targets.insert(longer.targets.end(), P, -1);
        const auto from = ptrdiff_t(b * S), to = ptrdiff_t((b + 1) * S);
        longer.tokens.insert(longer.tokens.end(), samples.tokens.begin() + from, samples.tokens.begin() + to);
        longer.targets.insert(longer.targets.end(), samples.targets.begin() + from, samples.targets.begin() + to);
    }
    CHECK_NEAR(largest_difference(logprobs(f, none, longer), together), 0, tolerance);
    const Step unshared = backward(f, none, longer, 0.25);
    CHECK_NEAR(unshared.loss, step.loss, tolerance);
    CHECK(cosine(unshared.gradient, step.gradient) > 1 - tolerance);

    const auto [apart, loss] = one_by_one(f, prefix, samples, B, lengths);
    CHECK_NEAR(largest_difference(apart, together), 0, tolerance);
    CHECK_NEAR(loss, step.loss, tolerance);
    const auto summed = take_gradient(f.adapter);
    CHECK(largest_difference(summed, step.gradient) < tolerance);
    ri_prefix_free(prefix);
    ri_prefix_free(none);
}

// A batch whose logits are computed in blocks, the last one smaller, and its samples, each of which
// is one block.
void test_blocks() {
    TinyGguf narrow;
    narrow.n_ff = 8;
    AlignFixture f(narrow);
    const size_t B = 10, S = 24;
    const Samples samples = make_samples(B, S);
    ri_prefix *prefix = f.prefix(random_tokens(5, 7));
    const auto together = logprobs(f, prefix, samples);
    const Step step = backward(f, prefix, samples, 0.25);
    const auto [apart, loss] = one_by_one(f, prefix, samples, B, std::vector<size_t>(B, S).data());
    const double tolerance = tolerance_between_shapes(RI_F32);
    CHECK_NEAR(largest_difference(apart, together), 0, tolerance);
    CHECK_NEAR(loss, step.loss, tolerance * loss);
    CHECK(largest_difference(take_gradient(f.adapter), step.gradient) < 10 * tolerance);
    ri_prefix_free(prefix);
}

// A pass through many layers finds memory: ggml aborts where free memory is in too many pieces.
void test_deep() {
    TinyGguf deep;
    deep.n_layer = 128;
    AlignFixture f(deep);
    ri_prefix *prefix = f.prefix(random_tokens(5, 7));
    Samples samples = make_samples(4, 24);
    std::fill(samples.targets.begin(), samples.targets.begin() + 24, -1); // the first is shorter
    CHECK(std::isfinite(backward(f, prefix, samples, 0.01).loss));
    ri_prefix_free(prefix);
}

// A sample that branches after its sixth token, of which eight continuations are asked about.
struct Tree {
    Samples sample = make_samples(1, 6);
    std::vector<int32_t> tokens = sample.tokens;
    std::vector<int32_t> parents{-1, 0, 1, 2, 3, 4, 5, 6, 5, 8, 6, 5}, counts{0, 0, 0, 0, 0, 2, 0, 1, 0, 3, 1, 1},
        asked{11, 12, 3, 4, 5, 4, 6, 11};
    Tree() {
        for (int32_t token : random_tokens(6, 8)) tokens.push_back(token);
    }
    std::vector<float> logprobs(const AlignFixture &f, ri_prefix *prefix) const {
        const ri_branches branches{tokens.size(), tokens.data(),     parents.data(),      counts.data(),
                                   asked.data(),  int32_t(n_states), sample.states.data()};
        std::vector<float> all(asked.size(), NAN);
        CHECK_OK(ri_align_branches(f.llama, prefix, f.adapter, &branches, all.data(), &err));
        return all;
    }
};

// Every way through a tree against the sample that it is by itself.
void test_branches(const TinyGguf &model, ri_precision precision) {
    AlignFixture f(model, precision);
    ri_prefix *prefix = f.prefix(random_tokens(5, 7));
    const Tree tree;
    const std::vector<float> together = tree.logprobs(f, prefix);
    std::vector<float> apart;
    for (size_t s = 0; s < tree.tokens.size(); ++s)
        for (int32_t i = 0; i < tree.counts[s]; ++i) {
            Samples way{1, 0, {}, {}, tree.sample.states};
            for (int32_t at = int32_t(s); at >= 0; at = tree.parents[size_t(at)])
                way.tokens.insert(way.tokens.begin(), tree.tokens[size_t(at)]);
            way.positions = way.tokens.size();
            way.targets.assign(way.positions, -1);
            way.targets.back() = tree.asked[apart.size()];
            apart.push_back(logprobs(f, prefix, way)[0]);
        }
    for (size_t i = 0; i < apart.size(); ++i) // one by one, since on an H100 one was once far off (docs/gpu.md)
        if (!CHECK_NEAR(together[i], apart[i], tolerance_between_shapes(precision)))
            fprintf(stderr, "    token %zu that is asked about, heads of %d, %s\n", i, f.info.head_dim,
                    precision == RI_F32 ? "float32" : "bfloat16");
    CHECK(together[0] != together[7]); // the same token in two places
    ri_prefix_free(prefix);
}

// A variable of the environment, until the end of its scope.
class Setting {
  public:
    Setting(const char *name, const char *value) : name_(name) {
        const char *before = getenv(name);
        if (before) before_ = before;
        was_set_ = before;
        setenv(name, value, 1);
    }
    ~Setting() { was_set_ ? setenv(name_, before_.c_str(), 1) : unsetenv(name_); }
    Setting(const Setting &) = delete;

  private:
    const char *name_;
    std::string before_;
    bool was_set_ = false;
};

// All kernel sets of this processor against the same formulas composed of ggml operations.
void test_kernel_sets(const TinyGguf &model, ri_precision precision) {
    if (strcmp(test_backend(), "cpu") != 0) return; // a GPU has none
    struct Results {
        std::vector<float> logprobs, of_branches;
        Step step;
    };
    auto results = [&] {
        AlignFixture f(model, precision);
        ri_prefix *prefix = f.prefix(random_tokens(5, 7));
        const Samples samples = make_samples(3, 9);
        const Results all{logprobs(f, prefix, samples), Tree().logprobs(f, prefix), backward(f, prefix, samples, 0.1)};
        ri_prefix_free(prefix);
        return all;
    };
    const auto composed = [&] {
        const Setting backend("RECINT_BACKEND", "portable");
        return results();
    }();
    // Sets differ in which numbers they round to bfloat16.
    const double tolerance = precision == RI_F32 ? 5e-5 : 0.1, least_cosine = precision == RI_F32 ? 1 - 1e-8 : 0.999;
    for (const ri::kernels::Candidate &candidate : ri::kernels::candidates()) {
        if (!candidate.supported()) continue;
        const Setting kernels("RECINT_KERNELS", candidate.set->name);
        const Results own = results();
        const bool equal = CHECK_NEAR(largest_difference(own.logprobs, composed.logprobs), 0, tolerance) &
                           CHECK_NEAR(largest_difference(own.of_branches, composed.of_branches), 0, tolerance) &
                           CHECK_NEAR(own.step.loss, composed.step.loss, tolerance) &
                           CHECK(cosine(own.step.gradient, composed.step.gradient) > least_cosine);
        if (!equal) fprintf(stderr, "    by the kernel set %s\n", candidate.set->name);
    }
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    TinyGguf model;
    CASE(test_against_llama_cpp(model));
    CASE(test_gradient(model, 0));
    CASE(test_gradient(model, 5));
    CASE(test_composed(model));
    CASE(test_blocks());
    CASE(test_deep());
    model.tied = false;
    model.rope_factors = true;
    model.n_embd = 96; // not n_head * head_dim
    model.n_head = 6;
    model.n_head_kv = 1;
    CASE(test_against_llama_cpp(model));
    CASE(test_gradient(model, 5));
    model = {};
    model.n_head_kv = 4;
    model.edit = [](gguf_context *m) { // positions at half speed
        gguf_set_val_str(m, "llama.rope.scaling.type", "linear");
        gguf_set_val_f32(m, "llama.rope.scaling.factor", 2);
    };
    CASE(test_against_llama_cpp(model));
    for (const TinyGguf &each : other_architectures()) {
        const std::string &name = each.architecture;
        CASE_OF(name, test_against_llama_cpp(each));
        CASE_OF(name, test_generation(each));
        if (each.n_context > 256) CASE_OF(name, test_long_context(each));
        CASE_OF(name, test_gradient(each, 5));
        CASE_OF(name, test_estimate(each, 5, RI_BF16));
        CASE_OF(name, test_bf16(each, 0));
        CASE_OF(name, test_bf16(each, 5));
        for (const ri_precision precision : {RI_F32, RI_BF16}) {
            CASE_OF(name, test_same_samples(each, precision));
            CASE_OF(name, test_branches(each, precision));
            CASE_OF(name, test_kernel_sets(each, precision));
        }
        for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K,
                                     GGML_TYPE_IQ4_XS, GGML_TYPE_MXFP4})
            CASE_OF(name, test_stored(each, type));
    }
    model = {};
    model.architecture = "gemma3";
    model.n_layer = 62; // by which llama.cpp tells the 27B model
    model.n_embd = 80;
    CASE(test_against_llama_cpp(model));
    CASE(test_step());
    CASE(test_estimate({}, 0, RI_F32));
    CASE(test_estimate({}, 40, RI_F32)); // its prefix takes more than its step
    for (int32_t head_dim : {16, 32, 64, 128}) {
        CASE(test_bf16(with_heads_of(head_dim), 0));
        CASE(test_bf16(with_heads_of(head_dim), 5));
    }
    CASE(test_same_samples(with_heads_of(16), RI_F32));
    CASE(test_branches(with_heads_of(16), RI_F32));
    CASE(test_kernel_sets(with_heads_of(16), RI_F32));
    for (int32_t head_dim : {16, 64}) {
        CASE(test_same_samples(with_heads_of(head_dim), RI_BF16));
        CASE(test_branches(with_heads_of(head_dim), RI_BF16));
        CASE(test_kernel_sets(with_heads_of(head_dim), RI_BF16));
    }
    return cases.finish();
}
