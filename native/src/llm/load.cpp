// Loading: the frozen matrices of an LLM, each with its transpose, and its vectors.
#include "llm.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

namespace ri {

namespace {

// Where the rows of queries, keys and values go, so that the numbers that turn together are
// neighbours: the attention computes that form alone. Scores do not depend on the order of a head's
// numbers. Empty: each stays in its place.
std::vector<int64_t> neighbours_of_heads(const LlmShape &s, int64_t n_rows) {
    std::vector<int64_t> place;
    if (s.architecture->rope_pairs == RopePairs::neighbours) return place;
    for (int64_t row = 0; row < n_rows; ++row) {
        const int64_t at = row % s.head_dim, half = s.head_dim / 2;
        const bool turns = row < s.width_q() + s.width_kv();
        place.push_back(!turns ? row : row - at + (at < half ? 2 * at : 2 * (at - half) + 1));
    }
    return place;
}

} // namespace

// Collects the matrices and vectors of a model, allocates them, and fills them from the GGUF on all
// threads.
class Llm::Loader {
  public:
    Loader(Llm &llm, ri_precision precision, Memory memory) : llm_(llm), precision_(precision), memory_(memory) {
        constexpr size_t tensors_of_layer = 2 * 4 + 7, others = 5;
        const size_t n = tensors_of_layer * size_t(llm.shape_.n_layer) + others;
        llm_.ctx_.reset(ggml_init({ggml_tensor_overhead() * n, nullptr, true}));
        if (!llm_.ctx_) throw std::bad_alloc();
    }

    // A matrix whose rows are those of the parts, one after the other, row i at place[i]; `exact`
    // in float32 in either mode.
    void matrix(FrozenLinear &m, const std::vector<TensorShape> &parts, bool exact = false,
                std::vector<int64_t> place = {}) {
        m.n_in = parts[0].n_in;
        m.n_out = 0;
        for (const TensorShape &part : parts) m.n_out += part.n_out;
        const ri_precision precision = exact ? RI_F32 : precision_;
        if (const KernelSet *set = llm_.engine_->kernels()) {
            const kernels::Weights weights = kernels::weights_of(precision);
            llm_.matrices_bytes_ += kernels::PackedMatrix::n_bytes(*set, weights, m.n_out, m.n_in) +
                                    kernels::PackedMatrix::n_bytes(*set, weights, m.n_in, m.n_out);
            if (memory_ == Memory::taken) {
                m.packed = std::make_unique<kernels::PackedMatrix>(*set, weights, m.n_out, m.n_in);
                m.packed_transposed = std::make_unique<kernels::PackedMatrix>(*set, weights, m.n_in, m.n_out);
            }
        } else {
            const ggml_type type = precision == RI_F32 ? GGML_TYPE_F32 : GGML_TYPE_BF16;
            m.weight = ggml_new_tensor_2d(llm_.ctx_.get(), type, m.n_in, m.n_out);
            m.transposed = ggml_new_tensor_2d(llm_.ctx_.get(), type, m.n_out, m.n_in);
        }
        matrices_.push_back({&m, parts, std::move(place)});
    }

    // A vector of the parts one after the other; null without any.
    ggml_tensor *vector(const std::vector<TensorShape> &parts, std::vector<int64_t> place = {}) {
        int64_t n = 0;
        for (const TensorShape &part : parts) n += part.n_in;
        if (n == 0) return nullptr;
        ggml_tensor *t = ggml_new_tensor_1d(llm_.ctx_.get(), GGML_TYPE_F32, n);
        vectors_.push_back({t, parts, std::move(place)});
        return t;
    }
    ggml_tensor *vector(const TensorShape &one, std::vector<int64_t> place = {}) {
        return one.name.empty() ? nullptr : vector(std::vector<TensorShape>{one}, std::move(place));
    }

    // The table of embeddings as the file has it, or in float32 where the backend cannot look such
    // rows up.
    ggml_tensor *table(const std::string &name) {
        const TensorView view = llm_.gguf_->tensor(name);
        table_ = ggml_new_tensor_2d(llm_.ctx_.get(), view.type, view.ne[0], view.ne[1]);
        const ggml_context_ptr scratch(ggml_init({2 * ggml_tensor_overhead(), nullptr, true}));
        if (!scratch) throw std::bad_alloc();
        const ggml_tensor *rows =
            ggml_get_rows(scratch.get(), table_, ggml_new_tensor_1d(scratch.get(), GGML_TYPE_I32, 1));
        if (!ggml_backend_supports_op(llm_.engine_->backend(), rows))
            table_ = ggml_new_tensor_2d(llm_.ctx_.get(), GGML_TYPE_F32, view.ne[0], view.ne[1]);
        return table_;
    }

    void fill() {
        llm_.buffer_ = llm_.engine_->place(llm_.ctx_.get(), memory_);
        if (!llm_.buffer_)
            fail(RI_MEMORY, "no memory for the weights of %s; use a smaller model, or bf16",
                 llm_.gguf_->path().c_str());
        if (memory_ == Memory::counted) return;
        for (const auto &vector : vectors_) fill_vector(vector);
        if (table_) fill_table(llm_.gguf_->tensor("token_embd.weight"));
        std::atomic<size_t> next{0};
        std::atomic<bool> failed{false};
        std::exception_ptr error;
        auto work = [&] {
            try {
                for (size_t i = next++; i < matrices_.size() && !failed; i = next++) fill_matrix(matrices_[i]);
            } catch (...) {
                if (!failed.exchange(true)) error = std::current_exception();
            }
        };
        std::vector<std::thread> threads;
        for (int i = 1; i < llm_.engine_->n_threads(); ++i) threads.emplace_back(work);
        work();
        for (std::thread &thread : threads) thread.join();
        if (error) std::rethrow_exception(error);
    }

  private:
    template <typename To> struct Source {
        To to;
        std::vector<TensorShape> parts;
        std::vector<int64_t> place;
        int64_t place_of(int64_t row) const { return place.empty() ? row : place[size_t(row)]; }
    };

    void fill_vector(const Source<ggml_tensor *> &source) {
        std::vector<float> values(size_t(ggml_nelements(source.to)));
        int64_t at = 0;
        for (const TensorShape &part : source.parts) {
            std::vector<float> row(static_cast<size_t>(part.n_in));
            llm_.gguf_->dequantise_rows(llm_.gguf_->tensor(part.name), 0, 1, row.data());
            require_finite(row.data(), row.size(), part.name.c_str());
            for (float value : row) values[size_t(source.place_of(at++))] = value;
        }
        ggml_backend_tensor_set(source.to, values.data(), 0, ggml_nbytes(source.to));
    }

    void fill_table(const TensorView &view) {
        if (view.type == table_->type) ggml_backend_tensor_set(table_, view.data, 0, ggml_nbytes(table_));
        constexpr int64_t at_once = 1024;
        std::vector<float> rows(size_t(at_once * view.ne[0]));
        for (int64_t first = 0; first < view.ne[1]; first += at_once) {
            const int64_t n = std::min(at_once, view.ne[1] - first);
            llm_.gguf_->dequantise_rows(view, first, n, rows.data());
            for (int64_t r = 0; r < n; ++r) {
                const float *row = rows.data() + r * view.ne[0];
                if (!std::all_of(row, row + view.ne[0], [](float x) { return std::isfinite(x); }))
                    llm_.damaged_tokens_.insert(int32_t(first + r));
            }
            if (view.type != table_->type)
                ggml_backend_tensor_set(table_, rows.data(), size_t(first) * table_->nb[1], size_t(n) * table_->nb[1]);
        }
    }

    void fill_matrix(const Source<FrozenLinear *> &source) {
        FrozenLinear &m = *source.to;
        constexpr int64_t at_once = 64;
        std::vector<float> rows(size_t(at_once * m.n_in));
        std::vector<float> plain, columns; // whole matrices, only where ggml tensors are wanted
        if (!m.packed) {
            plain.resize(size_t(m.n_in * m.n_out));
            columns.resize(plain.size());
        }
        int64_t at = 0;
        for (const TensorShape &part : source.parts) {
            const TensorView view = llm_.gguf_->tensor(part.name);
            for (int64_t first = 0; first < view.ne[1]; first += at_once) {
                const int64_t n = std::min(at_once, view.ne[1] - first);
                llm_.gguf_->dequantise_rows(view, first, n, rows.data());
                require_finite(rows.data(), size_t(n * m.n_in), part.name.c_str());
                for (int64_t r = 0; r < n; ++r) {
                    const float *row = rows.data() + r * m.n_in;
                    const int64_t out = source.place_of(at++);
                    if (m.packed) {
                        m.packed->set_row(out, row);
                        m.packed_transposed->set_column(out, row);
                        continue;
                    }
                    std::copy(row, row + m.n_in, plain.begin() + out * m.n_in);
                    for (int64_t i = 0; i < m.n_in; ++i) columns[size_t(i * m.n_out + out)] = row[i];
                }
            }
            llm_.gguf_->let_go(view);
        }
        if (m.packed) return;
        upload(m.weight, plain);
        upload(m.transposed, columns);
    }

    static void upload(ggml_tensor *tensor, const std::vector<float> &values) {
        if (tensor->type == GGML_TYPE_F32) {
            ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
            return;
        }
        std::vector<ggml_bf16_t> rounded(values.size());
        ggml_fp32_to_bf16_row(values.data(), rounded.data(), int64_t(values.size()));
        ggml_backend_tensor_set(tensor, rounded.data(), 0, ggml_nbytes(tensor));
    }

    Llm &llm_;
    ri_precision precision_;
    Memory memory_;
    std::vector<Source<FrozenLinear *>> matrices_;
    std::vector<Source<ggml_tensor *>> vectors_;
    ggml_tensor *table_ = nullptr;
};

Llm::Llm(std::shared_ptr<Engine> engine, std::shared_ptr<const Gguf> gguf, ri_precision precision, Memory memory)
    : engine_(std::move(engine)), gguf_(std::move(gguf)), shape_(llm_shape(*gguf_)) {
    Loader loader(*this, precision, memory);
    const std::vector<int64_t> place = neighbours_of_heads(shape_, shape_.width_qkv());
    const std::vector<int64_t> place_in_head = neighbours_of_heads(shape_, shape_.head_dim);
    layers_.resize(size_t(shape_.n_layer));
    for (int64_t i = 0; i < shape_.n_layer; ++i) {
        const LayerTensors tensors = layer_tensors(shape_, i);
        Layer &layer = layers_[size_t(i)];
        const bool exact = i < shape_.n_exact_layers();
        loader.matrix(layer.qkv, tensors.qkv, exact, place);
        loader.matrix(layer.attention_out, {tensors.attention_out}, exact);
        loader.matrix(layer.gate_up, tensors.gate_up);
        loader.matrix(layer.down, {tensors.down});
        layer.qkv_bias = loader.vector(tensors.qkv_bias, place);
        layer.attention_norm = loader.vector(tensors.attention_norm);
        layer.q_norm = loader.vector(tensors.q_norm, place_in_head);
        layer.k_norm = loader.vector(tensors.k_norm, place_in_head);
        layer.attention_post_norm = loader.vector(tensors.attention_post_norm);
        layer.ffn_norm = loader.vector(tensors.ffn_norm);
        layer.ffn_post_norm = loader.vector(tensors.ffn_post_norm);
    }
    loader.matrix(head_, {head_tensor(shape_)});
    if (!engine_->kernels()) embeddings_ = loader.table("token_embd.weight");
    output_norm_ = loader.vector(TensorShape{"output_norm.weight", shape_.n_embd, 1});
    if (!shape_.rope_factors.empty()) {
        const TensorShape factors{shape_.rope_factors, shape_.head_dim / 2, 1};
        rope_factor_tensor_ = loader.vector(factors);
        rope_factors_.resize(size_t(factors.n_in));
        gguf_->dequantise_rows(gguf_->tensor(factors.name), 0, 1, rope_factors_.data());
    }
    loader.fill();
}

Llm::Products Llm::products() const {
    Products n;
    for (const Layer &layer : layers_) {
        n.everywhere += layer.qkv.size();
        for (const FrozenLinear *m : {&layer.attention_out, &layer.gate_up, &layer.down})
            (&layer == &layers_.back() ? n.at_targets : n.everywhere) += m->size();
    }
    n.at_targets += head_.size();
    return n;
}

} // namespace ri
