package tinygguf

import "fmt"

// Token types of the format.
const (
	normal  = int32(1)
	control = int32(3)
	unused  = int32(5)
)

// chatML is the template of many small models, in Jinja.
const chatML = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + " +
	"'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

// key is one entry of the header.
type key struct {
	name  string
	value any
}

func (p Params) keys() []key {
	tokens, types := p.vocabulary()
	return []key{
		{"general.architecture", "llama"},
		{"general.name", "tiny"},
		{"general.file_type", uint32(0)}, // all float32
		{"llama.vocab_size", uint32(p.Vocab)},
		{"llama.context_length", uint32(p.Context)},
		{"llama.embedding_length", uint32(p.Embd)},
		{"llama.block_count", uint32(p.Layers)},
		{"llama.feed_forward_length", uint32(p.FF)},
		{"llama.attention.head_count", uint32(p.Heads)},
		{"llama.attention.head_count_kv", uint32(p.HeadsKV)},
		{"llama.attention.layer_norm_rms_epsilon", float32(RMSEps)},
		{"llama.rope.dimension_count", uint32(p.Embd / p.Heads)},
		{"llama.rope.freq_base", float32(RopeBase)},
		{"tokenizer.ggml.model", "gpt2"},
		{"tokenizer.ggml.pre", "smollm"},
		{"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.token_type", types},
		{"tokenizer.ggml.merges", []string{"t h"}},
		{"tokenizer.ggml.bos_token_id", uint32(ImStart)},
		{"tokenizer.ggml.eos_token_id", uint32(ImEnd)},
		{"tokenizer.ggml.add_bos_token", false},
		{"tokenizer.chat_template", chatML},
	}
}

func (p Params) vocabulary() (tokens []string, types []int32) {
	add := func(text string, kind int32) { tokens, types = append(tokens, text), append(types, kind) }
	next := rune(256)
	for b := range rune(256) {
		r := b
		if !printable(b) {
			r, next = next, next+1
		}
		add(string(r), normal)
	}
	add("th", normal)
	add("<|im_start|>", control)
	add("<|im_end|>", control)
	for len(tokens) < p.Vocab {
		add(fmt.Sprintf("<|unused_%d|>", len(tokens)), unused)
	}
	return tokens, types
}

// printable reports whether GPT-2's byte-level vocabulary writes a byte as itself; the others become U+0100, U+0101, …
func printable(b rune) bool {
	return b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE
}
