// A GPU that is none, for what has to do with devices: ggml's CPU backend behind memory that nobody else can reach.
// Whoever touches it past ggml's functions dies of a segmentation fault.
#pragma once

#include "ggml.h"

// Makes the backend "made-up" known to ggml. It is a GPU with every operation of the CPU backend but `lacking`, which
// may be changed later.
void register_made_up_gpu();
inline ggml_op lacking = GGML_OP_COUNT; // none
inline int times_refused = 0;           // how often it was asked for what it lacks
