// Parameters for tests, by the names of their fields.
#pragma once

#include "recint.h"

inline ri_engine_params engine_params(const char *backend, bool strict = false) { // on one thread
    ri_engine_params p = ri_engine_params_default();
    p.backend = backend;
    p.n_threads = 1;
    p.strict = strict;
    return p;
}

inline ri_generator_params generator_params(int32_t n_slots, int32_t n_context) {
    ri_generator_params p = ri_generator_params_default();
    p.n_slots = n_slots;
    p.n_context = n_context;
    return p;
}

inline ri_probe_params probe_params(int32_t n_in, int32_t n_hidden, int32_t n_classes) {
    ri_probe_params p = ri_probe_params_default();
    p.n_in = n_in;
    p.n_hidden = n_hidden;
    p.n_classes = n_classes;
    return p;
}

inline ri_adamw adamw(float learning_rate, float weight_decay, float max_norm) { // the first step
    ri_adamw p = ri_adamw_default();
    p.learning_rate = learning_rate;
    p.weight_decay = weight_decay;
    p.max_norm = max_norm;
    p.step = 1;
    return p;
}
