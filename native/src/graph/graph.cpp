#include "graph/operations.h"

#include <algorithm>
#include <cstring>

namespace ri {

namespace {

// Enough for a forward and backward pass through 80 layers of an LLM, and through 64 attention
// blocks of a recommender; a tensor's metadata takes a few hundred bytes.
constexpr size_t max_tensors = 32768;

} // namespace

Graph::Graph(Engine &engine, bool gradients, Life life) : engine_(engine), gradients_(gradients), life_(life) {
    ctx_.reset(ggml_init(
        {ggml_tensor_overhead() * max_tensors + ggml_graph_overhead_custom(max_tensors, false), nullptr, true}));
    if (!ctx_) throw std::bad_alloc();
    graph_ = ggml_new_graph_custom(ctx(), max_tensors, false);
    // ggml's CUDA backend knows a graph by its first node, which would else be a parameter that
    // several graphs share.
    ggml_tensor *nothing = ggml_new_tensor_1d(ctx(), GGML_TYPE_F32, 1);
    ggml_build_forward_expand(graph_, ggml_view_1d(ctx(), nothing, 1, 0));
}

// ---- leaves

ggml_tensor *Graph::add_input(Upload upload) {
    ggml_set_input(upload.tensor);
    uploads_.push_back(std::move(upload));
    return uploads_.back().tensor;
}

ggml_tensor *Graph::input(ggml_type type, Fill fill, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    return add_input({ggml_new_tensor_4d(ctx(), type, ne0, ne1, ne2, ne3), std::move(fill), false});
}

ggml_tensor *Graph::input(ggml_type type, const void *data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    const size_t n = size_t(ggml_row_size(type, ne0 * ne1 * ne2 * ne3));
    return input(
        type, [=](void *dst) { memcpy(dst, data, n); }, ne0, ne1, ne2, ne3);
}

ggml_tensor *Graph::input(std::vector<float> data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    return add_input({ggml_new_tensor_4d(ctx(), GGML_TYPE_F32, ne0, ne1, ne2, ne3),
                      [data = std::move(data)](void *dst) { memcpy(dst, data.data(), data.size() * sizeof(float)); },
                      true});
}

ggml_tensor *Graph::input(std::vector<int32_t> data, int64_t ne0) {
    return add_input({ggml_new_tensor_1d(ctx(), GGML_TYPE_I32, ne0),
                      [data = std::move(data)](void *dst) { memcpy(dst, data.data(), data.size() * sizeof(int32_t)); },
                      true});
}

Var Graph::parameter(ggml_tensor *value, ggml_tensor *gradient) {
    if (!gradients_) return constant(value);
    nodes_.emplace_back();
    nodes_.back().parameter_gradient = gradient;
    return {value, int(nodes_.size()) - 1};
}

// ---- the tape

Var Graph::record(ggml_tensor *value, const std::vector<Var> &inputs, Rule rule) {
    bool wanted = false;
    for (const Var &v : inputs) wanted |= v.node >= 0;
    if (!wanted) return constant(value);
    nodes_.emplace_back();
    nodes_.back().rule = std::move(rule);
    return {value, int(nodes_.size()) - 1};
}

void Graph::accumulate(Var input, ggml_tensor *gradient) {
    if (input.node < 0) return;
    ggml_tensor *&sum = nodes_[input.node].gradient;
    sum = sum ? plus(*this, sum, gradient) : gradient;
}

void Graph::backward(Var loss) {
    output(loss.value);
    if (loss.node < 0) fail(RI_INTERNAL, "backward from a constant");
    propagate(0, loss.node);
}

void Graph::settle(Var loss, Var of) {
    ggml_build_forward_expand(graph_, loss.value);
    if (loss.node < 0) return;
    propagate(of.node + 1, loss.node);
    ggml_build_forward_expand(graph_, nodes_[of.node].gradient);
}

void Graph::propagate(int first, int last) {
    std::vector<Addition> additions; // to the gradients of parameters
    for (int i = last; i >= first; --i) {
        Node &node = nodes_[i];
        if (i != last && !node.gradient) continue;
        if (node.parameter_gradient) {
            additions.push_back({node.parameter_gradient, ggml_reshape(ctx(), node.gradient, node.parameter_gradient)});
            if (additions.size() == most_inputs) add_up(additions);
        } else {
            if (node.gradient) ggml_build_forward_expand(graph_, node.gradient);
            Rule rule = std::move(node.rule); // nodes_ does not grow here, but rules may be heavy: free each after use
            rule(std::exchange(node.gradient, nullptr));
        }
    }
    add_up(additions);
}

void Graph::add_up(std::vector<Addition> &additions) {
    if (additions.empty()) return;
    if (const KernelSet *k = kernels()) { // by one node, since threads wait for each other after every node
        std::vector<ggml_tensor *> sums, terms;
        for (const Addition &a : additions) {
            sums.push_back(a.sum);
            terms.push_back(a.term);
        }
        ggml_tensor *node = kernel(1, 1, terms, [k, sums](ggml_tensor *dst, int ith, int nth) {
            for (size_t i = 0; i < sums.size(); ++i)
                k->add(in(dst, int(i)), ggml_nelements(sums[i]), static_cast<float *>(sums[i]->data), ith, nth);
        });
        ggml_build_forward_expand(graph_, node);
    } else {
        for (const Addition &a : additions) {
            ggml_tensor *sum = ggml_add_inplace(ctx(), gradient(a.sum), a.term);
            ggml_build_forward_expand(graph_, sum);
            sums_[a.sum] = sum;
        }
    }
    additions.clear();
}

ggml_tensor *Graph::gradient(ggml_tensor *of_parameter) const {
    const auto found = sums_.find(of_parameter);
    return found == sums_.end() ? of_parameter : found->second;
}

ggml_tensor *Graph::part(ggml_tensor *a, int64_t first, int64_t ne0, int64_t ne1) {
    const size_t row = size_t(ne0) * sizeof(float);
    return ggml_view_2d(ctx(), a, ne0, ne1, row, size_t(first) * sizeof(float));
}

ggml_tensor *Graph::kernel(int64_t ne0, int64_t ne1, std::vector<ggml_tensor *> inputs, Kernel kernel) {
    for (ggml_tensor *&input : inputs)
        if (!ggml_is_contiguous(input)) input = ggml_cont(ctx(), input);
    struct Call {
        Kernel kernel;
        const Graph &graph;
    };
    Call *kept = keep(std::make_shared<Call>(Call{std::move(kernel), *this}));
    auto call = [](ggml_tensor *dst, int, int, void *user) {
        Call &self = *static_cast<Call *>(user);
        self.graph.engine_.share(self.graph.alone_, [&](int ith, int nth) { self.kernel(dst, ith, nth); });
    };
    return ggml_custom_4d(ctx(), GGML_TYPE_F32, ne0, ne1, 1, 1, inputs.data(), int(inputs.size()), call, 1, kept);
}

// ---- running

void Graph::output(ggml_tensor *value) {
    ggml_set_output(value);
    ggml_build_forward_expand(graph_, value);
}

size_t Graph::n_bytes() {
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(engine_.backend());
    ggml_gallocr_ptr none(ggml_gallocr_new(type));
    size_t inputs = 0, activations = 0;
    if (life_ == Life::kept) { // they look placed elsewhere
        inputs_buffer_.reset(ggml_backend_buft_alloc_buffer(type, 0));
        for (const Upload &u : uploads_) {
            inputs += GGML_PAD(ggml_backend_buft_get_alloc_size(type, u.tensor), ggml_backend_buft_get_alignment(type));
            u.tensor->buffer = inputs_buffer_.get();
        }
    }
    ggml_gallocr_reserve_n_size(none.get(), graph_, nullptr, nullptr, &activations);
    return inputs + activations;
}

void Graph::place_inputs() {
    ggml_backend_buffer_type_t type = ggml_backend_get_default_buffer_type(engine_.backend());
    const size_t alignment = ggml_backend_buft_get_alignment(type);
    std::stable_partition(uploads_.begin(), uploads_.end(), [](const Upload &u) { return !u.fixed; });
    size_t n = 0;
    std::vector<size_t> places;
    for (const Upload &u : uploads_) {
        places.push_back(n);
        n += GGML_PAD(ggml_backend_buft_get_alloc_size(type, u.tensor), alignment);
        if (!u.fixed) changing_bytes_ = n;
    }
    if (n == 0) return;
    inputs_ctx_.reset(ggml_init({ggml_tensor_overhead(), nullptr, true}));
    if (!inputs_ctx_) throw std::bad_alloc();
    inputs_ = ggml_new_tensor_1d(inputs_ctx_.get(), GGML_TYPE_I8, int64_t(n));
    inputs_buffer_.reset(ggml_backend_alloc_ctx_tensors(inputs_ctx_.get(), engine_.backend()));
    if (!inputs_buffer_) fail(RI_MEMORY, "no memory for the inputs of this batch; use a smaller batch");
    for (size_t i = 0; i < places.size(); ++i)
        if (ggml_backend_tensor_alloc(inputs_buffer_.get(), uploads_[i].tensor,
                                      static_cast<char *>(inputs_->data) + places[i]) != GGML_STATUS_SUCCESS)
            fail(RI_MEMORY, "no memory for the inputs of this batch; use a smaller batch");
}

void Graph::place() {
    if (placed_) { // and the memory has moved
        for (ggml_tensor *t = ggml_get_first_tensor(ctx()); t; t = ggml_get_next_tensor(ctx(), t))
            if (!inputs_buffer_ || t->buffer != inputs_buffer_.get()) {
                t->buffer = nullptr;
                t->data = nullptr;
            }
    } else {
        for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
            const ggml_tensor *node = ggml_graph_node(graph_, i);
            if (!supported(node))
                fail(RI_UNSUPPORTED, "the %s backend cannot run %s on this shape; compute on the CPU",
                     ggml_backend_name(engine_.backend()), ggml_op_desc(node));
        }
        if (life_ == Life::kept) place_inputs();
    }
    if (!engine_.place_activations(graph_))
        fail(RI_MEMORY, "no memory for the activations of this batch; use a smaller batch");
    scratch_number_ = engine_.scratch_number();
    placed_ = true;
}

void Graph::upload() {
    if (!inputs_) { // each has its place among the activations
        for (const Upload &u : uploads_) {
            if (!u.tensor->buffer) continue; // unused
            if (ggml_backend_buffer_is_host(u.tensor->buffer)) {
                u.fill(u.tensor->data);
                continue;
            }
            staging_.resize(ggml_nbytes(u.tensor));
            u.fill(staging_.data());
            ggml_backend_tensor_set(u.tensor, staging_.data(), 0, staging_.size());
        }
        return;
    }
    const bool first = staging_.empty(), host = ggml_backend_buffer_is_host(inputs_buffer_.get());
    if (first) staging_.resize(host ? 1 : ggml_nbytes(inputs_));
    char *base = static_cast<char *>(inputs_->data);
    for (const Upload &u : uploads_) {
        if (u.fixed && !first) break;
        char *place = static_cast<char *>(u.tensor->data);
        u.fill(host ? place : reinterpret_cast<char *>(staging_.data()) + (place - base));
    }
    if (!host) ggml_backend_tensor_set(inputs_, staging_.data(), 0, first ? staging_.size() : changing_bytes_);
}

void Graph::run() {
    if (!placed_ || life_ == Life::once || scratch_number_ != engine_.scratch_number()) place();
    // ggml's CUDA backend captures a graph that looks like the one before, to replay it. What is
    // thrown away is not worth that, so that it gets a name of its own.
    if (life_ == Life::once) ggml_format_name(ggml_graph_node(graph_, 0), "%llu", engine_.next_number());
    upload();
    const ggml_status status = ggml_backend_graph_compute(engine_.backend(), graph_);
    engine_.rethrow();
    if (status == GGML_STATUS_ALLOC_FAILED) fail(RI_MEMORY, "the backend ran out of memory; use a smaller batch");
    if (status != GGML_STATUS_SUCCESS) fail(RI_BACKEND, "the %s backend failed", ggml_backend_name(engine_.backend()));
}

void Graph::read(ggml_tensor *value, float *dst, size_t n) const {
    ggml_backend_tensor_get(value, dst, 0, n * sizeof(float));
}

float Graph::scalar(ggml_tensor *value) const {
    float x;
    ggml_backend_tensor_get(value, &x, 0, sizeof x);
    return x;
}

} // namespace ri
