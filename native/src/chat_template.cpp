// Chat templates on llama.cpp: the forms that its library knows by sight, and its Jinja engine for
// all others.
#include "chat_template.h"

#include "llama-cpp.h" // not "llama.h", which is our own

#include "jinja/lexer.h"
#include "jinja/parser.h"
#include "jinja/runtime.h"
#include "jinja/value.h"

#include <stdexcept>
#include <utility>
#include <vector>

namespace ri {

namespace {

// Templates are a few thousand bytes long. The engine recurses into nested expressions.
constexpr size_t longest_template = 1 << 16;

// The switch of templates such as Qwen3's; without it an LLM reasons before it answers.
constexpr const char *reasoning_switch = "enable_thinking";

// 26 July 2024, noon, the date that Llama 3's templates fall back on. Some templates write the
// date, and a prompt must be the same tomorrow.
constexpr std::time_t today = 1721995200;

// Empty where the library does not know the template.
std::string apply_built_in(const std::string &source, const std::string &user_message, const std::string *answer) {
    const llama_chat_message messages[] = {{"user", user_message.c_str()},
                                           {"assistant", answer ? answer->c_str() : nullptr}};
    std::string text(user_message.size() + 4096, '\0');
    int32_t n = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
        n = llama_chat_apply_template(source.c_str(), messages, answer ? 2 : 1, !answer, text.data(),
                                      int32_t(text.size()));
        if (n < 0) return "";
        const bool fits = size_t(n) <= text.size();
        text.resize(size_t(n));
        if (fits) break;
    }
    return text;
}

jinja::value object(const std::vector<std::pair<const char *, jinja::value>> &fields) {
    auto result = jinja::mk_val<jinja::value_object>();
    for (const auto &[name, value] : fields) result->insert(name, value);
    return result;
}

jinja::value text_value(const std::string &text) { return jinja::mk_val<jinja::value_string>(text); }

} // namespace

ChatTemplate::ChatTemplate(std::string source, std::string bos, std::string eos)
    : source_(std::move(source)), bos_(std::move(bos)), eos_(std::move(eos)) {
    if (source_.size() > longest_template) throw std::runtime_error("its chat template is longer than 64 KiB");
    built_in_ = source_.find(reasoning_switch) == std::string::npos && !apply_built_in(source_, "", nullptr).empty();
    if (shows_message()) return;
    parts_ = true;
    if (!shows_message()) throw std::runtime_error("its chat template does not write the user's message");
}

bool ChatTemplate::shows_message() const {
    const std::string probe = "question";
    try {
        return apply(probe).find(probe) != std::string::npos;
    } catch (const std::exception &) { // of the template's own, or of the engine about it
        return false;
    }
}

std::string ChatTemplate::apply(const std::string &user_message, const std::string *answer) const {
    return built_in_ ? apply_built_in(source_, user_message, answer) : run(user_message, answer);
}

std::string ChatTemplate::run(const std::string &user_message, const std::string *answer) const {
    auto content = [&](const std::string &text) {
        if (!parts_) return text_value(text);
        auto list = jinja::mk_val<jinja::value_array>();
        list->push_back(object({{"type", text_value("text")}, {"text", text_value(text)}}));
        return jinja::value(list);
    };
    auto messages = jinja::mk_val<jinja::value_array>();
    messages->push_back(object({{"role", text_value("user")}, {"content", content(user_message)}}));
    if (answer) messages->push_back(object({{"role", text_value("assistant")}, {"content", content(*answer)}}));

    jinja::context context(source_);
    context.current_time = today;
    context.set_val("messages", messages);
    context.set_val("bos_token", text_value(bos_));
    context.set_val("eos_token", text_value(eos_));
    context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(!answer));
    context.set_val(reasoning_switch, jinja::mk_val<jinja::value_bool>(false));
    jinja::lexer lexer;
    const jinja::program program = jinja::parse_from_tokens(lexer.tokenize(source_));
    const jinja::value result = jinja::runtime(context).execute(program);
    return jinja::runtime::gather_string_parts(result)->as_string().str();
}

} // namespace ri
