// The adapter: a state of the recommender becomes K soft tokens in the LLM's embedding space. The
// kinds of adapters are in adapters/.
#pragma once

#include "model.h"

namespace ri {

struct AdapterKind;

class Adapter : public Model {
  public:
    Adapter(std::shared_ptr<Engine> engine, const ri_adapter_params &params, Memory memory = Memory::taken);

    const ri_adapter_params &params() const { return params_; }
    // States [n_in, n] -> soft tokens [K*E, n].
    Var soft_tokens(Graph &graph, Var states) const;

  private:
    const AdapterKind &kind_;
    ri_adapter_params params_;
};

} // namespace ri
