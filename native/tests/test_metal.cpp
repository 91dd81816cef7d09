// The core's graphs on Metal: all but three gradients. That of looking rows up is a product with
// the one-hot matrix of the ids there, some rows of the table at a time (scatter_rows), that of
// RMSNorm is put together from smaller operations.
#include "support/every_graph.h"

int main() {
    return run_every_graph({"GET_ROWS_BACK f32,i32>f32", "RMS_NORM_BACK f32,f32>f32", "SOFT_MAX_BACK f32,f32>f32"},
                           {"ARANGE>f32", "CPY i32,f32>f32", "REPEAT f32>f32"});
}
