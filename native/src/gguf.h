// A GGUF file: what it says of itself, its tensors in place, its vocabulary.
#pragma once

#include "chat_template.h"
#include "logs.h"
#include "status.h"

#include "ggml-cpp.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

struct llama_model;
struct llama_vocab;

namespace ri {

// A tensor where it lies in the mapped file; valid as long as its Gguf.
struct TensorView {
    ggml_type type;
    int64_t ne[4]; // ggml's order: ne[0] is contiguous; 1 beyond the tensor's dimensions
    const void *data;
    size_t n_bytes;
};

// Throws unless `value` can be a token of a vocabulary of `n_vocab`; `what` and `index` name it in
// the message.
void require_token(int32_t value, int64_t n_vocab, const char *what, size_t index);

// Immutable once made, so all methods may be called from several threads at once.
class Gguf {
  public:
    // Maps the file, checks that it is whole, and reads its description and, where there is one,
    // its vocabulary. Of a split file any part may be named; all of them are mapped.
    explicit Gguf(const std::string &path);
    ~Gguf();
    Gguf(const Gguf &) = delete;
    Gguf &operator=(const Gguf &) = delete;

    const ri_gguf_info &info() const { return info_; }
    const std::string &path() const { return path_; } // of a split file its first part's
    const gguf_context *metadata() const { return parts_.front()->metadata.get(); }

    const std::vector<std::string> &tensor_names() const { return names_; }
    bool has(const std::string &tensor) const;
    TensorView tensor(const std::string &name) const; // throws RI_FILE if there is none
    // Rows [first, first + n) of a tensor seen as rows of ne[0] numbers: dst [n, ne[0]]. The range
    // must lie inside.
    void dequantise_rows(const TensorView &view, int64_t first, int64_t n, float *dst) const;
    // Takes a tensor's pages off this process's memory. They stay in the system's cache, and come
    // back when they are read.
    void let_go(const TensorView &view) const;
    // What the rows of the token-embedding table are multiplied by.
    float token_scale() const;
    // Rows of the token-embedding table, so multiplied: dst [n, E]. Throws for a token outside the
    // vocabulary.
    void embed(const int32_t *tokens, size_t n, float *dst) const;

    // Values of the metadata; nothing if the key is missing, RI_FILE if its type is another.
    std::optional<int64_t> integer(const std::string &key) const;
    std::optional<double> number(const std::string &key) const;
    std::optional<std::string> text(const std::string &key) const;
    // The integer that a list repeats for each layer; nothing if its entries differ, or there is no
    // such list.
    std::optional<int64_t> repeated(const std::string &key) const;

    // Positions are multiplied by this before rotation: 1, or 1/factor with linear RoPE scaling.
    float rope_frequency_scale() const;

    // Throws RI_UNSUPPORTED, naming the reason, when the file has no vocabulary that can be used.
    const llama_vocab *vocab() const;
    // The chat template; throws RI_UNSUPPORTED when there is none.
    const ChatTemplate &chat_template() const;

  private:
    struct Mapping {
        const char *data = nullptr;
        size_t size = 0;
        explicit Mapping(const std::string &path);
        ~Mapping();
        Mapping(const Mapping &) = delete;
        Mapping &operator=(const Mapping &) = delete;
    };

    // A file, or one of those that it is split into.
    struct Part {
        std::string path;
        Mapping file;
        gguf_context_ptr metadata;
        explicit Part(const std::string &path);
    };

    void open_parts();
    void index_tensors();
    void describe();
    void load_vocabulary();

    std::string path_;
    std::vector<std::unique_ptr<Part>> parts_;
    std::vector<std::string> names_;
    std::map<std::string, std::pair<const Part *, int64_t>> tensors_; // their part, and their number there
    ri_gguf_info info_{};
    struct FreeModel {
        void operator()(llama_model *model) const;
    };
    std::unique_ptr<llama_model, FreeModel> vocabulary_; // a model without weights
    std::string no_vocabulary_;                          // why there is none
    std::optional<ChatTemplate> chat_template_;
};

} // namespace ri

struct ri_gguf : ri::Counted<RI_LIVE_GGUF> {
    std::shared_ptr<const ri::Gguf> impl;
};
