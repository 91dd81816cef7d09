package gguf

import (
	"fmt"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// LLaMA is the shape of a model of the llama architecture.
type LLaMA struct {
	Name             string
	Layers           int
	Embd             int // E
	Heads, HeadsKV   int // HeadsKV divides Heads
	HeadDim          int // even
	FF               int
	Vocab            int
	Context          int  // positions
	Tied             bool // the output matrix is the embedding table
	RopeBase, RMSEps float32
}

// Known are the shapes that have a name.
var Known = []LLaMA{
	{Name: "llama-7b", Layers: 32, Embd: 4096, Heads: 32, HeadsKV: 32, HeadDim: 128, FF: 11008, Vocab: 32000, Context: 2048,
		RopeBase: 10000, RMSEps: 1e-6},
	{Name: "llama-2-7b", Layers: 32, Embd: 4096, Heads: 32, HeadsKV: 32, HeadDim: 128, FF: 11008, Vocab: 32000, Context: 4096,
		RopeBase: 10000, RMSEps: 1e-5},
	{Name: "tinyllama-1.1b", Layers: 22, Embd: 2048, Heads: 32, HeadsKV: 4, HeadDim: 64, FF: 5632, Vocab: 32000, Context: 2048,
		RopeBase: 10000, RMSEps: 1e-5},
	{Name: "smollm2-135m", Layers: 30, Embd: 576, Heads: 9, HeadsKV: 3, HeadDim: 64, FF: 1536, Vocab: 49152, Context: 8192,
		Tied: true, RopeBase: 100000, RMSEps: 1e-5},
}

// Like is the shape of an open model, without scaled RoPE. The model must be a LLaMA.
func Like(info cgo.GGUFInfo) (LLaMA, error) {
	if info.Architecture != "llama" {
		return LLaMA{}, fmt.Errorf("gguf: a model of architecture %q has no LLaMA's shape; give one of architecture \"llama\"",
			info.Architecture)
	}
	return LLaMA{Name: info.Name, Layers: info.Layers, Embd: info.Embd, Heads: info.Heads, HeadsKV: info.HeadsKV,
		HeadDim: info.HeadDim, FF: info.FF, Vocab: info.Vocab, Context: info.Context, Tied: info.TiedHead,
		RopeBase: info.RopeBase, RMSEps: info.RMSEps}, nil
}

// Spread is the standard deviation of a LLaMA's matrices before training.
const Spread = 0.02

// Random makes the file of a model that nobody has trained: matrices, of the given type, are drawn from a normal
// distribution around 0, norms are 1. The same arguments give the same bytes. The tokenizer's keys are
// made to fit the vocabulary (see Tokenizer).
func (m LLaMA) Random(t Type, seed uint64, tokenizer []Key) (*File, error) {
	if min(m.Layers, m.Embd, m.Heads, m.HeadsKV, m.HeadDim, m.FF, m.Vocab, m.Context) < 1 || m.HeadDim%2 != 0 ||
		m.Heads%m.HeadsKV != 0 {
		return nil, fmt.Errorf("gguf: there is no LLaMA of sizes %+v", m)
	}
	tokenizer, err := fit(tokenizer, m.Vocab)
	if err != nil {
		return nil, err
	}
	f := &File{Keys: append(m.keys(t), tokenizer...)}
	matrix := func(name string, out, in int) {
		stream := uint64(len(f.Tensors)) << 32
		f.Tensors = append(f.Tensors, Tensor{name + ".weight", []int{out, in}, t, func(dst []float32, first int) {
			random := rand.New(rand.NewPCG(seed, stream+uint64(first/Stretch)))
			for i := range dst {
				dst[i] = Spread * float32(random.NormFloat64())
			}
		}})
	}
	norm := func(name string) {
		f.Tensors = append(f.Tensors, Tensor{name + ".weight", []int{m.Embd}, F32, func(dst []float32, _ int) {
			for i := range dst {
				dst[i] = 1
			}
		}})
	}
	matrix("token_embd", m.Vocab, m.Embd)
	for i := range m.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		norm(at + "attn_norm")
		matrix(at+"attn_q", m.Heads*m.HeadDim, m.Embd)
		matrix(at+"attn_k", m.HeadsKV*m.HeadDim, m.Embd)
		matrix(at+"attn_v", m.HeadsKV*m.HeadDim, m.Embd)
		matrix(at+"attn_output", m.Embd, m.Heads*m.HeadDim)
		norm(at + "ffn_norm")
		matrix(at+"ffn_gate", m.FF, m.Embd)
		matrix(at+"ffn_up", m.FF, m.Embd)
		matrix(at+"ffn_down", m.Embd, m.FF)
	}
	norm("output_norm")
	if !m.Tied {
		matrix("output", m.Vocab, m.Embd)
	}
	return f, nil
}

func (m LLaMA) keys(t Type) []Key {
	fileType := map[Type]uint32{F32: 0, F16: 1, BF16: 32} // llama.cpp's numbers for "all" and "mostly"
	return []Key{
		{"general.architecture", "llama"},
		{"general.name", m.Name},
		{"general.file_type", fileType[t]},
		{"llama.vocab_size", uint32(m.Vocab)},
		{"llama.context_length", uint32(m.Context)},
		{"llama.embedding_length", uint32(m.Embd)},
		{"llama.block_count", uint32(m.Layers)},
		{"llama.feed_forward_length", uint32(m.FF)},
		{"llama.attention.head_count", uint32(m.Heads)},
		{"llama.attention.head_count_kv", uint32(m.HeadsKV)},
		{"llama.attention.key_length", uint32(m.HeadDim)},
		{"llama.attention.value_length", uint32(m.HeadDim)},
		{"llama.attention.layer_norm_rms_epsilon", m.RMSEps},
		{"llama.rope.dimension_count", uint32(m.HeadDim)},
		{"llama.rope.freq_base", m.RopeBase},
	}
}
