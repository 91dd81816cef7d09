// GGUF files, good and bad. Expected numbers are those that tiny_gguf was told to write.
#include "recint.h"
#include "support/check.h"
#include "support/tiny_gguf.h"

#include "llm/shape.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <random>
#include <vector>

namespace {

ri_error err;

std::string read_all(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_all(const std::string &path, const std::string &bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), std::streamsize(bytes.size()));
}

// Everything that can be asked of a file, without looking at the answers; true if it opens.
bool exercise(const std::string &path) {
    ri_gguf *gguf = nullptr;
    if (ri_gguf_open(path.c_str(), &gguf, &err) != RI_OK) {
        CHECK(gguf == nullptr && err.message[0] != '\0' && err.code != RI_INTERNAL);
        return false;
    }
    ri_gguf_info info;
    ri_gguf_describe(gguf, &info, &err);
    int32_t tokens[64];
    char text[256];
    size_t n = 0;
    if (ri_gguf_tokenize(gguf, "<|im_start|>A film\n\xff", 20, 1, tokens, 64, &n, &err) == RI_OK && n <= 64)
        ri_gguf_detokenize(gguf, tokens, n, 1, text, sizeof text, &n, &err);
    CHECK(err.code != RI_INTERNAL);
    ri_gguf_chat(gguf, "hello", text, sizeof text, &n, &err);
    ri_gguf_is_end(gguf, 258);
    const int32_t token = 7;
    std::vector<float> row(size_t(info.n_embd) + 1);
    ri_gguf_embed(gguf, &token, 1, row.data(), &err);
    ri_gguf_free(gguf);
    return true;
}

void test_description() {
    const std::string path = temporary_path("described.gguf");
    TinyGguf model;
    model.type = GGML_TYPE_Q8_0;
    model.tied = false;
    model.rope_factors = true;
    write_tiny_gguf(path, model);
    ri_gguf *gguf = nullptr;
    if (!CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err))) return;
    CHECK(ri_debug_live(RI_LIVE_GGUF) == 1);
    ri_gguf_info info;
    CHECK_OK(ri_gguf_describe(gguf, &info, &err));
    CHECK(strcmp(info.architecture, "llama") == 0 && strcmp(info.name, "tiny") == 0 &&
          strcmp(info.file_type, "Q8_0") == 0);
    CHECK(info.n_layer == 2 && info.n_embd == 64 && info.n_head == 4 && info.n_head_kv == 2 && info.head_dim == 16);
    CHECK(info.n_ff == 96 && info.n_vocab == 288 && info.n_context == 256 && info.tied_head == 0);
    // Two tables, one layer's seven matrices and two vectors twice, the last norm, the RoPE
    // factors.
    CHECK(info.n_parameters == 2 * 288 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 2 * 64) + 64 + 8);
    CHECK(info.n_bytes == int64_t(read_all(path).size()));
    CHECK(info.has_tokenizer == 1 && info.has_chat_template == 1 && info.bos == 256 && info.eos == 258 &&
          info.eot == 258);
    CHECK(info.rope_base == 10000.0f && info.rms_eps == 1e-5f);
    CHECK_NEAR(info.embd_rms, 1.0 / 8.0, 0.005); // drawn with variance 1/64; 18,432 draws
    gguf->impl->rope_frequency_scale();
    ri::llm_shape(*gguf->impl);
    ri_gguf_free(gguf);
    CHECK(ri_debug_live(RI_LIVE_GGUF) == 0);
    remove(path.c_str());
}

void test_vocabulary() {
    const std::string path = temporary_path("vocabulary.gguf");
    write_tiny_gguf(path);
    ri_gguf *gguf = nullptr;
    if (!CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err))) return;
    const std::string text = "Se7en \xc3\xa9\n<|im_end|>";
    int32_t tokens[64];
    char back[64];
    size_t n = 0, n_bytes = 0;
    // One token a byte; ten bytes and the end, which is one special token or ten more bytes.
    CHECK_OK(ri_gguf_tokenize(gguf, text.data(), text.size(), 1, tokens, 64, &n, &err));
    CHECK(n == 10 && tokens[0] == 'S' && tokens[9] == 258);
    CHECK_OK(ri_gguf_detokenize(gguf, tokens, n, 1, back, sizeof back, &n_bytes, &err));
    CHECK(std::string(back, n_bytes) == text);
    CHECK_OK(ri_gguf_detokenize(gguf, tokens, n, 0, back, sizeof back, &n_bytes, &err));
    CHECK(std::string(back, n_bytes) == text.substr(0, text.size() - 10));
    CHECK_OK(ri_gguf_detokenize(gguf, tokens, n, 1, back, 3, &n_bytes, &err));
    CHECK(n_bytes == text.size() && memcmp(back, "Se7", 3) == 0);
    CHECK_OK(ri_gguf_tokenize(gguf, text.data(), text.size(), 0, nullptr, 0, &n, &err));
    CHECK(n == 19);
    CHECK_OK(ri_gguf_tokenize(gguf, nullptr, 0, 0, nullptr, 0, &n, &err));
    CHECK(n == 0);
    CHECK(ri_gguf_is_end(gguf, 258) == 1 && ri_gguf_is_end(gguf, 65) == 0 && ri_gguf_is_end(gguf, -1) == 0);
    CHECK(ri_gguf_is_end(gguf, 288) == 0 && ri_gguf_is_end(nullptr, 0) == 0);
    char chat[128];
    CHECK_OK(ri_gguf_chat(gguf, "Hi", chat, sizeof chat, &n_bytes, &err));
    CHECK(std::string(chat, n_bytes) == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"); // ChatML
    tokens[0] = 288;
    CHECK_FAILS(ri_gguf_detokenize(gguf, tokens, 1, 0, back, sizeof back, &n_bytes, &err), RI_INVALID,
                "token 0 is 288");
    CHECK_FAILS(ri_gguf_tokenize(gguf, nullptr, 3, 0, tokens, 64, &n, &err), RI_INVALID, "text is NULL");

    // A row of the table is what the file holds.
    std::vector<float> rows(128);
    tokens[0] = 287;
    tokens[1] = 0;
    CHECK_OK(ri_gguf_embed(gguf, tokens, 2, rows.data(), &err));
    const ri::TensorView table = gguf->impl->tensor("token_embd.weight");
    CHECK(memcmp(rows.data(), static_cast<const float *>(table.data) + 287 * 64, 64 * sizeof(float)) == 0);
    CHECK(memcmp(rows.data() + 64, table.data, 64 * sizeof(float)) == 0);
    tokens[1] = -1;
    CHECK_FAILS(ri_gguf_embed(gguf, tokens, 2, rows.data(), &err), RI_INVALID, "token 1 is -1");
    ri_gguf_free(gguf);
    remove(path.c_str());
}

void test_other_files() {
    ri_gguf *gguf = nullptr;
    CHECK_FAILS(ri_gguf_open(nullptr, &gguf, &err), RI_INVALID, "path is NULL");
    CHECK_FAILS(ri_gguf_open("no/such/file.gguf", &gguf, &err), RI_FILE, "No such file");
    CHECK_FAILS(ri_gguf_open(".", &gguf, &err), RI_FILE, "is a directory");
    CHECK_FAILS(ri_gguf_open("/dev/null", &gguf, &err), RI_FILE, "not a regular file");
    const std::string path = temporary_path("other.gguf");
    write_all(path, "");
    CHECK_FAILS(ri_gguf_open(path.c_str(), &gguf, &err), RI_FILE, "is empty");
    write_all(path, "PK\x03\x04 a zip");
    CHECK_FAILS(ri_gguf_open(path.c_str(), &gguf, &err), RI_FILE, "not a GGUF");

    TinyGguf model;
    model.architecture = "starcoder2";
    write_tiny_gguf(path, model);
    int32_t tokens[4] = {};
    size_t n = 0;
    float row[64];
    CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
    ri_gguf_info info;
    CHECK_OK(ri_gguf_describe(gguf, &info, &err));
    CHECK(strcmp(info.architecture, "starcoder2") == 0 && info.n_layer == 2 && info.has_tokenizer == 1);
    CHECK_OK(ri_gguf_tokenize(gguf, "a", 1, 0, tokens, 4, &n, &err));
    CHECK_OK(ri_gguf_embed(gguf, tokens, 1, row, &err));
    CHECK_FAILS(ri_gguf_check(gguf, &err), RI_UNSUPPORTED, "has architecture starcoder2; adapters");
    ri_gguf_free(gguf);

    model = {};
    model.tokenizer = false;
    write_tiny_gguf(path, model);
    CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
    CHECK_FAILS(ri_gguf_tokenize(gguf, "a", 1, 0, tokens, 4, &n, &err), RI_UNSUPPORTED, "no tokenizer");
    CHECK_FAILS(ri_gguf_chat(gguf, "a", nullptr, 0, &n, &err), RI_UNSUPPORTED, "no tokenizer");
    CHECK_OK(ri_gguf_embed(gguf, tokens, 1, row, &err));
    ri_gguf_free(gguf);
    remove(path.c_str());
}

// Vocabularies that llama.cpp cannot load, or would abort on: the file opens, and says why text
// cannot be tokenised.
void test_odd_vocabularies() {
    const std::string path = temporary_path("odd.gguf");
    auto check = [&](void (*edit)(gguf_context *), const char *text) {
        TinyGguf model;
        model.edit = edit;
        write_tiny_gguf(path, model);
        ri_gguf *gguf = nullptr;
        int32_t tokens[4];
        size_t n = 0;
        ri_gguf_info info;
        CHECK_OK(ri_gguf_open(path.c_str(), &gguf, &err));
        CHECK_OK(ri_gguf_describe(gguf, &info, &err));
        CHECK(info.has_tokenizer == 0 && info.has_chat_template == 0 && info.bos == -1);
        CHECK_FAILS(ri_gguf_tokenize(gguf, "a", 1, 0, tokens, 4, &n, &err), RI_UNSUPPORTED, text);
        ri_gguf_free(gguf);
    };
    check([](gguf_context *m) { gguf_set_val_str(m, "tokenizer.ggml.model", "bert"); }, "bert");
    check([](gguf_context *m) { gguf_set_val_str(m, "tokenizer.ggml.pre", "unheard-of"); }, "unheard-of");
    check([](gguf_context *m) { gguf_remove_key(m, "tokenizer.ggml.merges"); }, "merges");
    check([](gguf_context *m) { gguf_set_val_u32(m, "tokenizer.ggml.tokens", 288); }, "of strings");
    check(
        [](gguf_context *m) {
            const char *tokens[] = {"a", "b", "c"};
            gguf_set_arr_str(m, "tokenizer.ggml.tokens", tokens, 3);
        },
        "names 3 tokens, but has 288");
    check(
        [](gguf_context *m) {
            std::vector<const char *> tokens(288, "a");
            gguf_set_arr_str(m, "tokenizer.ggml.tokens", tokens.data(), tokens.size());
        },
        "token 1 twice");
    // A SentencePiece vocabulary without byte tokens: a byte that has none is an error of that
    // text, not a crash.
    TinyGguf model;
    model.edit = [](gguf_context *m) { gguf_set_val_str(m, "tokenizer.ggml.model", "llama"); };
    write_tiny_gguf(path, model);
    CHECK(exercise(path));
    remove(path.c_str());
}

// What llm_shape says of a file whose keys were edited.
void check_refused(void (*edit)(gguf_context *), ri_status code, const char *text) {
    const std::string path = temporary_path("refused.gguf");
    TinyGguf model;
    model.edit = edit;
    write_tiny_gguf(path, model);
    CHECK_FAILS(ri::guard(&err, [&] { ri::llm_shape(ri::Gguf(path)); }), code, text);
    remove(path.c_str());
}

// A model of an architecture with a key that it does not read.
void check_key(const std::string &architecture, const char *name) {
    static std::string key; // where edit, a plain function, finds it
    key = architecture + "." + name;
    const std::string path = temporary_path("key.gguf");
    TinyGguf model;
    model.architecture = architecture;
    model.edit = [](gguf_context *m) { gguf_set_val_f32(m, key.c_str(), 0.5f); };
    write_tiny_gguf(path, model);
    CHECK_FAILS(ri::guard(&err, [&] { ri::llm_shape(ri::Gguf(path)); }), RI_UNSUPPORTED, key.c_str());
    remove(path.c_str());
}

// A list with an entry for each layer in place of a number.
void check_refused_list(const char *name, const std::vector<int32_t> &list) {
    static const char *key; // where edit, a plain function, finds them
    static std::vector<int32_t> values;
    key = name;
    values = list;
    check_refused([](gguf_context *m) { gguf_set_arr_data(m, key, GGUF_TYPE_INT32, values.data(), values.size()); },
                  RI_UNSUPPORTED, "layer to layer");
}

void test_refusals() {
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.block_count", 0); }, RI_FILE, "block_count is 0");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.block_count", 3); }, RI_FILE, "no tensor blk.2.");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.block_count", 1); }, RI_UNSUPPORTED, "blk.1.");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.block_count", 4000000000u); }, RI_FILE,
                  "4000000000");
    check_refused([](gguf_context *m) { gguf_set_val_str(m, "llama.block_count", "2"); }, RI_FILE, "type str");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.attention.head_count_kv", 3); }, RI_FILE,
                  "cannot share");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.attention.key_length", 15); }, RI_FILE, "pairs");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.embedding_length", 32); }, RI_FILE, "shape");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.expert_count", 8); }, RI_UNSUPPORTED,
                  "architecture llama, a mixture of experts; adapters can be trained through dense models of llama,");
    check_refused(
        [](gguf_context *m) {
            gguf_set_val_str(m, "general.architecture", "jamba");
            gguf_set_val_u32(m, "jamba.attention.head_count", 4);
            gguf_set_val_u32(m, "jamba.ssm.state_size", 16);
        },
        RI_UNSUPPORTED, "architecture jamba, a state-space model or a hybrid");
    check_refused(
        [](gguf_context *m) {
            gguf_set_val_str(m, "general.architecture", "mamba");
            gguf_set_val_u32(m, "mamba.ssm.state_size", 16);
        },
        RI_UNSUPPORTED, "architecture mamba, a state-space model;");
    // Whatever the architecture, keys that change results are named.
    for (const ri::Architecture *const *a = ri::architectures; *a; ++a)
        for (const char *key :
             {"attn_logit_softcapping", "final_logit_softcapping", "attention.max_alibi_bias", "attention.clamp_kqv",
              "attention.temperature_scale", "rope.scaling.yarn_log_multiplier", "attention.layer_norm_epsilon",
              "some_future_scale"})
            if (std::count((*a)->keys.begin(), (*a)->keys.end(), key) == 0) check_key((*a)->name, key);
    check_refused([](gguf_context *m) { gguf_set_val_f32(m, "llama.logit_scale", 2); }, RI_UNSUPPORTED, "logit_scale");
    check_refused([](gguf_context *m) { gguf_set_val_str(m, "llama.rope.scaling.type", "longrope"); }, RI_UNSUPPORTED,
                  "scaling of type longrope cannot be run with architecture llama");
    check_refused([](gguf_context *m) { gguf_set_val_str(m, "llama.rope.scaling.type", "yarn"); }, RI_UNSUPPORTED,
                  "scaling of type yarn cannot be run with architecture llama");
    check_refused([](gguf_context *m) { gguf_set_val_u32(m, "llama.rope.dimension_count", 8); }, RI_UNSUPPORTED,
                  "dimension_count");
    check_refused([](gguf_context *m) { gguf_set_val_f32(m, "llama.attention.layer_norm_rms_epsilon", -1); }, RI_FILE,
                  "epsilon");
    check_refused(
        [](gguf_context *m) {
            const uint32_t heads[2] = {4, 2};
            gguf_set_arr_data(m, "llama.attention.head_count", GGUF_TYPE_UINT32, heads, 2);
        },
        RI_UNSUPPORTED, "layer to layer");
    for (size_t n : {1, 3}) // for 2 layers
        check_refused_list("llama.attention.head_count", std::vector<int32_t>(n, 4));
    check_refused_list("llama.embedding_length", {64, 64}); // which llama.cpp does not read as a list
}

void test_truncation_and_damage() {
    const std::string path = temporary_path("damaged.gguf");
    write_tiny_gguf(path);
    const std::string whole = read_all(path);
    const size_t tensors_end = whole.size();
    // Dense where the metadata is, sparse in the weights.
    for (size_t n = 0; n < tensors_end; n += n < 2048 ? 31 : n < 16384 ? 509 : 20011) {
        write_all(path, whole.substr(0, n));
        CHECK(!exercise(path));
    }
    write_all(path, whole.substr(0, tensors_end - 100));
    ri_gguf *gguf = nullptr;
    CHECK_FAILS(ri_gguf_open(path.c_str(), &gguf, &err), RI_FILE, "cut short: needs");

    std::mt19937_64 random(20260);
    const size_t metadata = 12000;
    int opened = 0;
    for (int i = 0; i < 400; ++i) {
        std::string bytes = whole;
        for (int flips = 1 + int(random() % 3); flips > 0; --flips)
            bytes[random() % (i % 8 ? metadata : bytes.size())] ^= char(1 << random() % 8);
        write_all(path, bytes);
        opened += exercise(path);
    }
    CHECK(opened > 40 && opened < 400); // the damage is neither always fatal nor always harmless
    remove(path.c_str());
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    CASE(test_description());
    CASE(test_vocabulary());
    CASE(test_other_files());
    CASE(test_odd_vocabularies());
    CASE(test_refusals());
    CASE(test_truncation_and_damage());
    return cases.finish();
}
