// The core's graphs on CUDA, which has every operation of theirs.
#include "support/every_graph.h"

int main() { return run_every_graph({}, {}); }
