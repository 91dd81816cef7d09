// The encoder of SASRec, which DreamRec uses as well.
#pragma once

#include "recommender.h"

namespace ri {

// Names and shapes of the tensors, without those of the output layer. Throws when a size is out of range.
std::vector<TensorSpec> sasrec_encoder_layout(const ri_sasrec_params &params);
// States [D, B], or with source.all() [D, T * B].
Var sasrec_encode(const Model &model, const ri_sasrec_params &params, Graph &graph, Source &source);

} // namespace ri
