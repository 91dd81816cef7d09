// The vocabulary and the chat template of a GGUF, on llama.cpp's tokenizer.
#include "gguf.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include <climits>
#include <cstring>
#include <unordered_set>
#include <vector>

namespace ri {

namespace {

// Why llama.cpp could not load this vocabulary, or would abort on it; empty when it can.
std::string obstacle(const Gguf &gguf) {
    const gguf_context *m = gguf.metadata();
    const std::string model = gguf.text("tokenizer.ggml.model").value_or("none");
    if (model == "none" || model == "no_vocab") return "has no tokenizer";
    if (model != "llama" && model != "gpt2")
        return "has a tokenizer of kind " + model + "; only llama and gpt2 are supported";
    const int64_t id = gguf_find_key(m, "tokenizer.ggml.tokens");
    if (id < 0 || gguf_get_kv_type(m, id) != GGUF_TYPE_ARRAY || gguf_get_arr_type(m, id) != GGUF_TYPE_STRING)
        return "has no list tokenizer.ggml.tokens of strings";
    const size_t n = gguf_get_arr_n(m, id);
    if (int64_t(n) != gguf.info().n_vocab)
        return "names " + std::to_string(n) + " tokens, but has " + std::to_string(gguf.info().n_vocab) + " embeddings";
    std::unordered_set<std::string> seen;
    for (size_t i = 0; i < n; ++i) {
        std::string token = gguf_get_arr_str(m, id, i);
        if (token.empty()) token = "[EMPTY_" + std::to_string(i) + "]"; // as llama.cpp renames it
        if (!seen.insert(std::move(token)).second) return "names token " + std::to_string(i) + " twice";
    }
    return "";
}

int32_t known(llama_token token) { return token == LLAMA_TOKEN_NULL ? -1 : token; }

// Copies a text as far as it fits; *n_bytes is its whole length.
void copy_out(const std::string &text, char *dst, size_t capacity, size_t *n_bytes) {
    *n_bytes = text.size();
    if (capacity) memcpy(dst, text.data(), std::min(capacity, text.size()));
}

// A text longer than this in one call is refused: llama.cpp counts in 32 bits.
constexpr size_t longest_text = 64u << 20;

std::vector<llama_token> tokenise(const llama_vocab *vocab, const char *text, size_t n_bytes, bool parse_special) {
    std::vector<llama_token> tokens(n_bytes + 16);
    int32_t n =
        llama_tokenize(vocab, text, int32_t(n_bytes), tokens.data(), int32_t(tokens.size()), false, parse_special);
    if (n < 0 && n != INT32_MIN) {
        tokens.resize(size_t(-n));
        n = llama_tokenize(vocab, text, int32_t(n_bytes), tokens.data(), int32_t(tokens.size()), false, parse_special);
    }
    if (n < 0) fail(RI_INVALID, "a text of %zu bytes has too many tokens", n_bytes);
    tokens.resize(size_t(n));
    return tokens;
}

std::string detokenise(const llama_vocab *vocab, const int32_t *tokens, size_t n_tokens, bool special) {
    std::string text(n_tokens * 8 + 64, '\0');
    int32_t n = llama_detokenize(vocab, tokens, int32_t(n_tokens), text.data(), int32_t(text.size()), false, special);
    if (n < 0) {
        text.resize(size_t(-int64_t(n)));
        n = llama_detokenize(vocab, tokens, int32_t(n_tokens), text.data(), int32_t(text.size()), false, special);
    }
    if (n < 0) fail(RI_INTERNAL, "llama.cpp gives two lengths for one text");
    text.resize(size_t(n));
    return text;
}

// The token that closes an answer in a chat template; -1 if none does. llama.cpp takes any one of
// several tokens, by name, for the end of a turn, not always the one that the model was trained
// with.
int32_t end_of_answer(const llama_vocab *vocab, const ChatTemplate &chat_template) {
    const std::string answer = "answer";
    try {
        const std::string text = chat_template.apply("question", answer);
        const size_t at = text.rfind(answer);
        if (at == std::string::npos) return -1;
        const size_t end = at + answer.size();
        for (llama_token token : tokenise(vocab, text.data() + end, text.size() - end, true))
            if (llama_vocab_is_eog(vocab, token)) return token;
    } catch (const std::exception &) { // the template refuses answers, or a byte of the text has no token
    }
    return -1;
}

// The text of a token that a file names under `key`, or none.
std::string text_of(const Gguf &gguf, const llama_vocab *vocab, const char *key) {
    const int64_t token = gguf.integer(key).value_or(-1);
    if (token < 0 || token >= llama_vocab_n_tokens(vocab)) return "";
    const int32_t id = int32_t(token);
    return detokenise(vocab, &id, 1, true);
}

} // namespace

void Gguf::FreeModel::operator()(llama_model *model) const { llama_model_free(model); }

void Gguf::load_vocabulary() {
    info_.bos = info_.eos = info_.eot = -1;
    no_vocabulary_ = obstacle(*this);
    if (!no_vocabulary_.empty()) return;
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    forget_logged_error();
    vocabulary_.reset(llama_model_load_from_file(path_.c_str(), params));
    if (!vocabulary_) {
        no_vocabulary_ = "has a tokenizer that llama.cpp refuses (" + logged_error() + ")";
        return;
    }
    info_.has_tokenizer = 1;
    const llama_vocab *vocab = llama_model_get_vocab(vocabulary_.get());
    // llama.cpp has a token of its own choice where a file names none.
    if (integer("tokenizer.ggml.bos_token_id") && integer("tokenizer.ggml.add_bos_token").value_or(1) != 0)
        info_.bos = known(llama_vocab_bos(vocab));
    info_.eos = known(llama_vocab_eos(vocab));
    info_.eot = known(llama_vocab_eot(vocab));
    const int64_t id = gguf_find_key(metadata(), "tokenizer.chat_template");
    if (id < 0 || gguf_get_kv_type(metadata(), id) != GGUF_TYPE_STRING) return;
    try {
        chat_template_.emplace(gguf_get_val_str(metadata(), id), text_of(*this, vocab, "tokenizer.ggml.bos_token_id"),
                               text_of(*this, vocab, "tokenizer.ggml.eos_token_id"));
    } catch (const std::runtime_error &) {
        info_.has_unknown_template = 1;
        return;
    }
    info_.has_chat_template = 1;
    if (const int32_t end = end_of_answer(vocab, *chat_template_); end >= 0) info_.eot = end;
}

const llama_vocab *Gguf::vocab() const {
    if (!vocabulary_) fail(RI_UNSUPPORTED, "%s %s", path_.c_str(), no_vocabulary_.c_str());
    return llama_model_get_vocab(vocabulary_.get());
}

const ChatTemplate &Gguf::chat_template() const {
    vocab();
    if (!chat_template_)
        fail(RI_UNSUPPORTED, "%s has no chat template that llama.cpp can apply; write the prompt without one",
             path_.c_str());
    return *chat_template_;
}

} // namespace ri

extern "C" {

ri_status ri_gguf_tokenize(const ri_gguf *gguf, const char *text, size_t n_bytes, int32_t parse_special, int32_t *dst,
                           size_t capacity, size_t *count, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        if (n_bytes) ri::require(text, "text");
        if (capacity) ri::require(dst, "dst");
        ri::require(count, "count");
        const llama_vocab *vocab = gguf->impl->vocab();
        if (n_bytes > ri::longest_text) ri::fail(RI_INVALID, "a text of %zu bytes is too long; cut it", n_bytes);
        std::vector<llama_token> tokens;
        try {
            if (n_bytes) tokens = ri::tokenise(vocab, text, n_bytes, parse_special != 0);
        } catch (const std::logic_error &e) { // llama.cpp: a byte of the text has no token
            ri::fail(RI_UNSUPPORTED, "%s cannot tokenise this text: %s", gguf->impl->path().c_str(), e.what());
        }
        *count = tokens.size();
        std::copy(tokens.begin(), tokens.begin() + ptrdiff_t(std::min(capacity, tokens.size())), dst);
    });
}

ri_status ri_gguf_detokenize(const ri_gguf *gguf, const int32_t *tokens, size_t n_tokens, int32_t special, char *dst,
                             size_t capacity, size_t *n_bytes, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        if (n_tokens) ri::require(tokens, "tokens");
        if (capacity) ri::require(dst, "dst");
        ri::require(n_bytes, "n_bytes");
        const llama_vocab *vocab = gguf->impl->vocab();
        if (n_tokens > ri::longest_text) ri::fail(RI_INVALID, "%zu tokens are too many for one call", n_tokens);
        for (size_t i = 0; i < n_tokens; ++i) ri::require_token(tokens[i], llama_vocab_n_tokens(vocab), "token", i);
        ri::copy_out(n_tokens ? ri::detokenise(vocab, tokens, n_tokens, special != 0) : "", dst, capacity, n_bytes);
    });
}

int32_t ri_gguf_is_end(const ri_gguf *gguf, int32_t token) {
    if (!gguf || !gguf->impl->info().has_tokenizer) return 0;
    const llama_vocab *vocab = gguf->impl->vocab();
    return token >= 0 && token < llama_vocab_n_tokens(vocab) && llama_vocab_is_eog(vocab, token);
}

ri_status ri_gguf_chat(const ri_gguf *gguf, const char *user_message, char *dst, size_t capacity, size_t *n_bytes,
                       ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(gguf, "gguf");
        ri::require(user_message, "user_message");
        if (capacity) ri::require(dst, "dst");
        ri::require(n_bytes, "n_bytes");
        const ri::ChatTemplate &chat_template = gguf->impl->chat_template();
        if (strlen(user_message) > ri::longest_text)
            ri::fail(RI_INVALID, "a message of %zu bytes is too long", strlen(user_message));
        std::string text;
        try {
            text = chat_template.apply(user_message);
        } catch (const std::exception &e) {
            ri::fail(RI_UNSUPPORTED, "%s: its chat template refuses this message: %s", gguf->impl->path().c_str(),
                     e.what());
        }
        ri::copy_out(text, dst, capacity, n_bytes);
    });
}

} // extern "C"
