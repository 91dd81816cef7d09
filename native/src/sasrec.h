// SASRec: self-attentive sequential recommendation (Kang and McAuley 2018, arXiv 1808.09781), a class for each project
// whose weights it takes.
#pragma once

#include "recommender.h"

namespace ri {

// Throws when a size is out of range.
void check_sizes(const ri_sasrec_params &params);

// The authors' encoder, which guides DreamRec as well: its tensors without those of the output layer, and its states
// [D, B], or with source.all() [D, T * B].
std::vector<TensorSpec> sasrec_encoder_layout(const ri_sasrec_params &params);
Var sasrec_encode(const Model &model, const ri_sasrec_params &params, Graph &graph, Source &source);

class SASRec : public Recommender {
  public:
    ri_recommender_info describe() const override { return {p_.n_items, p_.width, p_.width, p_.n_positions}; }

  protected:
    SASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params, std::vector<TensorSpec> specs)
        : Recommender(std::move(engine), std::move(specs)), p_(params) {}

    ri_sasrec_params p_;
};

class RecBoleSASRec final : public SASRec {
  public:
    RecBoleSASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params);
    Var encode(Graph &graph, Source &source) const override;
    Head head(Graph &graph) const override { return {use(graph, "item_embedding.weight"), {}}; }
};

class PmixerSASRec final : public SASRec { // in its three forms
  public:
    PmixerSASRec(std::shared_ptr<Engine> engine, const ri_sasrec_params &params);
    Var encode(Graph &graph, Source &source) const override;
    Head head(Graph &graph) const override { return {use(graph, "item_emb.weight"), {}}; }

  private:
    Var embed(Graph &graph, Source &samples) const;
};

} // namespace ri
