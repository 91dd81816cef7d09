#include "logs.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include <mutex>

namespace ri {

namespace {

thread_local std::string first_error;

void keep_errors(ggml_log_level level, const char *text, void *) {
    if (level != GGML_LOG_LEVEL_ERROR || !text || !first_error.empty()) return;
    std::string line = text;
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    first_error = std::move(line);
}

} // namespace

void silence_logs() {
    static std::once_flag once;
    std::call_once(once, [] { llama_log_set(keep_errors, nullptr); });
}

void forget_logged_error() { first_error.clear(); }

const std::string &logged_error() { return first_error; }

} // namespace ri
