// Generation on llama.cpp: sequences decoded side by side from tokens or vectors, with a shared,
// cached start. Any architecture will do that llama.cpp decodes. Sequence 0 of a context's cache
// holds the prefix; each slot has one of the others.
#include "engine.h"
#include "kernel_device.h"
#include "llm/shape.h"
#include "selection.h"

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

constexpr int32_t slots_of_lane = 255; // llama.cpp runs at most 256 sequences in a context, one is the prefix
// Positions of one llama_decode: of the CPU, and at most of a GPU, which takes the prompts of all
// slots at once.
constexpr uint32_t positions_at_once = 512, most_positions_at_once = 8192, positions_of_prompt = 32;

void require_defined(float number) {
    if (!std::isfinite(number))
        fail(RI_NUMERIC, "the model's logits are not finite; its weights or the rows are damaged");
}

// The most likely token: the first of equals. Throws on NaN and +infinity.
int32_t most_likely(const float *logits, int64_t n) {
    int64_t best = 0;
    bool defined = true;
    for (int64_t i = 0; i < n; ++i) {
        defined &= !std::isnan(logits[i]);
        if (logits[i] > logits[best]) best = i;
    }
    require_defined(defined ? logits[best] : NAN);
    return int32_t(best);
}

// Whether training can run the model; if not, llama.cpp judges it. Throws for a damaged file, on
// which llama.cpp might abort.
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
        if (n_slots_ < 1 || n_slots_ > RI_MAX_SLOTS)
            fail(RI_INVALID, "n_slots is %d, not 1 to %d", n_slots_, RI_MAX_SLOTS);
        if (n_context_ < 1 || n_context_ > info.n_context)
            fail(RI_INVALID, "n_context is %d, not 1 to %d, the positions %s was trained for", n_context_,
                 info.n_context, gguf_->path().c_str());
        n_embd_ = info.n_embd;
        n_vocab_ = info.n_vocab;
        used_.assign(size_t(n_slots_), 0);
        if (engine_->kernels()) kernels_ = std::make_unique<KernelDevice>(*engine_, info.n_parameters);
        selects_ = !kernels_ && Selection::supported(engine_->device());
        load_model();
        const int32_t n_lanes = (n_slots_ + slots_of_lane - 1) / slots_of_lane;
        each_lane_ = (n_slots_ + n_lanes - 1) / n_lanes;
        for (int32_t first = 0; first < n_slots_; first += each_lane_) make_lane(first);
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
        clear();
        prefix_ = 0;
        std::fill(used_.begin(), used_.end(), 0);
        try {
            std::vector<Position> positions;
            for (size_t i = 0; i < n; ++i) positions.push_back({0, int32_t(i), false});
            for (Lane &lane : lanes_) run(lane, {nullptr, tokens}, positions, [](size_t, const float *) {});
        } catch (...) {
            clear();
            throw;
        }
        prefix_ = int32_t(n);
        for (int32_t slot = 0; slot < n_slots_; ++slot) reset(slot);
    }

    void reset(int32_t slot) {
        require_slot(slot);
        // Copies all of sequence 0's cells, with or without a prefix, so that nothing of a failed
        // call stays.
        Lane &lane = lane_of(slot);
        lane.copy(0, lane.sequence_of(slot));
        used_[size_t(slot)] = prefix_;
    }

    void copy(int32_t from, int32_t to) {
        require_slot(from);
        require_slot(to);
        if (from == to) return;
        Lane &source = lane_of(from), &lane = lane_of(to);
        if (used_[size_t(from)] == prefix_) return reset(to);
        if (&source == &lane)
            lane.copy(lane.sequence_of(from), lane.sequence_of(to));
        else
            carry(source, source.sequence_of(from), lane, lane.sequence_of(to));
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

    // What is sent for positions: rows [positions, E] or ids [positions]. The other pointer is
    // null.
    struct Inputs {
        const float *rows;
        const int32_t *tokens;
    };

    // Slots that llama.cpp computes together, with a context of their own.
    struct Lane {
        int32_t first = 0, count = 0; // of its slots
        llama_context_ptr context;
        std::unique_ptr<Selection> selection; // null: the host chooses tokens
        std::vector<llama_seq_id> sequence;   // [count]: of each slot
        std::vector<int32_t> holder;          // [count]: the slot, less `first`, that has sequence i + 1

        llama_memory_t memory() const { return llama_get_memory(context.get()); }
        llama_seq_id sequence_of(int32_t slot) const { return sequence[size_t(slot - first)]; }
        bool has(int32_t slot) const { return slot >= first && slot < first + count; }
        void copy(llama_seq_id from, llama_seq_id to) {
            llama_memory_seq_rm(memory(), to, -1, -1);
            llama_memory_seq_cp(memory(), from, to, -1, -1);
        }
        void start_over() {
            std::iota(sequence.begin(), sequence.end(), 1);
            std::iota(holder.begin(), holder.end(), 0);
        }
    };
    Lane &lane_of(int32_t slot) { return lanes_[size_t(slot / each_lane_)]; }

    void clear() {
        for (Lane &lane : lanes_) llama_memory_clear(lane.memory(), false);
    }

    // Copies what a sequence holds to another context's. llama.cpp copies within a context only
    // when it next decodes, and would then overwrite what came from elsewhere; so it decodes a
    // token first.
    void carry(Lane &source, llama_seq_id from, Lane &lane, llama_seq_id to) {
        const int32_t token = 0;
        lane.copy(0, to);
        run(lane, {nullptr, &token}, {{to, prefix_, false}}, [](size_t, const float *) {});
        std::vector<uint8_t> state(llama_state_seq_get_size(source.context.get(), from));
        llama_state_seq_get_data(source.context.get(), state.data(), state.size(), from);
        llama_memory_seq_rm(lane.memory(), to, -1, -1);
        if (llama_state_seq_set_data(lane.context.get(), state.data(), state.size(), to) == 0)
            fail(RI_INTERNAL, "llama.cpp did not take a sequence from another context: %s", logged_error().c_str());
    }

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

    // Where the engine is strict: notes an operation that llama.cpp is about to compute, but not on
    // the engine's device. (A graph holds nodes that are not computed, and some that only look at
    // another's memory.) Looking up tokens computes nothing: llama.cpp keeps their table in the
    // host's memory.
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

    void make_lane(int32_t first) {
        Lane lane;
        lane.first = first;
        lane.count = std::min(each_lane_, n_slots_ - first);
        lane.sequence.resize(size_t(lane.count));
        lane.holder.resize(size_t(lane.count));
        lane.start_over();
        // The cache keeps each sequence by itself (kv_unified would let every query scan the cells
        // of all slots, and make an answer depend on its neighbours' lengths), in multiples of 256
        // positions; keys and values are F16.
        const ri_gguf_info &info = gguf_->info();
        const int64_t heads = llama_model_n_head_kv(model_.get()); // of the first layer; of most architectures, of all
        const int64_t each = GGML_PAD(int64_t(n_context_), 256), sequences = lane.count + 1;
        const double n_bytes =
            double(n_slots_ + 1) * double(each) * info.n_layer * heads * info.head_dim * 2 * sizeof(ggml_fp16_t);
        size_t free = 0, total = 0;
        ggml_backend_dev_memory(engine_->device(), &free, &total);
        if (n_bytes > double(total) || double(sequences) * double(each) > INT32_MAX)
            fail(RI_MEMORY, "%d slots of %d positions need %.1f GB for keys and values, the device has %.1f; use fewer",
                 n_slots_, n_context_, n_bytes / 1e9, double(total) / 1e9);
        llama_context_params params = llama_context_default_params();
        params.n_ctx = uint32_t(sequences * each);
        params.n_seq_max = uint32_t(sequences);
        if (!engine_->on_cpu())
            at_once_ =
                std::clamp(positions_of_prompt * uint32_t(lane.count), positions_at_once, most_positions_at_once);
        params.n_batch = params.n_ubatch = at_once_;
        params.n_outputs_max = uint32_t(sequences);
        params.n_outputs_max_per_seq = 1;
        params.n_threads = params.n_threads_batch = engine_->n_threads();
        params.kv_unified = false;
        // Left to itself, llama.cpp does without where the layers' device, the CPU here, is not the
        // one that attends.
        if (kernels_) params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
        if (engine_->strict() && !engine_->on_cpu()) {
            params.cb_eval = note_stray;
            params.cb_eval_user_data = this;
        }
        forget_logged_error();
        lane.context.reset(llama_init_from_model(model_.get(), params));
        if (!lane.context) fail(RI_MEMORY, "llama.cpp cannot make a context: %s", logged_error().c_str());
        if (!lane.memory())
            fail(RI_UNSUPPORTED, "%s is of architecture %s, which keeps nothing of the tokens before",
                 gguf_->path().c_str(), info.architecture);
        if (engine_->pool()) llama_attach_threadpool(lane.context.get(), engine_->pool(), engine_->pool());
        lanes_.push_back(std::move(lane));
    }

    // Has a lane's tokens chosen where the next call wants it: the host needs logits only to give
    // them away.
    void choose(Lane &lane, bool on_device, int32_t n_asked) {
        if (!on_device) return lane.selection.reset();
        if (lane.selection && lane.selection->most_asked() >= n_asked) return;
        int32_t most = n_asked ? 8 : 0; // a power of two, so that graphs seldom change
        while (most < n_asked) most *= 2;
        lane.selection.reset();
        lane.selection = std::make_unique<Selection>(lane.context.get(), lane.count, n_vocab_, most);
    }

    // Computes one position and forgets it. So the matrices are packed, and what goes wrong
    // meanwhile is said, before the first answer.
    void pack_weights() {
        const int32_t token = 0;
        run(lanes_[0], {nullptr, &token}, {{0, 0, true}}, [](size_t, const float *) {});
        clear();
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

    // llama.cpp computes sequences together only where their numbers follow each other. So the
    // slots of a call move together: the last of them changes places with an empty slot in front of
    // it, while there is one.
    //
    // The order of sequences shows in the last digits of what is computed. Where no slot holds
    // anything but the prefix it is that of a new generator, so that answers do not depend on those
    // before them.
    void close_gaps(Lane &lane, const ri_decode_batch &b) {
        auto used = [&](int32_t i) { return used_[size_t(lane.first + i)]; };
        bool fresh = true;
        for (int32_t i = 0; i < lane.count; ++i) fresh &= used(i) == prefix_;
        if (fresh) lane.start_over();
        std::vector<bool> called(static_cast<size_t>(lane.count));
        for (size_t i = 0; i < b.n_slots; ++i)
            if (lane.has(b.slots[i])) called[size_t(b.slots[i] - lane.first)] = true;
        int32_t last = lane.count - 1;
        for (int32_t gap = 0; gap < last; ++gap) {
            const int32_t empty = lane.holder[size_t(gap)];
            if (called[size_t(empty)] || used(empty) != prefix_) continue;
            while (last > gap && !called[size_t(lane.holder[size_t(last)])]) --last;
            if (last == gap) return;
            const int32_t moved = lane.holder[size_t(last)];
            if (used(moved) != prefix_) { // else both hold the prefix alone, and nothing needs to be copied
                lane.copy(last + 1, gap + 1);
                lane.copy(0, last + 1);
            }
            std::swap(lane.holder[size_t(gap)], lane.holder[size_t(last)]);
            std::swap(lane.sequence[size_t(moved)], lane.sequence[size_t(empty)]);
        }
    }

    void append(const ri_decode_batch &b, const ri_decode_result &result) {
        check(b);
        // Results are kept until all is well: a failure writes no output.
        std::vector<Part> parts;
        size_t row = 0, n_asked = 0;
        for (size_t i = 0; i < b.n_slots; ++i) {
            parts.push_back({i, row, n_asked, b.asked_counts ? size_t(b.asked_counts[i]) : 0});
            row += size_t(b.counts[i]);
            n_asked += parts.back().n_asked;
        }
        Found found{std::vector<int32_t>(b.n_slots), std::vector<float>(b.n_slots), std::vector<float>(n_asked),
                    std::vector<float>(result.logits ? b.n_slots * size_t(n_vocab_) : 0)};
        for (Lane &lane : lanes_) {
            std::vector<Part> own;
            for (const Part &part : parts)
                if (lane.has(b.slots[part.place])) own.push_back(part);
            if (!own.empty())
                append(lane, b, std::move(own), result.logprobs != nullptr, result.logits != nullptr, found);
        }
        for (size_t i = 0; i < b.n_slots; ++i) used_[size_t(b.slots[i])] += b.counts[i];
        if (result.tokens) std::copy(found.tokens.begin(), found.tokens.end(), result.tokens);
        if (result.logprobs) std::copy(found.logprobs.begin(), found.logprobs.end(), result.logprobs);
        if (result.asked) std::copy(found.asked.begin(), found.asked.end(), result.asked);
        std::copy(found.logits.begin(), found.logits.end(), result.logits);
    }

    // A slot of a batch: `place` is its number there, `first` where its rows start, `asked` where
    // its tokens asked about do.
    struct Part {
        size_t place, first, asked, n_asked;
    };
    struct Found {
        std::vector<int32_t> tokens;
        std::vector<float> logprobs, asked, logits;
    };

    // Appends a lane's parts of a batch.
    void append(Lane &lane, const ri_decode_batch &b, std::vector<Part> parts, bool logprobs, bool logits,
                Found &found) {
        close_gaps(lane, b);
        auto sequence_of = [&](const Part &part) { return lane.sequence_of(b.slots[part.place]); };
        std::sort(parts.begin(), parts.end(),
                  [&](const Part &x, const Part &y) { return sequence_of(x) < sequence_of(y); });
        const size_t width = size_t(n_embd_);
        std::vector<Position> positions;
        std::vector<float> rows;
        std::vector<int32_t> ids;
        size_t most_asked = 0;
        for (const Part &part : parts) {
            const int32_t used = used_[size_t(b.slots[part.place])], count = b.counts[part.place];
            for (int32_t j = 0; j < count; ++j) positions.push_back({sequence_of(part), used + j, j + 1 == count});
            const size_t end = part.first + size_t(count);
            if (b.tokens)
                ids.insert(ids.end(), b.tokens + part.first, b.tokens + end);
            else
                rows.insert(rows.end(), b.rows + part.first * width, b.rows + end * width);
            most_asked = std::max(most_asked, part.n_asked);
        }
        choose(lane, selects_ && !logits, int32_t(most_asked));
        if (lane.selection)
            for (const Part &part : parts) lane.selection->ask(sequence_of(part), b.asked + part.asked, part.n_asked);
        const Inputs inputs{b.rows ? rows.data() : nullptr, b.tokens ? ids.data() : nullptr};
        run(lane, inputs, positions, [&](size_t i, const float *values) {
            const Part &part = parts[i];
            float *asked = found.asked.data() + part.asked;
            if (lane.selection) {
                const float most = values[Selection::logit], logprob = std::log(values[Selection::probability]);
                require_defined(logprob);
                found.tokens[part.place] = int32_t(values[Selection::token]);
                found.logprobs[part.place] = logprob;
                for (size_t a = 0; a < part.n_asked; ++a) asked[a] = values[Selection::asked + a] - most + logprob;
                return;
            }
            const int32_t token = found.tokens[part.place] = most_likely(values, n_vocab_);
            if (logprobs || part.n_asked) {
                const float most = values[token];
                const float rest = std::log(engine_->host_kernels().sum_of_exponentials(values, n_vocab_, most));
                found.logprobs[part.place] = -rest;
                for (size_t a = 0; a < part.n_asked; ++a) asked[a] = values[b.asked[part.asked + a]] - most - rest;
            }
            if (logits) std::copy_n(values, n_vocab_, found.logits.begin() + ptrdiff_t(part.place * size_t(n_vocab_)));
        });
    }

    // Decodes in pieces that llama.cpp takes; gives each wanted position's logits, or its row of
    // the selection, to result(i, values), i counting them, from up to two threads.
    template <typename Result>
    void run(Lane &lane, const Inputs &inputs, const std::vector<Position> &positions, Result &&result) {
        size_t n_results = 0;
        for (size_t first = 0; first < positions.size(); first += at_once_) {
            const size_t n = std::min(size_t(at_once_), positions.size() - first);
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
            const int32_t status = llama_decode(lane.context.get(), batch);
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
                logits.push_back(lane.selection ? llama_get_sampled_probs_ith(lane.context.get(), i)
                                                : llama_get_logits_ith(lane.context.get(), i));
                if (!logits.back()) fail(RI_INTERNAL, "llama.cpp gave no logits for position %d", i);
            }
            each_on_two_threads(logits.size(), [&](size_t i) { result(n_results + i, logits[i]); });
            n_results += logits.size();
        }
    }

    // body(0..n), the second half on another thread when there is enough of it; rethrows what it
    // threw.
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
    int32_t each_lane_ = 0;                 // slots of a lane, of the last one perhaps fewer
    uint32_t at_once_ = positions_at_once;  // positions of one llama_decode
    std::string stray_;                     // the first operation that was computed elsewhere than it may be
    std::unique_ptr<KernelDevice> kernels_; // null: llama.cpp computes with ggml's alone
    llama_model_ptr model_;
    bool selects_ = false; // the device chooses tokens
    std::vector<Lane> lanes_;
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
