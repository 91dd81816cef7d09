// What llama.cpp and ggml print: nothing reaches the terminal, and the cause of a failure is kept
// for our own messages.
#pragma once

#include <string>

namespace ri {

// Takes over the log of llama.cpp and ggml, once per process; thread-safe.
void silence_logs();

// The first error line that was logged on this thread since forget_logged_error(), without its end
// of line: the cause, which llama.cpp follows with lines that say less.
void forget_logged_error();
const std::string &logged_error();

} // namespace ri
