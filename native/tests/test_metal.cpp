// The core's graphs on Metal: all but the gradient of looking rows up, which is a product with the one-hot matrix of
// the ids there (Graph::get_rows).
#include "support/every_graph.h"

int main() { return run_every_graph({"GET_ROWS_BACK f32,i32>f32"}, {"DIAG f32>f32"}); }
