// Where things are computed: a strict engine keeps everything on its device, or says what it cannot
// keep there. The device is made up (support/made_up_gpu.h); answers on it must be those of the
// CPU.
#include "engine.h"
#include "support/align.h"
#include "support/made_up_gpu.h"
#include "support/params.h"

namespace {

ri_engine *start(const char *backend, bool strict) {
    const ri_engine_params params = engine_params(backend, strict);
    ri_engine *engine = nullptr;
    CHECK_OK(ri_engine_create(&params, &engine, &err));
    return engine;
}

// "auto" may be the CPU, and strictly a GPU; "cpu" is always the CPU.
void test_without_gpu() {
    ri::load_backends();
    const ri_engine_params params = engine_params("auto", true);
    ri_engine *engine = nullptr;
    if (!ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU)) {
        CHECK_FAILS(ri_engine_create(&params, &engine, &err), RI_BACKEND, "no GPU was found (found: cpu)");
        CHECK(!engine);
        ri_engine_free(start("auto", false));
    }
    for (const char *backend : {"cpu", "portable"}) ri_engine_free(start(backend, true));
}

void test_auto_is_the_gpu() {
    ri_engine *engine = start("auto", true);
    ri_engine_info info{};
    CHECK_OK(ri_engine_describe(engine, &info, &err));
    CHECK(!strcmp(info.device, "a made-up GPU") && info.memory_total == 1 << 30);
    ri_engine_free(engine);
}

// Logits after a few tokens, or the status of the failure.
ri_status answer(const char *backend, bool strict, std::vector<float> &logits) {
    const std::string path = temporary_path("strict.gguf");
    write_tiny_gguf(path);
    ri_engine *engine = start(backend, strict);
    ri_gguf *gguf = nullptr;
    ri_generator *generator = nullptr;
    const ri_generator_params params = generator_params(1, 32);
    CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
    CHECK_OK(ri_generator_create(engine, gguf, &params, &generator, &err));
    const std::vector<int32_t> tokens = {1, 2, 3}, slots = {0}, counts = {3};
    logits.assign(288, 0);
    const ri_decode_batch batch{1, slots.data(), counts.data(), nullptr, tokens.data(), nullptr, nullptr};
    const ri_decode_result result{nullptr, nullptr, nullptr, logits.data()};
    const ri_status status = ri_generator_decode(generator, &batch, &result, &err);
    ri_generator_free(generator);
    ri_gguf_free(gguf);
    ri_engine_free(engine);
    remove(path.c_str());
    return status;
}

void test_generation() {
    std::vector<float> here, there;
    CHECK_OK(answer("portable", true, here)); // ggml's kernels, which the made-up GPU has, too
    auto same = [&] {
        float largest = 0;
        for (size_t i = 0; i < here.size(); ++i) largest = std::max(largest, std::abs(here[i] - there[i]));
        return largest < 1e-4f;
    };
    CHECK_OK(answer("made-up", true, there));
    CHECK(same());
    // Without its rotary embeddings llama.cpp turns to the CPU for them, and without its products
    // for the weights.
    for (ggml_op op : {GGML_OP_ROPE, GGML_OP_MUL_MAT}) {
        lacking = op;
        CHECK_OK(answer("made-up", false, there));
        CHECK(same());
        CHECK_FAILS(answer("made-up", true, there), RI_UNSUPPORTED,
                    (std::string("computes ") + ggml_op_name(op) + " on the CPU and not on a made-up GPU").c_str());
    }
    lacking = GGML_OP_COUNT;
}

// The core's own graphs never leave the device: training is refused before any work.
void test_training() {
    ri_engine *engine = start("made-up", false);
    ri_model *adapter = make_adapter(engine, adapter_params("linear", n_in, n_tokens, 8));
    fill(adapter, 4, 0.2f);
    const auto states = draw(n_in, 5);
    std::vector<float> soft(size_t(n_tokens) * 8);
    CHECK_OK(ri_adapter_forward(adapter, states.data(), 1, soft.data(), &err));
    lacking = GGML_OP_MUL_MAT;
    CHECK_FAILS(ri_adapter_forward(adapter, states.data(), 1, soft.data(), &err), RI_UNSUPPORTED,
                "the made-up backend cannot run MUL_MAT");
    lacking = GGML_OP_COUNT;
    ri_model_free(adapter);
    ri_engine_free(engine);
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    CASE(test_without_gpu());
    register_made_up_gpu();
    CASE(test_auto_is_the_gpu());
    CASE(test_generation());
    CASE(test_training());
    return cases.finish();
}
