#include "graph/operations.h"

#include <cstring>

namespace ri {

namespace {

// Enough for a forward and backward pass through 80 layers of an LLM, and through 64 attention blocks of a
// recommender; a tensor's metadata takes a few hundred bytes.
constexpr size_t max_tensors = 32768;

} // namespace

Graph::Graph(Engine &engine, bool gradients, Life life) : engine_(engine), gradients_(gradients) {
    ctx_.reset(ggml_init(
        {ggml_tensor_overhead() * max_tensors + ggml_graph_overhead_custom(max_tensors, false), nullptr, true}));
    if (!ctx_) throw std::bad_alloc();
    graph_ = ggml_new_graph_custom(ctx(), max_tensors, false);
    if (life == Life::kept) own_memory_.reset(ggml_gallocr_new(ggml_backend_get_default_buffer_type(engine.backend())));
}

// ---- leaves

ggml_tensor *Graph::input(ggml_type type, Fill fill, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    ggml_tensor *t = ggml_new_tensor_4d(ctx(), type, ne0, ne1, ne2, ne3);
    ggml_set_input(t);
    uploads_.push_back({t, std::move(fill)});
    return t;
}

ggml_tensor *Graph::input(ggml_type type, const void *data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    const size_t n = size_t(ggml_row_size(type, ne0 * ne1 * ne2 * ne3));
    return input(
        type, [=](void *dst) { memcpy(dst, data, n); }, ne0, ne1, ne2, ne3);
}

ggml_tensor *Graph::input(std::vector<float> data, int64_t ne0, int64_t ne1, int64_t ne2, int64_t ne3) {
    auto *kept = keep(std::make_shared<std::vector<float>>(std::move(data)));
    return input(GGML_TYPE_F32, kept->data(), ne0, ne1, ne2, ne3);
}

ggml_tensor *Graph::input(std::vector<int32_t> data, int64_t ne0) {
    auto *kept = keep(std::make_shared<std::vector<int32_t>>(std::move(data)));
    return input(GGML_TYPE_I32, kept->data(), ne0);
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
    std::vector<Addition> additions; // to the gradients of parameters
    for (int i = loss.node; i >= 0; --i) {
        Node &node = nodes_[i];
        if (i != loss.node && !node.gradient) continue;
        if (node.parameter_gradient) {
            additions.push_back({node.parameter_gradient, ggml_reshape(ctx(), node.gradient, node.parameter_gradient)});
            if (additions.size() == most_inputs) add_up(additions);
        } else {
            if (node.gradient) ggml_build_forward_expand(graph_, node.gradient);
            Rule rule = std::move(node.rule); // nodes_ does not grow here, but rules may be heavy: free each after use
            rule(node.gradient);
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
        for (const Addition &a : additions) ggml_build_forward_expand(graph_, ggml_add_inplace(ctx(), a.sum, a.term));
    }
    additions.clear();
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
    ggml_gallocr_ptr none(ggml_gallocr_new(ggml_backend_get_default_buffer_type(engine_.backend())));
    size_t n = 0;
    ggml_gallocr_reserve_n_size(none.get(), graph_, nullptr, nullptr, &n);
    return n;
}

void Graph::run() {
    if (!ready_) {
        for (int i = 0; i < ggml_graph_n_nodes(graph_); ++i) {
            const ggml_tensor *node = ggml_graph_node(graph_, i);
            if (!supported(node))
                fail(RI_UNSUPPORTED, "the %s backend cannot run %s on this shape; compute on the CPU",
                     ggml_backend_name(engine_.backend()), ggml_op_desc(node));
        }
        if (!ggml_gallocr_alloc_graph(own_memory_ ? own_memory_.get() : engine_.scratch(), graph_))
            fail(RI_MEMORY, "no memory for the activations of this batch; use a smaller batch");
        ready_ = own_memory_ != nullptr;
        // ggml's CUDA backend captures a graph that looks like the one before, to replay it. What is thrown away is not
        // worth that, so that it gets a name of its own.
        if (!ready_) ggml_format_name(ggml_graph_node(graph_, 0), "%llu", engine_.next_number());
    }
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
    const ggml_status status = ggml_backend_graph_compute(engine_.backend(), graph_);
    engine_.rethrow();
    if (status == GGML_STATUS_ALLOC_FAILED) fail(RI_MEMORY, "the backend ran out of memory; use a smaller batch");
    if (status != GGML_STATUS_SUCCESS) fail(RI_BACKEND, "the %s backend failed", ggml_backend_name(engine_.backend()));
}

void Graph::read(ggml_tensor *value, float *dst) const { ggml_backend_tensor_get(value, dst, 0, ggml_nbytes(value)); }

float Graph::scalar(ggml_tensor *value) const {
    float x;
    ggml_backend_tensor_get(value, &x, 0, sizeof x);
    return x;
}

} // namespace ri
