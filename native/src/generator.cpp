// Generation on llama.cpp: sequences decoded side by side from tokens or vectors, with a shared, cached start. Any
// architecture will do that llama.cpp decodes. Sequence 0 of the cache holds the prefix; each slot has one of the
// others.
#include "engine.h"
#include "kernel_device.h"
#include "llm/shape.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>
#include <tuple>
#include <vector>

namespace ri {

namespace {

constexpr int32_t max_slots = 255;          // llama.cpp runs at most 256 sequences, one is the prefix
constexpr uint32_t positions_at_once = 512; // of one llama_decode

// The most likely token: the first of equals. Throws on NaN and +infinity.
int32_t most_likely(const float *logits, int64_t n) {
    int64_t best = 0;
    bool defined = true;
    for (int64_t i = 0; i < n; ++i) {
        defined &= !std::isnan(logits[i]);
        if (logits[i] > logits[best]) best = i;
    }
    if (!defined || !std::isfinite(logits[best]))
        fail(RI_NUMERIC, "the model's logits are not finite; its weights or the rows are damaged");
    return int32_t(best);
}

// Whether training can run the model; if not, llama.cpp judges it. Throws for a damaged file, on which llama.cpp might
// abort.
bool is_described(const Gguf &gguf) {
    const ri_gguf_info &info = gguf.info();
    if (info.n_vocab < 1 || info.n_embd < 1 || info.n_context < 1)
        fail(RI_UNSUPPORTED, "%s has no table of token embeddings with their width, or no context length",
             gguf.path().c_str());
    try {
        llm_shape(gguf);
        return true;
    } catch (const Error &error) {
        if (error.code != RI_UNSUPPORTED) throw;
        // 0 is also what a size that differs from layer to layer is described as.
        for (const auto &[name, value, low, high] :
             {std::tuple("block_count", info.n_layer, 1, 512), std::tuple("embedding_length", info.n_embd, 1, 1 << 20),
              std::tuple("attention.head_count", info.n_head, 0, 1 << 16),
              std::tuple("attention.head_count_kv", info.n_head_kv, 0, 1 << 16),
              std::tuple("attention.key_length", info.head_dim, 0, 1 << 16),
              std::tuple("feed_forward_length", info.n_ff, 0, 1 << 24)})
            if (value < low || value > high)
                fail(RI_FILE, "%s: %s.%s is %d, not %d to %d", gguf.path().c_str(), info.architecture, name, value, low,
                     high);
        return false;
    }
}

} // namespace

class Generator {
  public:
    Generator(std::shared_ptr<Engine> engine, std::shared_ptr<const Gguf> gguf, const ri_generator_params &params)
        : engine_(std::move(engine)), gguf_(std::move(gguf)), n_slots_(params.n_slots), n_context_(params.n_context) {
        const ri_gguf_info &info = gguf_->info();
        const bool described = is_described(*gguf_);
        if (n_slots_ < 1 || n_slots_ > max_slots) fail(RI_INVALID, "n_slots is %d, not 1 to %d", n_slots_, max_slots);
        if (n_context_ < 1 || n_context_ > info.n_context)
            fail(RI_INVALID, "n_context is %d, not 1 to %d, the positions %s was trained for", n_context_,
                 info.n_context, gguf_->path().c_str());
        n_embd_ = info.n_embd;
        n_vocab_ = info.n_vocab;
        used_.assign(size_t(n_slots_), 0);
        sequence_.resize(size_t(n_slots_));
        holder_.resize(size_t(n_slots_));
        start_over();
        if (engine_->kernels()) kernels_ = std::make_unique<KernelDevice>(*engine_, info.n_parameters);
        load_model();
        make_context();
        if (kernels_) pack_weights();
        if (kernels_ && described && kernels_->products() + kernels_->attentions() == 0)
            fail(RI_INTERNAL,
                 "llama.cpp hands nothing of %s to the core's kernels; the backend portable does without them",
                 gguf_->path().c_str());
    }

    Engine &engine() const { return *engine_; }

    void prefix(const int32_t *tokens, size_t n) {
        if (n >= size_t(n_context_))
            fail(RI_INVALID, "a prefix of %zu tokens leaves no room in a context of %d", n, n_context_);
        for (size_t i = 0; i < n; ++i) require_token(tokens[i], n_vocab_, "token", i);
        llama_memory_clear(memory(), false);
        prefix_ = 0;
        std::fill(used_.begin(), used_.end(), 0);
        try {
            std::vector<Position> positions;
            for (size_t i = 0; i < n; ++i) positions.push_back({0, int32_t(i), false});
            run({nullptr, tokens}, positions, [](size_t, const float *) {});
        } catch (...) {
            llama_memory_clear(memory(), false);
            throw;
        }
        prefix_ = int32_t(n);
        for (int32_t slot = 0; slot < n_slots_; ++slot) reset(slot);
    }

    void reset(int32_t slot) {
        require_slot(slot);
        // Copies all of sequence 0's cells, with or without a prefix, so that nothing of a failed call stays.
        copy_sequence(0, sequence_[size_t(slot)]);
        used_[size_t(slot)] = prefix_;
    }

    void copy(int32_t from, int32_t to) {
        require_slot(from);
        require_slot(to);
        if (from == to) return;
        copy_sequence(sequence_[size_t(from)], sequence_[size_t(to)]);
        used_[size_t(to)] = used_[size_t(from)];
    }

    void decode(const ri_decode_batch &b, const ri_decode_result &result) {
        try {
            append(b, result);
        } catch (...) {
            for (size_t i = 0; b.slots && i < std::min(b.n_slots, size_t(n_slots_)); ++i)
                if (b.slots[i] >= 0 && b.slots[i] < n_slots_) reset(b.slots[i]);
            throw;
        }
    }

  private:
    struct Position {
        llama_seq_id sequence;
        int32_t position;
        bool wanted; // its logits are
    };

    // What is sent for positions: rows [positions, E] or ids [positions]. The other pointer is null.
    struct Inputs {
        const float *rows;
        const int32_t *tokens;
    };

    llama_memory_t memory() const { return llama_get_memory(context_.get()); }

    void load_model() {
        load_backends();
        llama_model_params params = llama_model_default_params();
        ggml_backend_dev_t devices[2] = {};
        if (kernels_)
            devices[0] = kernels_->device();
        else if (!engine_->on_cpu())
            devices[0] = engine_->device();
        params.devices = devices;
        params.n_gpu_layers = engine_->on_cpu() ? 0 : -1; // the CPU's matrices stay in the mapped file
        // The vocabulary is the Gguf's business; llama.cpp only has to know its size.
        llama_model_kv_override overrides[3] = {};
        overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
        strcpy(overrides[0].key, "tokenizer.ggml.model");
        strcpy(overrides[0].val_str, "none");
        overrides[1].tag = LLAMA_KV_OVERRIDE_TYPE_INT;
        snprintf(overrides[1].key, sizeof overrides[1].key, "%s.vocab_size", gguf_->info().architecture);
        overrides[1].val_i64 = n_vocab_;
        params.kv_overrides = overrides;
        forget_logged_error();
        model_.reset(llama_model_load_from_file(gguf_->path().c_str(), params));
        if (!model_) fail(RI_FILE, "llama.cpp cannot load %s: %s", gguf_->path().c_str(), logged_error().c_str());
        if (llama_model_has_encoder(model_.get()) || llama_model_is_diffusion(model_.get()))
            fail(RI_UNSUPPORTED, "%s is of architecture %s, which does not write one token after the other",
                 gguf_->path().c_str(), gguf_->info().architecture);
    }

    // Where the engine is strict: notes an operation that llama.cpp is about to compute, but not on the engine's
    // device. (A graph holds nodes that are not computed, and some that only look at another's memory.) Looking up
    // tokens computes nothing: llama.cpp keeps their table in the host's memory.
    static bool note_stray(ggml_tensor *node, bool, void *generator) {
        auto &self = *static_cast<Generator *>(generator);
        const bool computed = node->buffer && (node->flags & GGML_TENSOR_FLAG_COMPUTE) && node->op != GGML_OP_NONE &&
                              node->op != GGML_OP_VIEW && node->op != GGML_OP_RESHAPE && node->op != GGML_OP_PERMUTE &&
                              node->op != GGML_OP_TRANSPOSE && node->op != GGML_OP_GET_ROWS;
        if (computed && self.stray_.empty() && !self.is_here(node->buffer)) self.stray_ = ggml_op_desc(node);
        return false; // its result is not asked for
    }

    // Memory of the host may be a GPU driver's, too.
    bool is_here(ggml_backend_buffer_t buffer) const {
        return !ggml_backend_buffer_is_host(buffer) &&
               ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer)) == engine_->device();
    }

    void make_context() {
        // The cache keeps each sequence by itself (kv_unified would let every query scan the cells of all slots, and
        // make an answer depend on its neighbours' lengths), in multiples of 256 positions; keys and values are F16.
        const ri_gguf_info &info = gguf_->info();
        const int64_t heads = llama_model_n_head_kv(model_.get()); // of the first layer; of most architectures, of all
        const int64_t each = GGML_PAD(int64_t(n_context_), 256), sequences = n_slots_ + 1;
        const double n_bytes =
            double(sequences) * double(each) * info.n_layer * heads * info.head_dim * 2 * sizeof(ggml_fp16_t);
        size_t free = 0, total = 0;
        ggml_backend_dev_memory(engine_->device(), &free, &total);
        if (n_bytes > double(total) || double(sequences) * double(each) > INT32_MAX)
            fail(RI_MEMORY, "%d slots of %d positions need %.1f GB for keys and values, the device has %.1f; use fewer",
                 n_slots_, n_context_, n_bytes / 1e9, double(total) / 1e9);
        llama_context_params params = llama_context_default_params();
        params.n_ctx = uint32_t(sequences * each);
        params.n_seq_max = uint32_t(sequences);
        params.n_batch = params.n_ubatch = positions_at_once;
        params.n_outputs_max = uint32_t(sequences);
        params.n_threads = params.n_threads_batch = engine_->n_threads();
        params.kv_unified = false;
        // Left to itself, llama.cpp does without where the layers' device, the CPU here, is not the one that attends.
        if (kernels_) params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        if (engine_->strict() && !engine_->on_cpu()) {
            params.cb_eval = note_stray;
            params.cb_eval_user_data = this;
        }
        forget_logged_error();
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_) fail(RI_MEMORY, "llama.cpp cannot make a context: %s", logged_error().c_str());
        if (!memory())
            fail(RI_UNSUPPORTED, "%s is of architecture %s, which keeps nothing of the tokens before",
                 gguf_->path().c_str(), info.architecture);
        if (engine_->pool()) llama_attach_threadpool(context_.get(), engine_->pool(), engine_->pool());
    }

    // Computes one position and forgets it. So the matrices are packed, and what goes wrong meanwhile is said, before
    // the first answer.
    void pack_weights() {
        const int32_t token = 0;
        run({nullptr, &token}, {{0, 0, true}}, [](size_t, const float *) {});
        llama_memory_clear(memory(), false);
    }

    void require_slot(int32_t slot) const {
        if (slot < 0 || slot >= n_slots_) fail(RI_INVALID, "slot %d does not exist; there are %d", slot, n_slots_);
    }

    // Throws, with nothing changed, unless all of a batch is valid.
    void check(const ri_decode_batch &b) const {
        if (b.n_slots == 0 || b.n_slots > size_t(n_slots_))
            fail(RI_INVALID, "%zu slots in a call; there are %d", b.n_slots, n_slots_);
        require(b.slots, "batch.slots");
        require(b.counts, "batch.counts");
        if (!b.rows == !b.tokens) fail(RI_INVALID, "exactly one of batch.rows and batch.tokens must be given");
        if (b.rows && llama_model_n_embd_inp(model_.get()) != n_embd_)
            fail(RI_UNSUPPORTED, "%s takes tokens only: its inputs are %d numbers wide, an embedding is %d",
                 gguf_->path().c_str(), llama_model_n_embd_inp(model_.get()), n_embd_);
        std::vector<bool> seen(static_cast<size_t>(n_slots_));
        for (size_t i = 0, row = 0; i < b.n_slots; ++i) {
            require_slot(b.slots[i]);
            const size_t slot = size_t(b.slots[i]);
            if (seen[slot]) fail(RI_INVALID, "slot %zu is named twice", slot);
            seen[slot] = true;
            if (b.counts[i] < 1) fail(RI_INVALID, "slot %zu: count is %d, not 1 or more", slot, b.counts[i]);
            if (b.counts[i] > n_context_ - used_[slot])
                fail(RI_INVALID, "slot %zu holds %d of %d positions; %d more do not fit", slot, used_[slot], n_context_,
                     b.counts[i]);
            for (const size_t end = row + size_t(b.counts[i]); row < end; ++row) check_row(b, row, slot);
        }
        for (size_t i = 0, at = 0; b.asked_counts && i < b.n_slots; ++i) {
            if (b.asked_counts[i] < 0)
                fail(RI_INVALID, "slot %d: %d tokens are asked about", b.slots[i], b.asked_counts[i]);
            if (b.asked_counts[i]) require(b.asked, "batch.asked");
            for (const size_t end = at + size_t(b.asked_counts[i]); at < end; ++at)
                require_token(b.asked[at], n_vocab_, "asked token", at);
        }
    }

    void check_row(const ri_decode_batch &b, size_t row, size_t slot) const {
        if (b.tokens) return require_token(b.tokens[row], n_vocab_, "token", row);
        for (size_t e = 0; e < size_t(n_embd_); ++e)
            if (!std::isfinite(b.rows[row * size_t(n_embd_) + e]))
                fail(RI_NUMERIC, "row %zu, for slot %zu, holds %g at %zu", row, slot,
                     double(b.rows[row * size_t(n_embd_) + e]), e);
    }

    void copy_sequence(llama_seq_id from, llama_seq_id to) {
        llama_memory_seq_rm(memory(), to, -1, -1);
        llama_memory_seq_cp(memory(), from, to, -1, -1);
    }

    // The order of sequences shows in the last digits of what is computed. Where no slot holds anything but the prefix
    // it is that of a new generator, so that answers do not depend on those before them.
    void start_over() {
        if (std::any_of(used_.begin(), used_.end(), [&](int32_t used) { return used != prefix_; })) return;
        std::iota(sequence_.begin(), sequence_.end(), 1);
        std::iota(holder_.begin(), holder_.end(), 0);
    }

    // llama.cpp computes sequences together only where their numbers follow each other. So the slots of a call move
    // together: the last of them changes places with an empty slot in front of it, while there is one.
    void close_gaps(const ri_decode_batch &b) {
        start_over();
        std::vector<bool> called(static_cast<size_t>(n_slots_));
        for (size_t i = 0; i < b.n_slots; ++i) called[size_t(b.slots[i])] = true;
        int32_t last = n_slots_ - 1;
        for (int32_t gap = 0; gap < last; ++gap) {
            const int32_t empty = holder_[size_t(gap)];
            if (called[size_t(empty)] || used_[size_t(empty)] != prefix_) continue;
            while (last > gap && !called[size_t(holder_[size_t(last)])]) --last;
            if (last == gap) return;
            const int32_t moved = holder_[size_t(last)];
            if (used_[size_t(moved)] != prefix_) { // else both hold the prefix alone, and nothing needs to be copied
                copy_sequence(last + 1, gap + 1);
                copy_sequence(0, last + 1);
            }
            std::swap(holder_[size_t(gap)], holder_[size_t(last)]);
            std::swap(sequence_[size_t(moved)], sequence_[size_t(empty)]);
        }
    }

    void append(const ri_decode_batch &b, const ri_decode_result &result) {
        check(b);
        close_gaps(b);
        // In the order of their sequences; `first` is where a slot's rows start in the batch, `asked` where its tokens
        // asked about do.
        struct Part {
            size_t place, first, asked, n_asked;
        };
        std::vector<Part> parts;
        size_t row = 0, n_asked = 0;
        for (size_t i = 0; i < b.n_slots; ++i) {
            parts.push_back({i, row, n_asked, b.asked_counts ? size_t(b.asked_counts[i]) : 0});
            row += size_t(b.counts[i]);
            n_asked += parts.back().n_asked;
        }
        auto sequence_of = [&](const Part &part) { return sequence_[size_t(b.slots[part.place])]; };
        std::sort(parts.begin(), parts.end(),
                  [&](const Part &x, const Part &y) { return sequence_of(x) < sequence_of(y); });
        const size_t width = size_t(n_embd_);
        std::vector<Position> positions;
        std::vector<float> rows;
        std::vector<int32_t> ids;
        for (const Part &part : parts) {
            const int32_t used = used_[size_t(b.slots[part.place])], count = b.counts[part.place];
            for (int32_t j = 0; j < count; ++j) positions.push_back({sequence_of(part), used + j, j + 1 == count});
            const size_t end = part.first + size_t(count);
            if (b.tokens)
                ids.insert(ids.end(), b.tokens + part.first, b.tokens + end);
            else
                rows.insert(rows.end(), b.rows + part.first * width, b.rows + end * width);
        }
        // Results are kept until all is well: a failure writes no output.
        std::vector<int32_t> tokens(b.n_slots);
        std::vector<float> logprobs(b.n_slots), asked(n_asked),
            logits(result.logits ? b.n_slots * size_t(n_vocab_) : 0);
        const Inputs inputs{b.rows ? rows.data() : nullptr, b.tokens ? ids.data() : nullptr};
        run(inputs, positions, [&](size_t i, const float *values) {
            const Part &part = parts[i];
            tokens[part.place] = most_likely(values, n_vocab_);
            if (result.logprobs || part.n_asked) {
                const float most = values[tokens[part.place]];
                const float rest = std::log(engine_->host_kernels().sum_of_exponentials(values, n_vocab_, most));
                logprobs[part.place] = -rest;
                for (size_t a = part.asked; a < part.asked + part.n_asked; ++a)
                    asked[a] = values[b.asked[a]] - most - rest;
            }
            if (result.logits) std::copy_n(values, n_vocab_, logits.begin() + ptrdiff_t(part.place * size_t(n_vocab_)));
        });
        for (size_t i = 0; i < b.n_slots; ++i) used_[size_t(b.slots[i])] += b.counts[i];
        if (result.tokens) std::copy(tokens.begin(), tokens.end(), result.tokens);
        if (result.logprobs) std::copy(logprobs.begin(), logprobs.end(), result.logprobs);
        if (result.asked) std::copy(asked.begin(), asked.end(), result.asked);
        std::copy(logits.begin(), logits.end(), result.logits);
    }

    // Decodes in pieces that llama.cpp takes; gives each wanted position's logits to result(i, logits), i counting
    // them, from up to two threads.
    template <typename Result> void run(const Inputs &inputs, const std::vector<Position> &positions, Result &&result) {
        size_t n_results = 0;
        for (size_t first = 0; first < positions.size(); first += positions_at_once) {
            const size_t n = std::min(size_t(positions_at_once), positions.size() - first);
            std::vector<llama_pos> position(n);
            std::vector<int32_t> n_sequences(n, 1);
            std::vector<llama_seq_id> sequence(n);
            std::vector<llama_seq_id *> sequences(n);
            std::vector<int8_t> wanted(n);
            std::vector<int32_t> outputs;
            for (size_t i = 0; i < n; ++i) {
                const Position &p = positions[first + i];
                position[i] = p.position;
                sequence[i] = p.sequence;
                sequences[i] = &sequence[i];
                wanted[i] = p.wanted;
                if (p.wanted) outputs.push_back(int32_t(i));
            }
            llama_batch batch{};
            batch.n_tokens = int32_t(n);
            if (inputs.rows) // both are only read
                batch.embd = const_cast<float *>(inputs.rows + first * size_t(n_embd_));
            else
                batch.token = const_cast<int32_t *>(inputs.tokens + first);
            batch.pos = position.data();
            batch.n_seq_id = n_sequences.data();
            batch.seq_id = sequences.data();
            batch.logits = wanted.data();
            forget_logged_error();
            const int32_t status = llama_decode(context_.get(), batch);
            if (kernels_) kernels_->rethrow();
            if (status == 1) fail(RI_INTERNAL, "llama.cpp found no room in its cache for %zu positions", n);
            if (status != 0)
                fail(status == -2 ? RI_MEMORY : RI_BACKEND, "llama.cpp failed to decode (%d): %s", status,
                     logged_error().c_str());
            if (!stray_.empty())
                fail(RI_UNSUPPORTED,
                     "llama.cpp computes %s on the CPU and not on %s, which the strict engine forbids; "
                     "allow that, take another LLM, or compute on the CPU",
                     stray_.c_str(), ggml_backend_dev_description(engine_->device()));
            std::vector<const float *> logits;
            for (int32_t i : outputs) {
                logits.push_back(llama_get_logits_ith(context_.get(), i));
                if (!logits.back()) fail(RI_INTERNAL, "llama.cpp gave no logits for position %d", i);
            }
            each_on_two_threads(logits.size(), [&](size_t i) { result(n_results + i, logits[i]); });
            n_results += logits.size();
        }
    }

    // body(0..n), the second half on another thread when there is enough of it; rethrows what it threw.
    template <typename Body> void each_on_two_threads(size_t n, Body &&body) const {
        const size_t half = n >= 8 && engine_->n_threads() > 1 ? n / 2 : n;
        std::exception_ptr error;
        std::thread other;
        if (half < n)
            other = std::thread([&] {
                try {
                    for (size_t i = half; i < n; ++i) body(i);
                } catch (...) {
                    error = std::current_exception();
                }
            });
        std::exception_ptr own;
        try {
            for (size_t i = 0; i < half; ++i) body(i);
        } catch (...) {
            own = std::current_exception();
        }
        if (other.joinable()) other.join();
        if (own) std::rethrow_exception(own);
        if (error) std::rethrow_exception(error);
    }

    std::shared_ptr<Engine> engine_;
    std::shared_ptr<const Gguf> gguf_;
    int32_t n_slots_, n_context_, n_embd_ = 0, n_vocab_ = 0;
    int32_t prefix_ = 0;                    // positions of the shared start
    std::vector<int32_t> used_;             // [n_slots]: positions in each, the prefix included
    std::vector<llama_seq_id> sequence_;    // [n_slots]: of each slot
    std::vector<int32_t> holder_;           // [n_slots]: the slot that has sequence i + 1
    std::string stray_;                     // the first operation that was computed elsewhere than it may be
    std::unique_ptr<KernelDevice> kernels_; // null: llama.cpp computes with ggml's alone
    llama_model_ptr model_;
    llama_context_ptr context_;
};

} // namespace ri

struct ri_generator : ri::Counted<RI_LIVE_GENERATOR> {
    std::shared_ptr<ri::Generator> impl;
};

extern "C" {

ri_generator_params ri_generator_params_default(void) {
    ri_generator_params p{};
    p.n_slots = 1;
    return p;
}

ri_status ri_generator_create(ri_engine *engine, const ri_gguf *gguf, const ri_generator_params *params,
                              ri_generator **out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(engine, "engine");
        ri::require(gguf, "gguf");
        ri::require(params, "params");
        ri::require(out, "out");
        auto handle = std::make_unique<ri_generator>();
        std::lock_guard<std::mutex> hold(engine->impl->lock());
        handle->impl = std::make_shared<ri::Generator>(engine->impl, gguf->impl, *params);
        *out = handle.release();
    });
}

void ri_generator_free(ri_generator *generator) { delete generator; }

ri_status ri_generator_prefix(ri_generator *generator, const int32_t *tokens, size_t n, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(generator, "generator");
        if (n) ri::require(tokens, "tokens");
        std::lock_guard<std::mutex> hold(generator->impl->engine().lock());
        generator->impl->prefix(tokens, n);
    });
}

ri_status ri_generator_reset(ri_generator *generator, int32_t slot, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(generator, "generator");
        std::lock_guard<std::mutex> hold(generator->impl->engine().lock());
        generator->impl->reset(slot);
    });
}

ri_status ri_generator_copy(ri_generator *generator, int32_t from, int32_t to, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(generator, "generator");
        std::lock_guard<std::mutex> hold(generator->impl->engine().lock());
        generator->impl->copy(from, to);
    });
}

ri_status ri_generator_decode(ri_generator *generator, const ri_decode_batch *batch, const ri_decode_result *result,
                              ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(generator, "generator");
        ri::require(batch, "batch");
        ri::require(result, "result");
        std::lock_guard<std::mutex> hold(generator->impl->engine().lock());
        generator->impl->decode(*batch, *result);
    });
}

} // extern "C"
