package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// tinyModel is a random LLaMA without a vocabulary. A head of 32 is a size that the core's fused kernels take where the
// CPU has them; one of 8 always runs as composed ggml operations.
type tinyModel struct {
	name        string
	shape       complexstep.LlamaShape
	ff          int
	tied        bool
	ropeFactors []float32
}

var tinyModels = []tinyModel{
	{
		name: "head of 8, tied",
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8,
			Vocab: 48, RopeBase: 10000, RMSEps: 1e-5,
		},
		ff: 48, tied: true,
	},
	{
		name: "head of 8, rope factors",
		shape: complexstep.LlamaShape{
			Layers: 3, Embd: 32, Heads: 4, HeadsKV: 1, HeadDim: 8,
			Vocab: 40, RopeBase: 500, RMSEps: 1e-6,
		},
		ff: 40, ropeFactors: []float32{1, 1.5, 4, 8},
	},
	{
		name: "head of 32",
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 64, Heads: 2, HeadsKV: 1, HeadDim: 32,
			Vocab: 48, RopeBase: 10000, RMSEps: 1e-5,
		},
		ff: 96,
	},
}

// write makes the model's file and gives its weights.
func (m tinyModel) write(t *testing.T) (path string, weights complexstep.Params) {
	t.Helper()
	s, rng := m.shape, rand.New(rand.NewPCG(41, uint64(m.ff)))
	weights = complexstep.Params{}
	file := ggufFile{}
	file.text("general.architecture", "llama")
	file.text("general.name", m.name)
	file.text("tokenizer.ggml.model", "no_vocab")
	file.count("llama.vocab_size", s.Vocab)
	file.count("llama.block_count", s.Layers)
	file.count("llama.embedding_length", s.Embd)
	file.count("llama.feed_forward_length", m.ff)
	file.count("llama.context_length", 64)
	file.count("llama.attention.head_count", s.Heads)
	file.count("llama.attention.head_count_kv", s.HeadsKV)
	file.count("llama.rope.dimension_count", s.HeadDim)
	file.number("llama.rope.freq_base", s.RopeBase)
	file.number("llama.attention.layer_norm_rms_epsilon", s.RMSEps)

	add := func(name string, values []float32, shape ...int) {
		weights[name] = complexstep.Lift(values)
		file.tensor(name, values, shape)
	}
	dense := func(name string, out, in int) { add(name, normal(rng, out*in, 0, 0.25), out, in) }
	norm := func(name string) { add(name, normal(rng, s.Embd, 1, 0.2), s.Embd) }
	dense("token_embd.weight", s.Vocab, s.Embd)
	norm("output_norm.weight")
	if !m.tied {
		dense("output.weight", s.Vocab, s.Embd)
	}
	if m.ropeFactors != nil {
		add("rope_freqs.weight", m.ropeFactors, len(m.ropeFactors))
	}
	for layer := range s.Layers {
		at := fmt.Sprintf("blk.%d.", layer)
		norm(at + "attn_norm.weight")
		dense(at+"attn_q.weight", s.Heads*s.HeadDim, s.Embd)
		dense(at+"attn_k.weight", s.HeadsKV*s.HeadDim, s.Embd)
		dense(at+"attn_v.weight", s.HeadsKV*s.HeadDim, s.Embd)
		dense(at+"attn_output.weight", s.Embd, s.Heads*s.HeadDim)
		norm(at + "ffn_norm.weight")
		dense(at+"ffn_gate.weight", m.ff, s.Embd)
		dense(at+"ffn_up.weight", m.ff, s.Embd)
		dense(at+"ffn_down.weight", s.Embd, m.ff)
	}
	path = filepath.Join(t.TempDir(), strings.ReplaceAll(m.name, " ", "-")+".gguf")
	if err := os.WriteFile(path, file.bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, weights
}

// ggufFile collects a GGUF of version 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) with F32 tensors.
type ggufFile struct {
	keys, tensors     uint64
	meta, infos, data bytes.Buffer
}

// put writes little-endian values; strings carry their length. A bytes.Buffer never fails.
func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if text, ok := v.(string); ok {
			put(b, uint64(len(text)))
			b.WriteString(text)
			continue
		}
		binary.Write(b, binary.LittleEndian, v)
	}
}

// The numbers after the key are the format's type codes: 4 u32, 6 f32, 8 string.
func (f *ggufFile) text(key, value string) { f.keys++; put(&f.meta, key, uint32(8), value) }
func (f *ggufFile) count(key string, value int) {
	f.keys++
	put(&f.meta, key, uint32(4), uint32(value))
}
func (f *ggufFile) number(key string, value float64) {
	f.keys++
	put(&f.meta, key, uint32(6), float32(value))
}

// tensor appends row-major values; the format lists the fastest dimension first and aligns data to 32 bytes.
func (f *ggufFile) tensor(name string, values []float32, shape []int) {
	f.tensors++
	put(&f.infos, name, uint32(len(shape)))
	for i := range shape {
		put(&f.infos, uint64(shape[len(shape)-1-i]))
	}
	put(&f.infos, uint32(0), uint64(f.data.Len())) // type 0: F32
	put(&f.data, values)
	align(&f.data)
}

func align(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&31)) }

func (f *ggufFile) bytes() []byte {
	var whole bytes.Buffer
	put(&whole, []byte("GGUF"), uint32(3), f.tensors, f.keys, f.meta.Bytes(), f.infos.Bytes())
	align(&whole)
	put(&whole, f.data.Bytes())
	return whole.Bytes()
}
