package app

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// llm is a GGUF file: a random model of two layers, 64 wide, whose vocabulary is the 256 bytes, "th" and the two marks of
// ChatML.
// (core/internal/tinygguf, which writes such models for the tests of core, cannot be imported from here.)
func llm(architecture string) []byte {
	const embd, ff, kv, layers = 64, 128, 32, 2
	var head, data bytes.Buffer
	keys, tensors := 0, 0
	number := func(v any) { binary.Write(&head, binary.LittleEndian, v) }
	text := func(s string) { number(uint64(len(s))); head.WriteString(s) }
	key := func(name string, kind uint32, value any) {
		keys++
		text(strings.ReplaceAll(name, "ARCH", architecture))
		number(kind)
		switch value := value.(type) {
		case string:
			text(value)
		case []string:
			number(uint32(8))
			number(uint64(len(value)))
			for _, s := range value {
				text(s)
			}
		case []int32:
			number(uint32(5))
			number(uint64(len(value)))
			number(value)
		default:
			number(value)
		}
	}
	random := rand.New(rand.NewPCG(1, 0))
	tensor := func(name string, mean, spread float64, shape ...uint64) { // the fastest dimension first
		tensors++
		text(name)
		number(uint32(len(shape)))
		number(shape)
		number(uint32(0)) // float32
		number(uint64(data.Len()))
		n := uint64(1)
		for _, size := range shape {
			n *= size
		}
		for range n { // sizes are multiples of 32 bytes, so that nothing needs to be padded
			binary.Write(&data, binary.LittleEndian, float32(mean+spread*random.NormFloat64()))
		}
	}

	const u32, f32, boolean, str, array = 4, 6, 7, 8, 9
	key("general.architecture", str, architecture)
	key("ARCH.context_length", u32, uint32(512))
	key("ARCH.embedding_length", u32, uint32(embd))
	key("ARCH.block_count", u32, uint32(layers))
	key("ARCH.feed_forward_length", u32, uint32(ff))
	key("ARCH.attention.head_count", u32, uint32(4))
	key("ARCH.attention.head_count_kv", u32, uint32(2))
	key("ARCH.attention.layer_norm_rms_epsilon", f32, float32(1e-5))
	key("ARCH.rope.freq_base", f32, float32(10000))
	key("tokenizer.ggml.model", str, "gpt2")
	key("tokenizer.ggml.pre", str, "smollm")
	tokens := vocabulary()
	key("tokenizer.ggml.tokens", array, tokens)
	types := make([]int32, len(tokens))
	for i := range types {
		types[i] = 1 // a normal token
		if i > 256 {
			types[i] = 3 // a control token
		}
	}
	key("tokenizer.ggml.token_type", array, types)
	key("tokenizer.ggml.merges", array, []string{"t h"})
	key("tokenizer.ggml.bos_token_id", u32, uint32(257))
	key("tokenizer.ggml.eos_token_id", u32, uint32(258))
	key("tokenizer.ggml.add_bos_token", boolean, false)
	key("tokenizer.chat_template", str, "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "+
		"message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")

	matrix := func(name string, out, in uint64) { tensor(name, 0, 1/math.Sqrt(float64(in)), in, out) }
	matrix("token_embd.weight", uint64(len(tokens)), embd)
	for i := range layers {
		at := fmt.Sprintf("blk.%d.", i)
		tensor(at+"attn_norm.weight", 1, 0.1, embd)
		matrix(at+"attn_q.weight", embd, embd)
		matrix(at+"attn_k.weight", kv, embd)
		matrix(at+"attn_v.weight", kv, embd)
		matrix(at+"attn_output.weight", embd, embd)
		tensor(at+"ffn_norm.weight", 1, 0.1, embd)
		matrix(at+"ffn_gate.weight", ff, embd)
		matrix(at+"ffn_up.weight", ff, embd)
		matrix(at+"ffn_down.weight", embd, ff)
	}
	tensor("output_norm.weight", 1, 0.1, embd)

	var file bytes.Buffer
	file.WriteString("GGUF")
	for _, v := range []any{uint32(3), uint64(tensors), uint64(keys)} {
		binary.Write(&file, binary.LittleEndian, v)
	}
	file.Write(head.Bytes())
	for file.Len()%32 != 0 {
		file.WriteByte(0)
	}
	file.Write(data.Bytes())
	return file.Bytes()
}

// vocabulary is GPT-2's spelling of the 256 bytes, in which those that are not printable become U+0100, U+0101, …;
// behind them "th", so that there is something to merge, and the marks of ChatML.
func vocabulary() []string {
	var tokens []string
	next := rune(256)
	for b := range rune(256) {
		r := b
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r, next = next, next+1
		}
		tokens = append(tokens, string(r))
	}
	return append(tokens, "th", "<|im_start|>", "<|im_end|>")
}
