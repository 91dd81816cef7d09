// Chat templates. The expected texts are written by hand from what the models' own cards show; the
// templates lie in llama.cpp's source (TEMPLATES).
#include "support/check.h"

#include "chat_template.h"

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace {

std::string read(const std::string &name) {
    std::ifstream file(std::string(TEMPLATES) + "/" + name + ".jinja");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    CHECK(!text.empty());
    return text;
}

// A template's prompt, and what follows an answer to it.
void expect(const std::string &source, const std::string &prompt, const std::string &after_answer) {
    const ri::ChatTemplate chat(source, "<BOS>", "<EOS>");
    const std::string got = chat.apply("Name a \"film\" <from> 1999.\nPlease, à la carte.");
    if (!CHECK(got == prompt)) fprintf(stderr, "it writes:\n%s|\n", got.c_str());
    const std::string conversation = chat.apply("Name a film.", "Heat");
    const size_t at = conversation.rfind("Heat");
    if (!CHECK(at != std::string::npos && conversation.substr(at + 4) == after_answer))
        fprintf(stderr, "it writes:\n%s|\n", conversation.c_str());
}

const std::string question = "Name a \"film\" <from> 1999.\nPlease, à la carte.";

// A comment with the name of the switch makes the engine run what the library knows by sight.
const std::string by_engine = "{# enable_thinking #}";

void test_without_reasoning() {
    expect(read("Qwen-Qwen3-0.6B"),
           "<|im_start|>user\n" + question + "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
           "<|im_end|>\n");
    expect(read("HuggingFaceTB-SmolLM3-3B"),
           "<|im_start|>system\n## Metadata\n\nKnowledge Cutoff Date: June 2025\nReasoning Mode: /no_think\n\n"
           "## Custom Instructions\n\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face.\n\n"
           "<|im_end|>\n<|im_start|>user\n" +
               question + "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
           "<|im_end|>\n");
}

// What the library and the engine make of a template: the same, but for tokens that the library
// leaves to the tokeniser.
void test_both_ways() {
    const std::string granite = read("ibm-granite-granite-4.1"), phi = read("microsoft-Phi-3.5-mini-instruct"),
                      gemma = read("google-gemma-2-2b-it"), mistral = read("mistralai-Mistral-Nemo-Instruct-2407"),
                      qwen = read("Qwen-Qwen2.5-7B-Instruct");
    for (const std::string &how : {std::string(), by_engine}) {
        const std::string bos = how.empty() ? "" : "<BOS>", eos = how.empty() ? "" : "<EOS>";
        expect(granite + how,
               "<|start_of_role|>user<|end_of_role|>" + question +
                   "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>",
               "<|end_of_text|>\n");
        expect(phi + how, "<|user|>\n" + question + "<|end|>\n<|assistant|>\n", "<|end|>\n" + eos);
        expect(gemma + how, bos + "<start_of_turn>user\n" + question + "<end_of_turn>\n<start_of_turn>model\n",
               "<end_of_turn>\n");
        expect(mistral + how, bos + "[INST]" + question + "[/INST]", how.empty() ? "</s>" : "<EOS>");
        expect(qwen + how,
               (how.empty() ? ""
                            : "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
                              "assistant.<|im_end|>\n") +
                   std::string("<|im_start|>user\n") + question + "<|im_end|>\n<|im_start|>assistant\n",
               "<|im_end|>\n");
    }
}

// The constructs of Gemma 3's template: a macro-free loop over the messages behind an optional
// system message, roles that must alternate, another name for the assistant, content that is a text
// or a list of parts, and trimming.
void test_like_gemma3() {
    const std::string source = R"({{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set before = messages[0]['content'] + '\n\n' -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set before = "" -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("roles must alternate") }}
    {%- endif -%}
    {%- if message['role'] == 'assistant' -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<turn>' + role + '\n' + (before if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for part in message['content'] -%}
            {%- if part['type'] == 'text' -%}{{ part['text'] | trim }}{%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '</turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<turn>model\n' }}
{%- endif -%}
)";
    expect(source, "<BOS><turn>user\n" + question + "</turn>\n<turn>model\n", "</turn>\n");
}

// Content that is only taken as a list of parts.
void test_parts() {
    expect("{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
           "{% endif %}{% endfor %}{{ eos_token }}{% endfor %}",
           "<user>" + question + "<EOS>", "<EOS>");
}

// A prompt must be the same on any day.
void test_date() {
    expect(
        "{{ strftime_now('%d %B %Y') }}: {{ messages[0].content }}{% if messages|length > 1 %}{{ messages[1].content "
        "}}{% endif %}",
        "26 July 2024: " + question, "");
}

void test_refusals() {
    for (const char *source : {"{{ raise_exception('no') }}", "{% for m in messages %}", "{{ messages[0].role }}",
                               "{{ undefined.field() }}", ""})
        try {
            ri::ChatTemplate(source, "", "");
            CHECK(!"refused");
            fprintf(stderr, "taken: %s\n", source);
        } catch (const std::runtime_error &) {
        }
    try {
        ri::ChatTemplate(std::string(1 << 17, ' ') + "{{ messages[0].content }}", "", "");
        CHECK(!"refused");
    } catch (const std::runtime_error &e) {
        CHECK(strstr(e.what(), "64 KiB") != nullptr);
    }
}

} // namespace

int main(int argc, char **argv) {
    Cases cases(argc, argv);
    CASE(test_without_reasoning());
    CASE(test_both_ways());
    CASE(test_like_gemma3());
    CASE(test_parts());
    CASE(test_date());
    CASE(test_refusals());
    return cases.finish();
}
