// Package tinygguf writes small random models of the llama architecture for tests: whole GGUF files with a tokenizer and
// a chat template, of some hundred kilobytes.
package tinygguf

import (
	"bufio"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
)

// Params sizes a model. Weights are float32.
type Params struct {
	Layers  int
	Embd    int // E; a multiple of Heads
	Heads   int
	HeadsKV int // divides Heads
	FF      int
	Vocab   int // at least MinVocab
	Context int
	Tied    bool // the output matrix is the embedding table
	Seed    uint64
}

// Default is small enough for any test.
func Default() Params {
	return Params{Layers: 2, Embd: 64, Heads: 4, HeadsKV: 2, FF: 128, Vocab: MinVocab, Context: 512, Tied: true, Seed: 1}
}

// The vocabulary: 256 bytes, one merged token, two control tokens, and unused ones up to Params.Vocab.
const (
	Merged   = 256 // "th", so that tokenising is more than splitting bytes
	ImStart  = 257 // <|im_start|>, the BOS
	ImEnd    = 258 // <|im_end|>, the EOS
	MinVocab = 259
)

// RopeBase and RMSEps are the models' constants.
const (
	RopeBase = 10000
	RMSEps   = 1e-5
)

// Write writes the default model to a file.
func Write(path string) error { return Default().Write(path) }

// Write writes the model to a file. The same parameters give the same bytes.
func (p Params) Write(path string) error {
	if p.Layers < 1 || p.Heads < 1 || p.HeadsKV < 1 || p.Embd < 1 || p.FF < 1 || p.Vocab < MinVocab ||
		p.Embd%(2*p.Heads) != 0 || p.Heads%p.HeadsKV != 0 {
		return fmt.Errorf("tinygguf: impossible sizes %+v", p)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffer := bufio.NewWriter(file)
	w := &writer{out: buffer}
	p.write(w)
	return cmp.Or(buffer.Flush(), file.Close())
}

func (p Params) write(w *writer) {
	keys := p.keys()
	tensors := p.tensors()
	w.raw("GGUF")
	w.number(uint32(3))
	w.number(uint64(len(tensors)))
	w.number(uint64(len(keys)))
	for _, k := range keys {
		w.text(k.name)
		w.value(k.value)
	}
	offset := uint64(0)
	for _, t := range tensors {
		w.text(t.name)
		w.number(uint32(len(t.shape)))
		for i := range t.shape { // the format counts dimensions from the fastest
			w.number(uint64(t.shape[len(t.shape)-1-i]))
		}
		w.number(uint32(0)) // float32
		w.number(offset)
		offset += aligned(4 * uint64(t.elements()))
	}
	random := rand.New(rand.NewPCG(p.Seed, 0))
	for _, t := range tensors {
		w.pad()
		for range t.elements() {
			w.number(math.Float32bits(t.mean + t.spread*float32(random.NormFloat64())))
		}
	}
	w.pad()
}

// tensor is a weight with what its random values look like.
type tensor struct {
	name         string
	shape        []int // row-major
	mean, spread float32
}

func (t tensor) elements() int {
	n := 1
	for _, d := range t.shape {
		n *= d
	}
	return n
}

func (p Params) tensors() []tensor {
	var list []tensor
	matrix := func(name string, out, in int) {
		list = append(list, tensor{name, []int{out, in}, 0, float32(1 / math.Sqrt(float64(in)))})
	}
	norm := func(name string) { list = append(list, tensor{name, []int{p.Embd}, 1, 0.1}) }
	kv := p.Embd / p.Heads * p.HeadsKV
	matrix("token_embd.weight", p.Vocab, p.Embd)
	for i := range p.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		norm(at + "attn_norm.weight")
		matrix(at+"attn_q.weight", p.Embd, p.Embd)
		matrix(at+"attn_k.weight", kv, p.Embd)
		matrix(at+"attn_v.weight", kv, p.Embd)
		matrix(at+"attn_output.weight", p.Embd, p.Embd)
		norm(at + "ffn_norm.weight")
		matrix(at+"ffn_gate.weight", p.FF, p.Embd)
		matrix(at+"ffn_up.weight", p.FF, p.Embd)
		matrix(at+"ffn_down.weight", p.Embd, p.FF)
	}
	norm("output_norm.weight")
	if !p.Tied {
		matrix("output.weight", p.Vocab, p.Embd)
	}
	return list
}
