package gguf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// LLM is the shape of a model of an architecture that the core describes.
type LLM struct {
	Name             string
	Architecture     string // a name of native/src/llm/arch
	Layers           int
	Embd             int // E
	Heads, HeadsKV   int // HeadsKV divides Heads
	HeadDim          int // even
	FF               int
	Vocab            int
	Context          int  // positions
	Tied             bool // the output matrix is the embedding table
	RopeBase, RMSEps float32
	More             []Key // keys of this architecture alone, without its name in front
}

// Known are the shapes that have a name.
var Known = []LLM{
	{Name: "llama-7b", Architecture: "llama", Layers: 32, Embd: 4096, Heads: 32, HeadsKV: 32, HeadDim: 128, FF: 11008,
		Vocab: 32000, Context: 2048, RopeBase: 1e4, RMSEps: 1e-6},
	{Name: "llama-2-7b", Architecture: "llama", Layers: 32, Embd: 4096, Heads: 32, HeadsKV: 32, HeadDim: 128, FF: 11008,
		Vocab: 32000, Context: 4096, RopeBase: 1e4, RMSEps: 1e-5},
	{Name: "tinyllama-1.1b", Architecture: "llama", Layers: 22, Embd: 2048, Heads: 32, HeadsKV: 4, HeadDim: 64, FF: 5632,
		Vocab: 32000, Context: 2048, RopeBase: 1e4, RMSEps: 1e-5},
	{Name: "smollm2-135m", Architecture: "llama", Layers: 30, Embd: 576, Heads: 9, HeadsKV: 3, HeadDim: 64, FF: 1536,
		Vocab: 49152, Context: 8192, Tied: true, RopeBase: 1e5, RMSEps: 1e-5},
	{Name: "qwen2.5-0.5b", Architecture: "qwen2", Layers: 24, Embd: 896, Heads: 14, HeadsKV: 2, HeadDim: 64, FF: 4864,
		Vocab: 151936, Context: 32768, Tied: true, RopeBase: 1e6, RMSEps: 1e-6},
	{Name: "qwen3-0.6b", Architecture: "qwen3", Layers: 28, Embd: 1024, Heads: 16, HeadsKV: 8, HeadDim: 128, FF: 3072,
		Vocab: 151936, Context: 40960, Tied: true, RopeBase: 1e6, RMSEps: 1e-6},
	{Name: "gemma3-270m", Architecture: "gemma3", Layers: 18, Embd: 640, Heads: 4, HeadsKV: 1, HeadDim: 256, FF: 2048,
		Vocab: 262144, Context: 32768, Tied: true, RopeBase: 1e6, RMSEps: 1e-6,
		More: []Key{{"attention.sliding_window", uint32(512)}}},
	{Name: "smollm3-3b", Architecture: "smollm3", Layers: 36, Embd: 2048, Heads: 16, HeadsKV: 4, HeadDim: 128, FF: 11008,
		Vocab: 128256, Context: 65536, Tied: true, RopeBase: 5e6, RMSEps: 1e-6},
	{Name: "granite-3.1-2b", Architecture: "granite", Layers: 40, Embd: 2048, Heads: 32, HeadsKV: 8, HeadDim: 64, FF: 8192,
		Vocab: 49155, Context: 131072, Tied: true, RopeBase: 5e6, RMSEps: 1e-5,
		More: []Key{{"embedding_scale", float32(12)}, {"attention.scale", float32(0.015625)}, {"residual_scale", float32(0.22)},
			{"logit_scale", float32(8)}}},
	{Name: "granite-4.0-micro", Architecture: "granite", Layers: 40, Embd: 2560, Heads: 40, HeadsKV: 8, HeadDim: 64, FF: 8192,
		Vocab: 100352, Context: 131072, Tied: true, RopeBase: 1e7, RMSEps: 1e-5,
		More: []Key{{"embedding_scale", float32(12)}, {"attention.scale", float32(0.015625)}, {"residual_scale", float32(0.22)},
			{"logit_scale", float32(10)}}},
	{Name: "ministral-3-3b", Architecture: "mistral3", Layers: 26, Embd: 3072, Heads: 32, HeadsKV: 8, HeadDim: 128, FF: 9216,
		Vocab: 131072, Context: 262144, Tied: true, RopeBase: 1e6, RMSEps: 1e-5,
		More: []Key{{"rope.scaling.type", "yarn"}, {"rope.scaling.factor", float32(16)},
			{"rope.scaling.original_context_length", uint32(16384)}, {"rope.scaling.yarn_beta_fast", float32(32)},
			{"rope.scaling.yarn_beta_slow", float32(1)}, {"rope.scaling.yarn_log_multiplier", float32(1)},
			{"attention.temperature_scale", float32(0.1)}}},
	{Name: "phi3-mini-4k", Architecture: "phi3", Layers: 32, Embd: 3072, Heads: 32, HeadsKV: 32, HeadDim: 96, FF: 8192,
		Vocab: 32064, Context: 4096, RopeBase: 1e4, RMSEps: 1e-5},
	{Name: "tiny", Architecture: "llama", Layers: 2, Embd: 32, Heads: 2, HeadsKV: 1, HeadDim: 16, FF: 64,
		Vocab: 49152, Context: 2048, Tied: true, RopeBase: 1e4, RMSEps: 1e-5},
}

// Like is the shape of a model file, without factors of RoPE's frequencies.
func Like(file *cgo.GGUF) (LLM, error) {
	info, err := file.Describe()
	if err != nil {
		return LLM{}, err
	}
	m := LLM{Name: info.Name, Architecture: info.Architecture, Layers: info.Layers, Embd: info.Embd, Heads: info.Heads,
		HeadsKV: info.HeadsKV, HeadDim: info.HeadDim, FF: info.FF, Vocab: info.Vocab, Context: info.ContextNamed, Tied: info.TiedHead,
		RopeBase: info.RopeBase, RMSEps: info.RMSEps}
	prefix := info.Architecture + "."
	keys, err := keysOf(file, prefix)
	if err != nil {
		return LLM{}, err
	}
	common := m.keys(F32)
	for _, k := range keys {
		if !slices.ContainsFunc(common, func(c Key) bool { return c.Name == k.Name }) {
			m.More = append(m.More, Key{strings.TrimPrefix(k.Name, prefix), k.Value})
		}
	}
	return m, nil
}

// Random makes the file of a model that nobody has trained: matrices, of the given type, are drawn
// from a normal distribution around 0, norms are 1. The same arguments give the same bytes. The
// tokenizer's keys are made to fit the vocabulary (see Tokenizer).
func (m LLM) Random(t Type, seed uint64, tokenizer []Key) (*File, error) {
	layout, err := cgo.LLMLayout(cgo.LLMSizes{Architecture: m.Architecture, Layers: m.Layers, Embd: m.Embd, Heads: m.Heads,
		HeadsKV: m.HeadsKV, HeadDim: m.HeadDim, FF: m.FF, Vocab: m.Vocab, Tied: m.Tied})
	if err != nil {
		return nil, err
	}
	if m.Context < 1 {
		return nil, fmt.Errorf("gguf: an LLM needs a context of at least 1 position, not %d", m.Context)
	}
	if tokenizer, err = fit(tokenizer, m.Vocab); err != nil {
		return nil, err
	}
	f := &File{Keys: append(m.keys(t), tokenizer...)}
	for i, tensor := range layout {
		one := Tensor{tensor.Name, tensor.Shape, F32, func(dst []float32, _ int) {
			for i := range dst {
				dst[i] = 1
			}
		}}
		switch tensor.Initial {
		case cgo.Zero:
			one.Fill = func(dst []float32, _ int) { clear(dst) }
		case cgo.Normal:
			one.Type, one.Fill = t, func(dst []float32, first int) {
				random := rand.New(rand.NewPCG(seed, uint64(i)<<32+uint64(first/Stretch)))
				for i := range dst {
					dst[i] = float32(tensor.Scale) * float32(random.NormFloat64())
				}
			}
		}
		f.Tensors = append(f.Tensors, one)
	}
	return f, nil
}

// nameless takes Phi-3 out of names: where it is, llama.cpp requires Phi-3's own tokens.
var nameless = strings.NewReplacer("phi-3", "phi", "phi3", "phi")

func (m LLM) keys(t Type) []Key {
	fileType := map[Type]uint32{F32: 0, F16: 1, BF16: 32} // llama.cpp's numbers for "all" and "mostly"
	keys := []Key{
		{"general.architecture", m.Architecture},
		{"general.name", nameless.Replace(m.Name)},
		{"general.file_type", fileType[t]},
	}
	for _, k := range append([]Key{
		{"vocab_size", uint32(m.Vocab)},
		{"context_length", uint32(m.Context)},
		{"embedding_length", uint32(m.Embd)},
		{"block_count", uint32(m.Layers)},
		{"feed_forward_length", uint32(m.FF)},
		{"attention.head_count", uint32(m.Heads)},
		{"attention.head_count_kv", uint32(m.HeadsKV)},
		{"attention.key_length", uint32(m.HeadDim)},
		{"attention.value_length", uint32(m.HeadDim)},
		{"attention.layer_norm_rms_epsilon", m.RMSEps},
		{"rope.dimension_count", uint32(m.HeadDim)},
		{"rope.freq_base", m.RopeBase},
	}, m.More...) {
		keys = append(keys, Key{m.Architecture + "." + k.Name, k.Value})
	}
	return keys
}
