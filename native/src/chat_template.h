// The chat template of a GGUF: a Jinja program that puts messages into the form that an LLM was
// trained on.
#pragma once

#include <string>

namespace ri {

class ChatTemplate {
  public:
    // `bos` and `eos` are the texts of these tokens, which a template may write. Throws
    // std::runtime_error for a template that llama.cpp cannot apply.
    ChatTemplate(std::string source, std::string bos, std::string eos);

    // The user message up to where the answer starts, or, with an answer, the whole conversation.
    // Throws what the template's program throws, a std::exception.
    std::string apply(const std::string &user_message) const { return apply(user_message, nullptr); }
    std::string apply(const std::string &user_message, const std::string &answer) const {
        return apply(user_message, &answer);
    }

  private:
    bool shows_message() const;
    std::string apply(const std::string &user_message, const std::string *answer) const;
    std::string run(const std::string &user_message, const std::string *answer) const;

    std::string source_, bos_, eos_;
    bool built_in_ = false; // llama_chat_apply_template applies it
    bool parts_ = false;    // the template takes the content of a message as a list of parts
};

} // namespace ri
