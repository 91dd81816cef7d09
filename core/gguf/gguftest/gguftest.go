// Package gguftest gives tests a small random LLM with a tokenizer and a chat template, of some
// hundred kilobytes.
package gguftest

import (
	"bytes"
	"math"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/core/gguf"
)

// The vocabulary: 256 bytes, one merged token and two control tokens.
const (
	Merged  = 256 // "th", so that tokenising is more than splitting bytes
	ImStart = 257 // <|im_start|>, the BOS
	ImEnd   = 258 // <|im_end|>, the EOS
	Vocab   = 259
)

// Shape is small enough for any test.
var Shape = gguf.LLM{Architecture: "llama", Name: "tiny", Layers: 2, Embd: 64, Heads: 4, HeadsKV: 2, HeadDim: 16, FF: 128, Vocab: Vocab, Context: 512,
	Tied: true, RopeBase: 10000, RMSEps: 1e-5}

// chatML is the template of many small models, in Jinja.
const chatML = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + " +
	"'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

// LLM is the file of a model of this shape, in which no weight is left out unnoticed: each product
// keeps the size of what it is made from, and no norm is 1. The same seed gives the same bytes.
func LLM(seed uint64) []byte {
	f, err := Shape.Random(gguf.F32, seed, Tokenizer())
	if err != nil {
		panic(err)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for i, t := range f.Tensors {
		mean, spread := float32(1), float32(0.1)
		if len(t.Shape) == 2 {
			mean, spread = 0, float32(1/math.Sqrt(float64(t.Shape[1])))
		}
		values := make([]float32, t.Elements())
		for k := range values {
			values[k] = mean + spread*float32(random.NormFloat64())
		}
		f.Tensors[i].Fill = gguf.Values(values)
	}
	return Bytes(f)
}

// Bytes is what a file holds.
func Bytes(f *gguf.File) []byte {
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Tokenizer is the vocabulary and the chat template.
func Tokenizer() []gguf.Key {
	var tokens []string
	next := rune(256)
	for b := range rune(256) { // GPT-2's spelling of bytes: those that are not printable become U+0100, U+0101, …
		r := b
		if !(b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE) {
			r, next = next, next+1
		}
		tokens = append(tokens, string(r))
	}
	tokens = append(tokens, "th", "<|im_start|>", "<|im_end|>")
	types := make([]int32, Vocab)
	for i := range types {
		types[i] = gguf.Normal
	}
	types[ImStart], types[ImEnd] = gguf.Control, gguf.Control
	return []gguf.Key{
		{Name: "tokenizer.ggml.model", Value: "gpt2"},
		{Name: "tokenizer.ggml.pre", Value: "smollm"},
		{Name: "tokenizer.ggml.tokens", Value: tokens},
		{Name: "tokenizer.ggml.token_type", Value: types},
		{Name: "tokenizer.ggml.merges", Value: []string{"t h"}},
		{Name: "tokenizer.ggml.bos_token_id", Value: uint32(ImStart)},
		{Name: "tokenizer.ggml.eos_token_id", Value: uint32(ImEnd)},
		{Name: "tokenizer.ggml.add_bos_token", Value: false},
		{Name: "tokenizer.chat_template", Value: chatML},
	}
}
