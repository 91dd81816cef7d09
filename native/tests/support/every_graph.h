// GPUs kept honest where there is none: every graph of the core is built and run as on one, by the
// engine without kernels of its own, which takes an operation only if the pinned llama.cpp's
// backend (support/gpu.h) says that it does; and every kernel that this backend would choose must
// be defined in its sources.
#pragma once

#include <set>
#include <string>

// What main() returns. `lacking` are the operations of the core's graphs that the backend does not
// have: the core asks for them first, and does something else where they are refused, for which it
// uses those in `instead`. One that is used and not in the lists, or in them and not used, is a
// failure.
int run_every_graph(const std::set<std::string> &lacking, const std::set<std::string> &instead);
