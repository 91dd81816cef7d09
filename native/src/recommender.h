// What every sequential recommender offers: a state after each item of a history, and scores of all items from a state.
#pragma once

#include "model.h"

namespace ri {

// Dropout masks drawn from a counter-based generator: the same seed gives the same masks, with no state to save.
class Dropout {
  public:
    Dropout(float probability, uint64_t seed) : probability_(probability), seed_(seed) {}
    // Zeroes numbers with the probability and scales the others by 1 / (1 - probability).
    Var operator()(Graph &graph, Var x);

  private:
    float probability_;
    uint64_t seed_;
};

class Recommender : public Model {
  public:
    using Model::Model;

    virtual int64_t n_items() const = 0;
    virtual int64_t width() const = 0;
    virtual int64_t n_positions() const = 0;
    // States after each position: [D, T*B], zero-length histories excluded by check().
    virtual Var encode(Graph &graph, const ri_histories &histories, Dropout &dropout) const = 0;
    // Scores [V, N] of states [D, N].
    virtual Var scores(Graph &graph, Var states) const = 0;

    // Throws unless every id and length is in range and what follows a history's end is padding.
    void check(const ri_histories &histories) const;
};

} // namespace ri
