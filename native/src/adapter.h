// The adapter: a state of the recommender becomes K soft tokens in the LLaMA's embedding space.
#pragma once

#include "model.h"

namespace ri {

class Adapter : public Model {
  public:
    Adapter(std::shared_ptr<Engine> engine, const ri_adapter_params &params);

    const ri_adapter_params &params() const { return params_; }
    // States [n_in, n] -> soft tokens [K*E, n].
    Var soft_tokens(Graph &graph, Var states) const;

  private:
    // Of RI_ADAPTER_RECALL: the entries with the best of scores [n_entries, n] -> [K*E / n_lookups, n_lookups * n].
    Var look_up(Graph &graph, ggml_tensor *scores) const;

    ri_adapter_params params_;
};

} // namespace ri
