// Generation. The reference is llama.cpp itself, called in the plainest way: one sequence, tokens
// in, logits out.
#include "engine.h"
#include "gguf.h"
#include "kernel_device.h"
#include "logs.h"
#include "pack.h"
#include "recint.h"
#include "support/backend.h"
#include "support/check.h"
#include "support/params.h"
#include "support/tiny_gguf.h"

#include "llama-cpp.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <vector>

namespace {

ri_error err;

constexpr int n_damaged = 2000;

struct Fixture {
    std::string path;
    ri_engine *engine = nullptr;
    ri_gguf *gguf = nullptr;
    ri_gguf_info info{};

    Fixture(const TinyGguf &model, const char *name) : Fixture(temporary_path(name), model, nullptr) {}
    // Of an architecture that llama.cpp runs and that has no description.
    explicit Fixture(const char *undescribed) : Fixture(temporary_path("undescribed.gguf"), {}, undescribed) {}
    Fixture(const std::string &to, const TinyGguf &model, const char *undescribed) : path(to) {
        if (undescribed)
            write_undescribed_gguf(path, undescribed);
        else
            write_tiny_gguf(path, model);
        ri_engine_params params = ri_engine_params_default();
        params.backend = test_backend();
        params.n_threads = 2;
        CHECK_OK(ri_engine_create(&params, &engine, &err));
        CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
        CHECK_OK(ri_gguf_describe(gguf, &info, &err));
    }
    ~Fixture() {
        ri_gguf_free(gguf);
        ri_engine_free(engine);
        remove(path.c_str());
    }
    ri_generator *generator(int32_t n_slots, int32_t n_context) {
        const ri_generator_params params = generator_params(n_slots, n_context);
        ri_generator *out = nullptr;
        CHECK_OK(ri_generator_create(engine, gguf, &params, &out, &err));
        return out;
    }
};

// Logits after the last of `tokens`, by ggml's kernels: plain products and softmax, keys and values
// in F32.
std::vector<float> reference_logits(const Fixture &f, std::vector<int32_t> tokens) {
    llama_model_params model_params = llama_model_default_params();
    model_params.use_extra_bufts = false;
    llama_model_ptr model(llama_model_load_from_file(f.path.c_str(), model_params));
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_threads = params.n_threads_batch = 2;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = params.type_v = GGML_TYPE_F32;
    llama_context_ptr context(llama_init_from_model(model.get(), params));
    CHECK(llama_decode(context.get(), llama_batch_get_one(tokens.data(), int32_t(tokens.size()))) == 0);
    const float *logits = llama_get_logits_ith(context.get(), -1);
    return {logits, logits + f.info.n_vocab};
}

std::vector<int32_t> random_tokens(size_t n, uint64_t seed, int32_t n_vocab) {
    std::mt19937_64 random(seed);
    std::vector<int32_t> tokens(n);
    for (int32_t &token : tokens) token = int32_t(random() % uint64_t(n_vocab));
    return tokens;
}

struct Answer {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs, logits;
};

// Sends sequences to slots in one call, as tokens or as rows.
Answer decode(const Fixture &f, ri_generator *generator, std::vector<int32_t> slots,
              const std::vector<std::vector<int32_t>> &sequences, bool as_rows) {
    std::vector<int32_t> counts, tokens;
    for (const auto &sequence : sequences) {
        counts.push_back(int32_t(sequence.size()));
        tokens.insert(tokens.end(), sequence.begin(), sequence.end());
    }
    std::vector<float> rows(tokens.size() * size_t(f.info.n_embd));
    CHECK_OK(ri_gguf_embed(f.gguf, tokens.data(), tokens.size(), rows.data(), &err));
    ri_decode_batch batch{
        slots.size(), slots.data(), counts.data(), as_rows ? rows.data() : nullptr, as_rows ? nullptr : tokens.data(),
        nullptr,      nullptr};
    Answer answer;
    answer.tokens.resize(slots.size());
    answer.logprobs.resize(slots.size());
    answer.logits.resize(slots.size() * size_t(f.info.n_vocab));
    const ri_decode_result result{answer.tokens.data(), answer.logprobs.data(), nullptr, answer.logits.data()};
    CHECK_OK(ri_generator_decode(generator, &batch, &result, &err));
    return answer;
}

double largest_difference(const float *a, const float *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; ++i) largest = std::max(largest, double(std::abs(a[i] - b[i])));
    return largest;
}

// One sequence, at once and in pieces longer and shorter than llama.cpp's batch, as tokens and as
// rows.
void test_against_llama_cpp(const TinyGguf &model, double tolerance) {
    tolerance = bound(tolerance, 10 * tolerance);
    Fixture f(model, "generator.gguf");
    const size_t V = size_t(f.info.n_vocab);
    const auto tokens = random_tokens(40, 3, f.info.n_vocab);
    const auto expected = reference_logits(f, tokens);
    ri_generator *generator = f.generator(2, 64);
    for (bool as_rows : {false, true}) {
        const Answer whole = decode(f, generator, {1}, {tokens}, as_rows);
        CHECK_NEAR(largest_difference(whole.logits.data(), expected.data(), V), 0, tolerance);
        // The log-probability by its formula, in double precision.
        double sum = 0;
        for (float logit : whole.logits) sum += std::exp(double(logit));
        const size_t best = size_t(std::max_element(whole.logits.begin(), whole.logits.end()) - whole.logits.begin());
        CHECK(size_t(whole.tokens[0]) == best);
        CHECK_NEAR(whole.logprobs[0], double(whole.logits[best]) - std::log(sum), 1e-5);
        CHECK_OK(ri_generator_reset(generator, 1, &err));
    }
    Answer last;
    for (size_t i = 0; i < tokens.size(); i += 8)
        last = decode(f, generator, {0}, {{tokens.begin() + ptrdiff_t(i), tokens.begin() + ptrdiff_t(i) + 8}},
                      i % 16 == 0);
    CHECK_NEAR(largest_difference(last.logits.data(), expected.data(), V), 0, tolerance);
    ri_generator_free(generator);
}

// Generation needs a table of embeddings and llama.cpp, and no description of the architecture.
void test_undescribed(const char *architecture) {
    const double tolerance = bound(5e-3, 0.05);
    Fixture f(architecture);
    CHECK_FAILS(ri_gguf_check(f.gguf, &err), RI_UNSUPPORTED, architecture);
    const size_t V = size_t(f.info.n_vocab);
    const auto prefix = random_tokens(9, 5, f.info.n_vocab);
    const std::vector<std::vector<int32_t>> suffixes{random_tokens(30, 1, f.info.n_vocab), {3}, {4, 5, 6}};
    ri_generator *generator = f.generator(4, 128);
    if (!generator) return;
    for (const bool with_prefix : {true, false}) {
        CHECK_OK(ri_generator_prefix(generator, prefix.data(), with_prefix ? prefix.size() : 0, &err));
        for (int round = 0; round < 2; ++round) {
            const Answer together = decode(f, generator, {2, 0, 1}, suffixes, false);
            for (size_t i = 0; i < suffixes.size(); ++i) {
                std::vector<int32_t> tokens = with_prefix ? prefix : std::vector<int32_t>{};
                tokens.insert(tokens.end(), suffixes[i].begin(), suffixes[i].end());
                const auto alone = reference_logits(f, tokens);
                CHECK_NEAR(largest_difference(together.logits.data() + i * V, alone.data(), V), 0, tolerance);
            }
            // A copy goes on as the first would have.
            CHECK_OK(ri_generator_copy(generator, 2, 3, &err));
            const Answer alike = decode(f, generator, {2, 3}, {{11}, {11}}, false);
            CHECK_NEAR(largest_difference(alike.logits.data(), alike.logits.data() + V, V), 0, 1e-5);
            std::vector<int32_t> tokens = with_prefix ? prefix : std::vector<int32_t>{};
            tokens.insert(tokens.end(), suffixes[0].begin(), suffixes[0].end());
            tokens.push_back(11);
            CHECK_NEAR(largest_difference(alike.logits.data(), reference_logits(f, tokens).data(), V), 0, tolerance);
            for (const int32_t slot : {0, 1, 2, 3}) CHECK_OK(ri_generator_reset(generator, slot, &err));
        }
    }
    ri_generator_free(generator);
}

// A slot copied into another goes on as the first would have, and each by itself; log-probabilities
// of asked tokens are those of the logits.
void test_copy_and_asked() {
    Fixture f({}, "copy.gguf");
    const size_t V = size_t(f.info.n_vocab);
    ri_generator *generator = f.generator(3, 32);
    const auto prefix = random_tokens(5, 1, f.info.n_vocab);
    CHECK_OK(ri_generator_prefix(generator, prefix.data(), prefix.size(), &err));
    decode(f, generator, {2, 0}, {{7, 8, 9}, {20}}, false);
    CHECK_OK(ri_generator_copy(generator, 2, 0, &err)); // what slot 0 held is gone
    CHECK_OK(ri_generator_copy(generator, 2, 2, &err));
    const Answer alike = decode(f, generator, {0, 2}, {{11}, {11}}, false);
    CHECK_NEAR(largest_difference(alike.logits.data(), alike.logits.data() + V, V), 0, 1e-5);
    std::vector<int32_t> tokens = prefix;
    tokens.insert(tokens.end(), {7, 8, 9, 11});
    CHECK_NEAR(largest_difference(alike.logits.data(), reference_logits(f, tokens).data(), V), 0, 0.01);

    const int32_t slots[] = {2, 1, 0}, counts[] = {1, 1, 1}, next[] = {12, 13, 14};
    const int32_t asked_counts[] = {2, 0, 3}, asked[] = {5, 0, 287, 5, 5};
    float logprobs[5], own[3];
    std::vector<float> logits(3 * V);
    const ri_decode_batch batch{3, slots, counts, nullptr, next, asked_counts, asked};
    const ri_decode_result result{nullptr, own, logprobs, logits.data()};
    CHECK_OK(ri_generator_decode(generator, &batch, &result, &err));
    const size_t place[] = {0, 0, 2, 2, 2};
    for (size_t i = 0; i < 5; ++i) {
        const float *row = logits.data() + place[i] * V;
        double sum = 0;
        for (size_t v = 0; v < V; ++v) sum += std::exp(double(row[v]));
        CHECK_NEAR(logprobs[i], double(row[asked[i]]) - std::log(sum), 1e-5);
    }
    CHECK(*std::max_element(logprobs, logprobs + 2) <= own[0]);
    const int32_t wrong[] = {5, 0, 288, 5, 5}, negative[] = {2, -1, 3};
    ri_decode_batch bad = batch;
    bad.asked = wrong;
    CHECK_FAILS(ri_generator_decode(generator, &bad, &result, &err), RI_INVALID, "asked token 2 is 288");
    bad = batch;
    bad.asked = nullptr;
    CHECK_FAILS(ri_generator_decode(generator, &bad, &result, &err), RI_INVALID, "batch.asked is NULL");
    bad = batch;
    bad.asked_counts = negative;
    CHECK_FAILS(ri_generator_decode(generator, &bad, &result, &err), RI_INVALID, "slot 1: -1 tokens");
    CHECK_FAILS(ri_generator_copy(generator, 0, 3, &err), RI_INVALID, "slot 3");
    ri_generator_free(generator);
}

// More slots than one context of llama.cpp has: tokens, their log-probabilities and those of tokens
// asked about are the same where the host has all logits and where the device may choose; slots of
// two contexts can be copied.
void test_many_slots() {
    Fixture f({}, "many.gguf");
    const size_t V = size_t(f.info.n_vocab), n = 4;
    ri_generator *generator = f.generator(300, 32);
    const auto prefix = random_tokens(5, 1, f.info.n_vocab);
    CHECK_OK(ri_generator_prefix(generator, prefix.data(), prefix.size(), &err));
    const int32_t slots[] = {299, 0, 150, 149}, counts[] = {3, 1, 2, 3}, next[] = {7, 8, 9, 20, 30, 31, 40, 41, 42};
    const int32_t asked_counts[] = {2, 0, 3, 9}, asked[] = {5, 0, 287, 5, 5, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    const ri_decode_batch batch{n, slots, counts, nullptr, next, asked_counts, asked};
    struct Chosen {
        int32_t tokens[4];
        float own[4], asked[14];
    } chosen[3]; // by the device, by the host, by the device again
    std::vector<float> logits(n * V);
    for (int i = 0; i < 3; ++i) {
        const ri_decode_result result{chosen[i].tokens, chosen[i].own, chosen[i].asked,
                                      i == 1 ? logits.data() : nullptr};
        CHECK_OK(ri_generator_decode(generator, &batch, &result, &err));
        for (int32_t slot : slots) CHECK_OK(ri_generator_reset(generator, slot, &err));
    }
    for (int i : {0, 2}) {
        CHECK(std::equal(chosen[i].tokens, chosen[i].tokens + n, chosen[1].tokens));
        CHECK_NEAR(largest_difference(chosen[i].own, chosen[1].own, n), 0, 1e-4);
        CHECK_NEAR(largest_difference(chosen[i].asked, chosen[1].asked, 14), 0, 1e-4);
    }
    std::vector<int32_t> tokens = prefix;
    tokens.insert(tokens.end(), {30, 31});
    CHECK_NEAR(largest_difference(logits.data() + 2 * V, reference_logits(f, tokens).data(), V), 0, 0.01);

    decode(f, generator, {0}, {{7, 8, 9}}, false);
    CHECK_OK(ri_generator_copy(generator, 0, 299, &err));
    const Answer alike = decode(f, generator, {0, 299}, {{11}, {11}}, false);
    CHECK_NEAR(largest_difference(alike.logits.data(), alike.logits.data() + V, V), 0, 1e-4);
    ri_generator_free(generator);
}

// Slots side by side against one alone, with and without a prefix, and after a reset.
void test_slots() {
    TinyGguf model;
    model.n_context = 512;
    Fixture f(model, "slots.gguf");
    const size_t V = size_t(f.info.n_vocab), n_slots = 12;
    const auto prefix = random_tokens(21, 5, f.info.n_vocab);
    std::vector<std::vector<int32_t>> suffixes;
    std::vector<int32_t> slots;
    for (size_t i = 0; i < n_slots; ++i) {
        suffixes.push_back(
            random_tokens(i == 3 ? 450 : 1 + i * 11 % 29, 100 + i, f.info.n_vocab)); // over 512 positions in all
        slots.push_back(int32_t((i * 5) % n_slots));                                 // in no order
    }
    ri_generator *generator = f.generator(int32_t(n_slots), 512);
    for (bool with_prefix : {true, false}) {
        CHECK_OK(ri_generator_prefix(generator, prefix.data(), with_prefix ? prefix.size() : 0, &err));
        for (int round = 0; round < 2; ++round) {
            const Answer together = decode(f, generator, slots, suffixes, round == 1);
            // The keys and values are F16 on both sides; what differs is the order of sums in other
            // batch shapes.
            for (size_t i = 0; i < n_slots; ++i) {
                std::vector<int32_t> tokens = with_prefix ? prefix : std::vector<int32_t>{};
                tokens.insert(tokens.end(), suffixes[i].begin(), suffixes[i].end());
                const auto alone = reference_logits(f, tokens);
                CHECK_NEAR(largest_difference(together.logits.data() + i * V, alone.data(), V), 0, bound(0.01, 0.05));
            }
            for (int32_t slot : slots) CHECK_OK(ri_generator_reset(generator, slot, &err));
        }
    }
    // The same call again gives the same bits.
    const Answer once = decode(f, generator, slots, suffixes, false);
    for (int32_t slot : slots) CHECK_OK(ri_generator_reset(generator, slot, &err));
    CHECK(decode(f, generator, slots, suffixes, false).logits == once.logits);
    ri_generator_free(generator);
}

void test_errors() {
    Fixture f({}, "errors.gguf");
    ri_generator_params params = generator_params(2, 16);
    ri_generator *generator = nullptr;
    CHECK_FAILS(ri_generator_create(nullptr, f.gguf, &params, &generator, &err), RI_INVALID, "engine is NULL");
    params.n_slots = RI_MAX_SLOTS + 1;
    CHECK_FAILS(ri_generator_create(f.engine, f.gguf, &params, &generator, &err), RI_INVALID, "n_slots is 1021");
    params = generator_params(2, 257);
    CHECK_FAILS(ri_generator_create(f.engine, f.gguf, &params, &generator, &err), RI_INVALID, "n_context is 257");
    generator = f.generator(2, 16);
    CHECK(ri_debug_live(RI_LIVE_GENERATOR) == 1);

    const int32_t prefix[] = {1, 2, 3, 4};
    CHECK_OK(ri_generator_prefix(generator, prefix, 4, &err));
    int32_t slots[] = {0, 1}, counts[] = {2, 1}, tokens[] = {5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    std::vector<float> rows(3 * size_t(f.info.n_embd), 0.5f), before(2 * size_t(f.info.n_vocab)), after(before.size());
    const ri_decode_batch good{2, slots, counts, nullptr, tokens, nullptr, nullptr};
    const ri_decode_result to_before{nullptr, nullptr, nullptr, before.data()};
    const ri_decode_result to_after{nullptr, nullptr, nullptr, after.data()}, to_nowhere{};
    CHECK_OK(ri_generator_decode(generator, &good, &to_before, &err));

    // After each failure the slots of the call are back at the prefix, so that the good call gives
    // the first answer again.
    auto refuse = [&](const ri_decode_batch &batch, ri_status code, const char *text) {
        int32_t next = -7;
        const ri_decode_result result{&next, nullptr, nullptr, nullptr};
        CHECK_FAILS(ri_generator_decode(generator, &batch, &result, &err), code, text);
        CHECK(next == -7);
    };
    auto unharmed = [&] {
        CHECK_OK(ri_generator_reset(generator, 0, &err));
        CHECK_OK(ri_generator_reset(generator, 1, &err));
        CHECK_OK(ri_generator_decode(generator, &good, &to_after, &err));
        CHECK(before == after);
    };
    refuse({0, slots, counts, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "0 slots");
    refuse({3, slots, counts, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "3 slots");
    refuse({2, nullptr, counts, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slots is NULL");
    refuse({2, slots, counts, nullptr, nullptr, nullptr, nullptr}, RI_INVALID, "exactly one");
    refuse({2, slots, counts, rows.data(), tokens, nullptr, nullptr}, RI_INVALID, "exactly one");
    const int32_t twice[] = {1, 1}, absent[] = {0, 2}, none[] = {1, 0}, many[] = {1, 13};
    refuse({2, twice, counts, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slot 1 is named twice");
    refuse({2, absent, counts, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slot 2 does not exist");
    refuse({2, slots, none, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slot 1: count is 0");
    refuse({2, slots, many, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slot 1 holds 4 of 16 positions; 13 more");
    unharmed();
    tokens[1] = f.info.n_vocab;
    refuse(good, RI_INVALID, "token 1 is 288");
    tokens[1] = 6;
    rows[2 * size_t(f.info.n_embd) + 9] = std::numeric_limits<float>::quiet_NaN();
    refuse({2, slots, counts, rows.data(), nullptr, nullptr, nullptr}, RI_NUMERIC, "row 2, for slot 1, holds nan at 9");
    CHECK_OK(ri_generator_decode(generator, &good, &to_after, &err)); // no reset needed
    CHECK(before == after);
    // Exactly full is not too full.
    const int32_t one_slot[] = {0}, rest[] = {10};
    CHECK_OK(ri_generator_decode(
        generator,
        std::initializer_list<ri_decode_batch>{{1, one_slot, rest, nullptr, tokens, nullptr, nullptr}}.begin(),
        &to_nowhere, &err));
    refuse({1, one_slot, none, nullptr, tokens, nullptr, nullptr}, RI_INVALID, "slot 0 holds 16 of 16");
    CHECK_FAILS(ri_generator_reset(generator, -1, &err), RI_INVALID, "slot -1");
    CHECK_FAILS(ri_generator_prefix(generator, tokens, 16, &err), RI_INVALID, "16 tokens");
    tokens[0] = -1;
    CHECK_FAILS(ri_generator_prefix(generator, tokens, 2, &err), RI_INVALID, "token 0 is -1");
    tokens[0] = 5;
    unharmed();
    ri_generator_free(generator);
    CHECK(ri_debug_live(RI_LIVE_GENERATOR) == 0);

    TinyGguf damaged;
    damaged.weight_scale = std::numeric_limits<float>::infinity();
    Fixture g(damaged, "damaged.gguf");
    generator = g.generator(1, 16);
    int32_t next;
    const ri_decode_batch single{1, slots, none, nullptr, prefix, nullptr, nullptr};
    const ri_decode_result to_next{&next, nullptr, nullptr, nullptr};
    CHECK_FAILS(ri_generator_decode(generator, &single, &to_next, &err), RI_NUMERIC, "not finite");
    ri_generator_free(generator);
}

// Files with flipped bits either are refused or run; nothing may abort.
void test_damaged_files() {
    const std::string path = temporary_path("flipped.gguf");
    TinyGguf model;
    model.n_layer = 1;
    model.type = GGML_TYPE_Q8_0;
    model.tokenizer = false;
    write_tiny_gguf(path, model);
    std::string whole;
    {
        std::ifstream file(path, std::ios::binary);
        whole.assign(std::istreambuf_iterator<char>(file), {});
    }
    ri_engine_params engine_params = ri_engine_params_default();
    engine_params.backend = test_backend();
    ri_engine *engine = nullptr;
    CHECK_OK(ri_engine_create(&engine_params, &engine, &err));
    std::mt19937_64 random(7);
    int ran = 0, refused = 0;
    for (int i = 0; i < n_damaged; ++i) {
        std::string bytes = whole;
        for (int flips = 1 + int(random() % 3); flips > 0; --flips)
            bytes[random() % (i % 4 ? size_t(1600) : bytes.size())] ^=
                char(1 << random() % 8); // most in the keys and shapes
        std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), std::streamsize(bytes.size()));
        ri_gguf *gguf = nullptr;
        ri_generator *generator = nullptr;
        const ri_generator_params params = generator_params(2, 8);
        const int32_t slots[] = {0, 1}, counts[] = {2, 1}, tokens[] = {1, 2, 3};
        int32_t next[2];
        const ri_decode_batch batch{2, slots, counts, nullptr, tokens, nullptr, nullptr};
        const ri_decode_result result{next, nullptr, nullptr, nullptr};
        const bool runs = ri_gguf_open(path.c_str(), &gguf, &err) == RI_OK &&
                          ri_generator_create(engine, gguf, &params, &generator, &err) == RI_OK &&
                          ri_generator_decode(generator, &batch, &result, &err) == RI_OK;
        ++(runs ? ran : refused);
        CHECK(err.code != RI_INTERNAL);
        ri_generator_free(generator);
        ri_gguf_free(gguf);
    }
    CHECK(ran > 0 && refused > 0);
    ri_engine_free(engine);
    remove(path.c_str());
}

// Greedy text with a long-lived generator, its GGUF and engine freed by the caller first.
void test_lifetime() {
    ri_generator *generator;
    {
        Fixture f({}, "lifetime.gguf");
        generator = f.generator(3, 32);
    }
    const int32_t slots[] = {0, 1, 2}, counts[] = {1, 1, 1};
    int32_t tokens[] = {10, 10, 10};
    for (int step = 0; step < 32; ++step) {
        const ri_decode_batch batch{3, slots, counts, nullptr, tokens, nullptr, nullptr};
        const ri_decode_result result{tokens, nullptr, nullptr, nullptr}; // in place
        CHECK_OK(ri_generator_decode(generator, &batch, &result, &err));
        CHECK(tokens[0] == tokens[1] && tokens[1] == tokens[2]);
    }
    ri_generator_free(generator);
    CHECK(ri_debug_live(RI_LIVE_ENGINE) == 0 && ri_debug_live(RI_LIVE_GGUF) == 0);
}

// A product with a model's matrix, as llama.cpp hands it to the device: the numbers of multiply.
// Other products are ggml's.
void test_device(ggml_type type, int64_t rows, int64_t n_out, int64_t n_in) {
    ri_engine_params params = ri_engine_params_default();
    params.backend = "cpu";
    ri::Engine engine(params);
    auto draw = [state = 1u](size_t n) mutable {
        std::vector<float> values(n);
        for (float &value : values) value = float((state = state * 1664525 + 1013904223) >> 8) * 0x1p-23f - 1;
        return values;
    };
    ri::KernelDevice device(engine, n_out * n_in);
    ggml_backend_ptr backend(ggml_backend_dev_init(device.device(), nullptr));

    const auto x = draw(size_t(rows * n_in)), numbers = draw(size_t(n_out * n_in));
    std::vector<char> weight(ggml_row_size(type, n_in) * size_t(n_out));
    ggml_quantize_chunk(type, numbers.data(), weight.data(), 0, n_out, n_in, nullptr);
    ri::kernels::PackedMatrix matrix = ri::packed_for(*engine.kernels(), type, n_out, n_in);
    ri::pack_rows(type, weight.data(), 0, n_out, matrix);
    std::vector<float> expected(size_t(rows * n_out)), got(expected.size());
    matrix.multiply(x.data(), rows, expected.data(), 0, 1);

    const ggml_init_params without_data{1 << 16, nullptr, true};
    ggml_context_ptr weights(ggml_init(without_data)), graph_ctx(ggml_init(without_data));
    ggml_tensor *w = ggml_new_tensor_2d(weights.get(), type, n_in, n_out);
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors(weights.get(), backend.get()));
    ggml_backend_tensor_set(w, weight.data(), 0, ggml_nbytes(w));
    ggml_tensor *in = ggml_new_tensor_2d(graph_ctx.get(), GGML_TYPE_F32, n_in, rows);
    ggml_tensor *y = ggml_mul_mat(graph_ctx.get(), w, in);
    ggml_backend_buffer_ptr activations(ggml_backend_alloc_ctx_tensors(graph_ctx.get(), backend.get()));
    ggml_backend_tensor_set(in, x.data(), 0, ggml_nbytes(in));
    ggml_cgraph *graph = ggml_new_graph_custom(graph_ctx.get(), 8, false);
    ggml_build_forward_expand(graph, y);
    auto taken = [&] { // the graph is as before each time
        const int64_t before = device.products();
        CHECK(ggml_graph_node(graph, -1) == y && ggml_backend_supports_op(backend.get(), y));
        CHECK(ggml_backend_graph_compute(backend.get(), graph) == GGML_STATUS_SUCCESS);
        ggml_backend_tensor_get(y, got.data(), 0, ggml_nbytes(y));
        return device.products() - before;
    };
    CHECK(taken() == 0); // its memory is not a model's
    ggml_backend_buffer_set_usage(buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (int time = 0; time < 2; ++time) {
        CHECK(taken() == 1);
        CHECK(got == expected);
    }
}

// How many products and attentions of a decode the core's kernels compute: all that the graph has,
// of matrices in BF16 or quantised, and none of matrices in F32. Without them ("portable", a GPU)
// no such device is made.
void test_kernel_device() {
    ri_engine_params engine_params = ri_engine_params_default();
    engine_params.backend = test_backend();
    ri::Engine engine(engine_params);
    for (const ggml_type type : {GGML_TYPE_BF16, GGML_TYPE_F16, GGML_TYPE_Q4_1, GGML_TYPE_F32}) {
        TinyGguf model;
        model.type = type;
        Fixture f(model, "device.gguf");
        static std::string log; // what llama.cpp says of its devices
        llama_log_set([](ggml_log_level, const char *text, void *) { log += text; }, nullptr);
        log.clear();
        ri_generator_free(f.generator(1, 32));
        ri::silence_logs();
        CHECK((log.find("using device RecInt") != std::string::npos) == (engine.kernels() != nullptr));
        if (!engine.kernels()) continue;
        ri::KernelDevice kernels(engine, f.info.n_parameters);
        ggml_backend_dev_t devices[] = {kernels.device(), nullptr};
        llama_model_params model_params = llama_model_default_params();
        model_params.devices = devices;
        model_params.n_gpu_layers = 0;
        llama_model_ptr llm(llama_model_load_from_file(f.path.c_str(), model_params));
        llama_context_params params = llama_context_default_params();
        params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        llama_context_ptr context(llama_init_from_model(llm.get(), params));
        for (int64_t decoded = 1; decoded <= 3; ++decoded) {
            auto tokens = random_tokens(size_t(decoded), 4, f.info.n_vocab);
            CHECK(llama_decode(context.get(), llama_batch_get_one(tokens.data(), int32_t(tokens.size()))) == 0);
            const int64_t products = type == GGML_TYPE_F32 ? 0 : 7 * model.n_layer + 1; // and the head
            CHECK(kernels.products() == decoded * products);
            CHECK(kernels.attentions() == decoded * model.n_layer);
        }
    }
}

// A copy of a file with its quantised matrices in BF16 or F32.
void write_copy(const std::string &from, ggml_type type, const std::string &to) {
    const ri::Gguf source(from);
    const int64_t n = gguf_get_n_tensors(source.metadata());
    gguf_context_ptr copy(gguf_init_empty());
    gguf_set_kv(copy.get(), source.metadata());
    ggml_context_ptr ctx(ggml_init({size_t(64) << 20, nullptr, false}));
    for (int64_t i = 0; i < n; ++i) {
        const char *name = gguf_get_tensor_name(source.metadata(), i);
        const ri::TensorView view = source.tensor(name);
        const bool quantised = ggml_is_quantized(view.type);
        ggml_tensor *t = ggml_new_tensor(ctx.get(), quantised ? type : view.type, 4, view.ne);
        ggml_set_name(t, name);
        if (quantised) {
            std::vector<float> numbers(size_t(ggml_nelements(t)));
            source.dequantise_rows(view, 0, ggml_nrows(t), numbers.data());
            if (type == GGML_TYPE_BF16)
                ggml_fp32_to_bf16_row(numbers.data(), static_cast<ggml_bf16_t *>(t->data), ggml_nelements(t));
            else
                memcpy(t->data, numbers.data(), numbers.size() * sizeof(float));
        } else {
            memcpy(t->data, view.data, view.n_bytes);
        }
        gguf_add_tensor(copy.get(), t);
    }
    CHECK(gguf_write_to_file(copy.get(), to.c_str(), false));
}

// With the kernels a file gives the same bits on any number of threads, alone and among others. A
// quantised one gives the bits of its copy in BF16 if the kernels round to that; else the numbers
// of its copy in F32, which ggml multiplies, its sums in another order.
void test_same_bits() {
    ri_engine_params engine_params = ri_engine_params_default();
    engine_params.backend = test_backend();
    const ri::Engine for_kernels(engine_params);
    if (!for_kernels.kernels()) return;
    for (const ggml_type type : {GGML_TYPE_Q4_1, GGML_TYPE_Q5_1}) {
        TinyGguf model;
        model.type = type;
        Fixture f(model, "quantised.gguf");
        const std::string copy_path = temporary_path("copy.gguf");
        const bool rounds = for_kernels.kernels()->rounds_input;
        write_copy(f.path, rounds ? GGML_TYPE_BF16 : GGML_TYPE_F32, copy_path);
        ri_gguf *copy = nullptr;
        CHECK_OK(ri_gguf_open(copy_path.c_str(), &copy, &err));
        const size_t V = size_t(f.info.n_vocab);
        const std::vector<std::vector<int32_t>> sequences{random_tokens(19, 1, f.info.n_vocab), {3}, {4, 5}};
        std::vector<float> of_file[2];
        for (const int32_t n_threads : {1, 2, 3})
            for (const bool is_copy : {false, true}) {
                std::vector<float> &first = of_file[is_copy];
                engine_params.n_threads = n_threads;
                ri_engine *engine = nullptr;
                ri_generator *generator = nullptr;
                const ri_generator_params params = generator_params(3, 32);
                CHECK_OK(ri_engine_create(&engine_params, &engine, &err));
                CHECK_OK(ri_generator_create(engine, is_copy ? copy : f.gguf, &params, &generator, &err));
                const Answer together = decode(f, generator, {0, 1, 2}, sequences, true); // rows of the quantised file
                for (int32_t slot : {0, 1, 2}) CHECK_OK(ri_generator_reset(generator, slot, &err));
                const Answer alone = decode(f, generator, {0}, {sequences[0]}, true);
                if (first.empty()) first = together.logits;
                CHECK(together.logits == first);
                CHECK(alone.logits == std::vector<float>(first.begin(), first.begin() + ptrdiff_t(V)));
                ri_generator_free(generator);
                ri_engine_free(engine);
            }
        for (size_t i = 0; i < of_file[0].size(); ++i)
            if (!CHECK_NEAR(of_file[0][i], of_file[1][i], rounds ? 0 : 5e-3)) break;
        ri_gguf_free(copy);
        remove(copy_path.c_str());
    }
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    TinyGguf model;
    // Keys and values in half precision alone take half a thousandth from each sum of an attention.
    CASE(test_against_llama_cpp(model, 5e-3));
    model.tied = false;
    model.rope_factors = true;
    model.n_embd = 96; // not n_head * head_dim
    CASE(test_against_llama_cpp(model, 5e-3));
    // The reference rounds what a matrix is multiplied with to the matrix's type, which the
    // generator may not.
    model.type = GGML_TYPE_Q8_0;
    CASE(test_against_llama_cpp(model, 0.1));
    model.type = GGML_TYPE_BF16;
    CASE(test_against_llama_cpp(model, 0.05));
    model.type = GGML_TYPE_Q4_1;
    CASE(test_against_llama_cpp(model, 0.3));
    CASE(test_device(GGML_TYPE_BF16, 1, 50, 34));
    CASE(test_device(GGML_TYPE_BF16, 200, 97, 31));
    CASE(test_device(GGML_TYPE_Q4_1, 5, 48, 64));
    CASE(test_kernel_device());
    CASE(test_same_bits());
    model = {};
    model.tokenizer = false;
    Fixture(model, "plain.gguf");
    CASE(test_slots());
    for (const char *architecture : {"gemma2", "qwen3moe", "gpt2", "mamba"}) CASE(test_undescribed(architecture));
    CASE(test_copy_and_asked());
    CASE(test_many_slots());
    CASE(test_errors());
    CASE(test_damaged_files());
    CASE(test_lifetime());
    return cases.finish();
}
