// Programs: graphs that are built once for each shape, placed once, and run again with other
// inputs.
#pragma once

#include "graph/graph.h"

#include <algorithm>

namespace ri {

// The programs for one purpose, of the shapes that were used last.
template <typename Shape> class Programs {
  public:
    explicit Programs(size_t most = 1) : most_(most) {}

    struct Program {
        Shape shape;
        std::unique_ptr<Graph> graph;
        ggml_tensor *result;
    };
    // The program for a shape. A new one is what `build` makes of an empty graph on `engine`: a
    // loss, to whose gradients the graph adds, or another result.
    template <typename Build> Program &get(Engine &engine, bool gradients, const Shape &shape, Build &&build) {
        auto found = programs_.begin();
        while (found != programs_.end() && !(found->shape == shape)) ++found;
        if (found == programs_.end()) {
            if (programs_.size() == most_) programs_.pop_back();
            auto graph = std::make_unique<Graph>(engine, gradients, Graph::Life::kept);
            const Var result = build(*graph);
            if (result.node >= 0)
                graph->backward(result);
            else
                graph->output(result.value);
            programs_.insert(programs_.begin(), Program{shape, std::move(graph), result.value});
        } else {
            std::rotate(programs_.begin(), found, found + 1);
        }
        return programs_.front();
    }

  private:
    size_t most_;
    std::vector<Program> programs_; // the one used last first
};

} // namespace ri
