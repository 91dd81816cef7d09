#include "recommender.h"

#include "random.h"

#include <algorithm>
#include <cmath>
#include <mutex>

namespace ri {

// ---- leaves

Source Source::prefixes() const {
    Source s = *this;
    s.prefixes_ = true;
    return s;
}

Source Source::padded_in_front() const {
    Source s = *this;
    s.in_front_ = true;
    return s;
}

Source Source::masked(int32_t row) const {
    Source s = *this;
    s.masked_ = true;
    s.mask_row_ = row;
    return s;
}

int32_t Source::length(int64_t sample) const {
    const int32_t mask = masked_ ? 1 : 0;
    if (!prefixes_) return batch_->histories.lengths[sample] + mask;
    return std::min(batch_->histories.lengths[sample / n_positions_], int32_t(sample % n_positions_) + 1) + mask;
}

int32_t Source::item(int64_t sample, int64_t position) const {
    if (in_front_) position -= positions() - length(sample);
    if (position < 0 || position >= length(sample)) return padding_;
    if (masked_ && position == length(sample) - 1) return mask_row_;
    if (masked_ && shape_.learns && position > 0 && batch_->targets[sample * n_positions_ + position - 1] >= 0)
        return mask_row_;
    return batch_->histories.items[(prefixes_ ? sample / n_positions_ : sample) * n_positions_ + position];
}

Var Source::items(Graph &graph, Var table) const {
    const int64_t T = positions(), count = T * samples();
    const Source self = *this;
    auto each = [=](auto place) {
        return [=](void *dst) {
            for (int64_t i = 0; i < count; ++i) static_cast<int32_t *>(dst)[i] = place(i, self.item(i / T, i % T));
        };
    };
    const int32_t padding = padding_;
    ggml_tensor *ids =
        graph.input(GGML_TYPE_I32, each([=](int64_t, int32_t id) { return id < 0 ? padding : id; }), count);
    Var x = get_rows(graph, table, ids);
    if (shape_.n_vectors == 0) return x;
    // No gradient is asked for where vectors are given.
    const int64_t width = table.value->ne[0], n = int64_t(shape_.n_vectors);
    ggml_tensor *vectors = graph.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            const float *from = self.batch_->histories.vectors;
            std::copy(from, from + width * n, static_cast<float *>(dst));
        },
        width, n);
    ggml_tensor *index = graph.input(
        GGML_TYPE_I32, each([=](int64_t i, int32_t id) { return int32_t(id < 0 ? count - 1 - id : i); }), count);
    return graph.constant(ggml_get_rows(graph.ctx(), ggml_concat(graph.ctx(), x.value, vectors, 1), index));
}

ggml_tensor *Source::presence(Graph &graph) const {
    const Source self = *this;
    const int64_t T = positions(), count = T * samples();
    return graph.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            for (int64_t i = 0; i < count; ++i) static_cast<float *>(dst)[i] = self.present(i / T, i % T) ? 1.0f : 0.0f;
        },
        1, count);
}

ggml_tensor *Source::lengths(Graph &graph) const {
    const Source self = *this;
    return graph.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < self.samples(); ++i) static_cast<int32_t *>(dst)[i] = int32_t(self.last(i) + 1);
        },
        samples());
}

ggml_tensor *Source::last_positions(Graph &graph) const {
    const Source self = *this;
    return graph.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < self.samples(); ++i)
                static_cast<int32_t *>(dst)[i] = int32_t(i * self.positions() + self.last(i));
        },
        samples());
}

ggml_tensor *Source::mask(Graph &graph, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    if (shape_.dropout <= 0) return nullptr;
    const Batch *batch = batch_;
    const uint64_t number = n_masks_++;
    const float probability = shape_.dropout;
    const int64_t n = ne0 * ne1 * ne2 * ne3;
    const KernelSet &kernels = graph.engine().host_kernels();
    auto draw = [=, &kernels](float *dst, int ith, int nth) {
        kernels.dropout_mask(mix(batch->seed + number), probability, n, dst, ith, nth);
    };
    if (!graph.kernels())
        return graph.input(
            GGML_TYPE_F32, [=](void *dst) { draw(static_cast<float *>(dst), 0, 1); }, ne0, ne1, ne2, ne3);
    ggml_tensor *mask =
        graph.kernel(ne0, n / ne0, {}, [=](ggml_tensor *dst, int ith, int nth) { draw(out(dst), ith, nth); });
    return ggml_reshape_4d(graph.ctx(), mask, ne0, ne1, ne2, ne3);
}

Var Source::drop(Graph &graph, Var x) {
    const int64_t *ne = x.value->ne;
    ggml_tensor *factors = mask(graph, ne[0], ne[1], ne[2], ne[3]);
    return factors ? mul(graph, x, graph.constant(factors)) : x;
}

// ---- kept graphs

Recommender::Program &Recommender::program(Purpose purpose, const Shape &shape, const Build &build) {
    return programs_[purpose].get(engine(), purpose == for_training, shape, [&](Graph &graph) {
        // A single history is little work, unless its scores are many.
        constexpr int32_t many_items = 1 << 16;
        if (shape.n_sequences == 1 && (purpose != for_scores || info_.n_items < many_items)) graph.stay_on_one_thread();
        Source source(current_, shape, info_.n_positions, info_.n_items);
        return build(graph, source);
    });
}

void Recommender::run(Program &program, const Batch &batch) {
    current_ = batch;
    program.graph->run();
    current_ = {};
}

// ---- what the interface asks for

void Recommender::check(const ri_histories &h, bool vectors_allowed) const {
    if (h.n_sequences == 0) fail(RI_INVALID, "a batch needs at least one history");
    if (h.n_sequences > (1u << 24)) fail(RI_INVALID, "%zu histories in one batch; at most 2^24", h.n_sequences);
    require(h.items, "histories.items");
    require(h.lengths, "histories.lengths");
    if (reads_times()) require(h.times, "histories.times");
    if (h.n_vectors > 0) {
        if (!vectors_allowed) fail(RI_INVALID, "histories.vectors: training takes only items");
        if (h.n_vectors > (1u << 24)) fail(RI_INVALID, "%zu vectors in one batch; at most 2^24", h.n_vectors);
        require(h.vectors, "histories.vectors");
        require_finite(h.vectors, h.n_vectors * size_t(info_.width), "histories.vectors");
    }
    for (size_t b = 0; b < h.n_sequences; ++b) {
        if (h.lengths[b] < 1 || h.lengths[b] > info_.n_positions)
            fail(RI_INVALID, "history %zu has length %d; it must be 1 to %d", b, h.lengths[b], info_.n_positions);
        for (int32_t t = 0; t < info_.n_positions; ++t) {
            const int32_t item = h.items[int64_t(b) * info_.n_positions + t];
            const bool vector = item < 0 && int64_t(-1) - item < int64_t(h.n_vectors);
            if (t < h.lengths[b] ? !vector && (item < 0 || item >= info_.n_items) : item != info_.n_items)
                fail(RI_INVALID, "history %zu, position %d: item %d; %s", b, t, item,
                     t < h.lengths[b] ? "the catalogue has no such item" : "what follows a history must be padding");
        }
    }
}

Var Recommender::all_scores(Graph &graph, Var states) const {
    const Head h = head(graph);
    return linear(graph, first_rows(graph, h.weight, info_.n_items), states, h.bias);
}

void Recommender::states(const ri_histories &histories, bool all, float *dst) {
    Shape shape;
    shape.n_sequences = histories.n_sequences;
    shape.n_vectors = histories.n_vectors;
    shape.all = all;
    Program &p = program(all ? for_all_states : for_states, shape,
                         [this](Graph &graph, Source &source) { return encode(graph, source); });
    Batch batch;
    batch.histories = histories;
    run(p, batch);
    p.graph->read(p.result, dst);
    if (!all) return;
    for (size_t b = 0; b < histories.n_sequences; ++b)
        for (int64_t t = histories.lengths[b]; t < info_.n_positions; ++t) {
            float *row = dst + (int64_t(b) * info_.n_positions + t) * info_.state_width;
            std::fill(row, row + info_.state_width, 0.0f);
        }
}

void Recommender::scores(const ri_histories &histories, float *dst) {
    Shape shape;
    shape.n_sequences = histories.n_sequences;
    shape.n_vectors = histories.n_vectors;
    Program &p = program(for_scores, shape,
                         [this](Graph &graph, Source &source) { return all_scores(graph, encode(graph, source)); });
    Batch batch;
    batch.histories = histories;
    run(p, batch);
    p.graph->read(p.result, dst);
}

void Recommender::score_states(const float *states, size_t n, float *dst) {
    Graph graph(engine(), false);
    const Head h = head(graph);
    const int64_t width = h.weight.value->ne[0];
    require_finite(states, n * size_t(width), "states");
    Var result = all_scores(graph, graph.constant(graph.input(GGML_TYPE_F32, states, width, int64_t(n))));
    graph.output(result.value);
    graph.run();
    graph.read(result.value, dst);
}

std::vector<float> Recommender::own_scores(const float *states, int64_t n, const int32_t *items) {
    Graph g(engine(), false);
    const Head h = head(g);
    ggml_tensor *ids = g.input(GGML_TYPE_I32, items, n);
    Var bias = h.bias.value ? reshape(g, get_rows(g, reshape(g, h.bias, 1, info_.n_items), ids), n) : Var{};
    Var x = g.constant(g.input(GGML_TYPE_F32, states, h.weight.value->ne[0], n));
    Var scores = linear(g, get_rows(g, h.weight, ids), x, bias);
    g.output(scores.value);
    g.run();
    std::vector<float> all(size_t(n * n)), own;
    g.read(scores.value, all.data());
    for (int64_t i = 0; i < n; ++i) own.push_back(all[size_t(i * n + i)]);
    return own;
}

void Recommender::rank(const float *states, size_t n_states, const int32_t *items, double *ranks) {
    constexpr int64_t at_once = 256, block = 1024;
    const KernelSet &kernels = engine().host_kernels();
    Graph leaves(engine(), false);
    const Head h = head(leaves);
    const int64_t W = h.weight.value->ne[0], V = info_.n_items, n_blocks = (V + block - 1) / block;
    require_finite(states, n_states * size_t(W), "states");
    for (int64_t from = 0; from < int64_t(n_states); from += at_once) {
        const int64_t n = std::min<int64_t>(at_once, int64_t(n_states) - from);
        const float *x = states + from * W;
        const std::vector<float> own = own_scores(x, n, items + from);
        require_finite(own.data(), own.size(), "scores");
        struct Counts {
            int64_t above = 0, equal = 0;
        };
        auto count = [&](const float *scores, int64_t width, Counts *counts) { // [n, width]
            for (int64_t i = 0; i < n; ++i) {
                Counts of;
                kernels.count_above(scores + i * width, width, own[size_t(i)], &of.above, &of.equal);
                counts[i].above += of.above;
                counts[i].equal += of.equal;
            }
        };
        std::vector<Counts> counts(static_cast<size_t>(n));
        if (const KernelSet *k = engine().kernels()) {
            const auto *w = static_cast<const float *>(h.weight.value->data);
            const auto *bias = h.bias.value ? static_cast<const float *>(h.bias.value->data) : nullptr;
            std::mutex adding;
            engine().parallel([&](int ith, int nth) {
                std::vector<Counts> mine(static_cast<size_t>(n));
                std::vector<float> scores(size_t(n * block));
                for (int64_t b = ith; b < n_blocks; b += nth) {
                    const int64_t first = b * block, width = std::min(block, V - first);
                    k->linear(x, w + first * W, bias ? bias + first : nullptr, n, W, width, scores.data(), 0, 1);
                    count(scores.data(), width, mine.data());
                }
                std::lock_guard<std::mutex> hold(adding); // of whole numbers, in any order
                for (int64_t i = 0; i < n; ++i) {
                    counts[size_t(i)].above += mine[size_t(i)].above;
                    counts[size_t(i)].equal += mine[size_t(i)].equal;
                }
            });
        } else {
            std::vector<float> scores(size_t(n * block));
            for (int64_t first = 0; first < V; first += block) {
                const int64_t width = std::min(block, V - first);
                Graph g(engine(), false);
                const Head all = head(g);
                auto rows = [&](Var a, int64_t row) { // of the block
                    const size_t at = size_t(first * row) * sizeof(float);
                    return g.constant(row == 1 ? ggml_view_1d(g.ctx(), a.value, width, at)
                                               : ggml_view_2d(g.ctx(), a.value, row, width, a.value->nb[1], at));
                };
                Var part = linear(g, rows(all.weight, W), g.constant(g.input(GGML_TYPE_F32, x, W, n)),
                                  all.bias.value ? rows(all.bias, 1) : Var{});
                g.output(part.value);
                g.run();
                g.read(part.value, scores.data());
                count(scores.data(), width, counts.data());
            }
        }
        for (int64_t i = 0; i < n; ++i) // the item is one of its equals
            ranks[from + i] = 1 + double(counts[size_t(i)].above) + double(counts[size_t(i)].equal - 1) / 2;
    }
}

// The cross-entropy over the target, in row 0 of the scores [1 + shared, n], and the shared items.
Var Recommender::sampled_softmax(Graph &g, Source &source, Var states, const Place &place, ggml_tensor *weights) const {
    const int64_t n = states.value->ne[1], width = states.value->ne[0], V = info_.n_items, S = source.n_shared();
    const Batch *batch = &source.batch();
    auto target = [=](int64_t i) { return std::max(batch->targets[place(i)], 0); };
    ggml_tensor *targets = g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < n; ++i) static_cast<int32_t *>(dst)[i] = target(i);
        },
        n);
    ggml_tensor *shared = g.input(
        GGML_TYPE_I32, [=](void *dst) { std::copy_n(batch->shared, S, static_cast<int32_t *>(dst)); }, S);
    ggml_tensor *offsets = g.input(
        GGML_TYPE_F32, [=](void *dst) { std::copy_n(batch->shared_offsets, S, static_cast<float *>(dst)); }, S);
    // A target that is among the shared items counts once.
    ggml_tensor *hits = g.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            for (int64_t i = 0; i < n; ++i) {
                const int32_t own = target(i);
                float *row = static_cast<float *>(dst) + i * S;
                for (int64_t j = 0; j < S; ++j) row[j] = batch->shared[j] == own ? -1e9f : 0.0f;
            }
        },
        S, n);
    ggml_tensor *first = g.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < n; ++i) static_cast<int32_t *>(dst)[i] = int32_t(i * (1 + S));
        },
        n);
    const Head h = head(g);
    Var bias = g.constant(offsets), table_bias = h.bias;
    if (table_bias.value) {
        table_bias = reshape(g, table_bias, 1, V);
        bias = add(g, reshape(g, get_rows(g, table_bias, shared), S), bias);
    }
    Var others = add(g, linear(g, get_rows(g, h.weight, shared), states, bias), g.constant(hits));
    Var own = reshape(
        g, mul_mat(g, reshape(g, get_rows(g, h.weight, targets), width, 1, n), reshape(g, states, width, 1, n)), 1, n);
    if (table_bias.value) own = add(g, own, reshape(g, get_rows(g, table_bias, targets), 1, n));
    return cross_entropy(g, concat(g, own, others), first, weights);
}

Var Recommender::training_loss(Graph &graph, Source &source) const {
    Var states = encode(graph, source);
    const int64_t n = states.value->ne[1], T = source.positions(), V = info_.n_items;
    const bool all = source.all();
    const Batch *batch = &source.batch();
    // Where the state of row i stands in [B, T], and what follows there.
    auto place = [=](int64_t i) { return all ? i : i * T + batch->histories.lengths[i] - 1; };
    ggml_tensor *weights = graph.input(
        GGML_TYPE_F32,
        [=](void *dst) {
            int64_t count = 0;
            for (int64_t i = 0; i < n; ++i) count += batch->targets[place(i)] >= 0;
            for (int64_t i = 0; i < n; ++i)
                static_cast<float *>(dst)[i] = batch->targets[place(i)] >= 0 ? 1.0f / float(count) : 0.0f;
        },
        n);
    if (source.n_shared() > 0) return sampled_softmax(graph, source, states, place, weights);
    if (source.n_negatives() == 0) {
        ggml_tensor *targets = graph.input(
            GGML_TYPE_I32,
            [=](void *dst) {
                for (int64_t i = 0; i < n; ++i)
                    static_cast<int32_t *>(dst)[i] = int32_t(i * V + std::max(batch->targets[place(i)], 0));
            },
            n);
        return cross_entropy(graph, all_scores(graph, states), targets, weights);
    }
    const int64_t N = source.n_negatives(), rows = 1 + N;
    ggml_tensor *ids = graph.input(
        GGML_TYPE_I32,
        [=](void *dst) {
            for (int64_t i = 0; i < n; ++i) {
                int32_t *at = static_cast<int32_t *>(dst) + i * rows;
                const int32_t target = batch->targets[place(i)];
                at[0] = std::max(target, 0);
                for (int64_t j = 0; j < N; ++j) at[1 + j] = target < 0 ? 0 : batch->negatives[place(i) * N + j];
            }
        },
        rows * n);
    const Head h = head(graph);
    return binary_cross_entropy(graph, candidate_scores(graph, h.weight, h.bias, states, ids), weights,
                                source.target_discount());
}

double Recommender::backward(const ri_recommender_batch &b) {
    const int64_t T = info_.n_positions, V = info_.n_items;
    check(b.histories, false);
    require(b.targets, "targets");
    if (b.n_negatives > 0) require(b.negatives, "negatives");
    if (b.n_negatives > (1u << 16)) fail(RI_INVALID, "%zu negatives for each target; at most 65536", b.n_negatives);
    if (b.n_shared > 0) {
        require(b.shared, "shared");
        require(b.shared_offsets, "shared_offsets");
        require_finite(b.shared_offsets, b.n_shared, "shared_offsets");
        if (b.n_negatives > 0) fail(RI_INVALID, "a batch has negatives or shared items, not both");
        if (b.n_shared > (1u << 20)) fail(RI_INVALID, "%zu shared items; at most 2^20", b.n_shared);
        for (size_t j = 0; j < b.n_shared; ++j)
            if (b.shared[j] < 0 || b.shared[j] >= V)
                fail(RI_INVALID, "shared item %zu is %d; the catalogue has no such item", j, b.shared[j]);
    }
    if (!(b.dropout >= 0 && b.dropout < 1)) fail(RI_INVALID, "dropout must be in [0, 1), not %g", double(b.dropout));
    if (!(b.target_discount >= 0 && b.target_discount < 1))
        fail(RI_INVALID, "target_discount must be in [0, 1), not %g", double(b.target_discount));
    Shape shape;
    shape.n_sequences = b.histories.n_sequences;
    shape.n_negatives = b.n_negatives;
    shape.target_discount = b.target_discount;
    shape.n_shared = b.n_shared;
    shape.dropout = b.dropout;
    shape.learns = true;
    int64_t count = 0;
    for (size_t i = 0; i < b.histories.n_sequences; ++i)
        for (int64_t t = 0; t < T; ++t) {
            const int64_t at = int64_t(i) * T + t;
            const bool last = t == b.histories.lengths[i] - 1;
            const int32_t target = b.targets[at];
            if (target == -1) {
                if (last) shape.all = true;
                continue;
            }
            if (target < 0 || target >= V || t >= b.histories.lengths[i])
                fail(RI_INVALID,
                     "history %zu, position %d: target %d; it must be an item of the catalogue, or -1 (and -1 at "
                     "padding)",
                     i, int(t), target);
            for (size_t j = 0; j < b.n_negatives; ++j) {
                const int32_t negative = b.negatives[size_t(at) * b.n_negatives + j];
                if (negative < 0 || negative >= V)
                    fail(RI_INVALID, "history %zu, position %d: negative %d; the catalogue has no such item", i, int(t),
                         negative);
            }
            if (!last) shape.all = true;
            ++count;
        }
    if (count == 0) fail(RI_INVALID, "the batch has no target");
    const int64_t n_rows = int64_t(shape.n_sequences) * (shape.all ? T : 1);
    const int64_t scores = b.n_shared > 0 ? int64_t(b.n_shared) : b.n_negatives > 0 ? int64_t(b.n_negatives) : V;
    if (n_rows > INT32_MAX / (1 + scores)) fail(RI_INVALID, "too many targets for one batch; use a smaller one");
    Batch batch;
    batch.histories = b.histories;
    batch.targets = b.targets;
    batch.negatives = b.n_negatives > 0 ? b.negatives : nullptr;
    batch.shared = b.shared;
    batch.shared_offsets = b.shared_offsets;
    batch.seed = b.seed;
    Program &p =
        program(for_training, shape, [this](Graph &graph, Source &source) { return training_loss(graph, source); });
    run(p, batch);
    return double(p.graph->scalar(p.result));
}

} // namespace ri

extern "C" {

ri_status ri_recommender_describe(const ri_model *handle, ri_recommender_info *out, ri_error *err) {
    return ri::guard(err, [&] {
        ri::require(out, "out");
        *out = ri::as<ri::Recommender>(const_cast<ri_model *>(handle), "a recommender").info();
    });
}

ri_status ri_recommender_states(ri_model *handle, const ri_histories *histories, int32_t all_positions, float *dst,
                                ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(histories, "histories");
        ri::require(dst, "dst");
        model.check(*histories, true);
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.states(*histories, all_positions != 0, dst);
    });
}

ri_status ri_recommender_scores(ri_model *handle, const ri_histories *histories, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(histories, "histories");
        ri::require(dst, "dst");
        if (model.info().generates)
            ri::fail(RI_UNSUPPORTED, "this recommender scores oracles, not histories: sample them, then score them");
        model.check(*histories, true);
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.scores(*histories, dst);
    });
}

ri_status ri_recommender_score_states(ri_model *handle, const float *states, size_t n, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        if (n == 0) return;
        if (n > (1u << 24)) ri::fail(RI_INVALID, "%zu states in one batch; at most 2^24", n);
        ri::require(states, "states");
        ri::require(dst, "dst");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.score_states(states, n, dst);
    });
}

ri_status ri_recommender_rank(ri_model *handle, const float *states, size_t n, const int32_t *items, double *ranks,
                              ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        if (n == 0) return;
        if (n > (1u << 24)) ri::fail(RI_INVALID, "%zu states in one batch; at most 2^24", n);
        ri::require(states, "states");
        ri::require(items, "items");
        ri::require(ranks, "ranks");
        for (size_t i = 0; i < n; ++i)
            if (items[i] < 0 || items[i] >= model.info().n_items)
                ri::fail(RI_INVALID, "items[%zu] is %d; the catalogue has no such item", i, items[i]);
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.rank(states, n, items, ranks);
    });
}

ri_status ri_recommender_backward(ri_model *handle, const ri_recommender_batch *batch, double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Recommender>(handle, "a recommender");
        ri::require(batch, "batch");
        if (model.info().generates)
            ri::fail(RI_UNSUPPORTED, "this recommender learns to denoise; use ri_diffusion_backward");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        const double value = model.backward(*batch);
        if (loss) *loss = value;
    });
}

ri_status ri_diffusion_backward(ri_model *handle, const ri_diffusion_batch *batch, double *loss, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Diffusion>(handle, "a recommender that generates oracles");
        ri::require(batch, "batch");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        const double value = model.learn(*batch);
        if (loss) *loss = value;
    });
}

ri_status ri_diffusion_denoise(ri_model *handle, const float *x, const int32_t *steps, const float *guidance, size_t n,
                               float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Diffusion>(handle, "a recommender that generates oracles");
        if (n == 0) return;
        if (n > (1u << 20)) ri::fail(RI_INVALID, "%zu vectors at once; at most 2^20", n);
        ri::require(x, "x");
        ri::require(steps, "steps");
        ri::require(dst, "dst");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.denoise(x, steps, guidance, n, dst);
    });
}

ri_status ri_diffusion_sample(ri_model *handle, const ri_diffusion_sampling *sampling, float *dst, ri_error *err) {
    return ri::guard(err, [&] {
        auto &model = ri::as<ri::Diffusion>(handle, "a recommender that generates oracles");
        ri::require(sampling, "sampling");
        if (sampling->n_oracles == 0) return;
        ri::require(sampling->guidance, "guidance");
        ri::require(sampling->steps, "steps");
        ri::require(dst, "dst");
        std::lock_guard<std::mutex> hold(model.engine().lock());
        model.sample(*sampling, dst);
    });
}

} // extern "C"
