package conformance

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/complexstep"
)

// tinyModel is a random LLM without a vocabulary. A head of 32 is a size that the core's fused
// kernels take where the CPU has them; one of 8 always runs as composed ggml operations.
type tinyModel struct {
	name         string
	shape        complexstep.LlamaShape
	ff           int
	tied         bool
	ropeFactors  []float32
	slowdowns    []float32 // as ropeFactors, but the core computes them from keys
	architecture string    // "": llama
	keys         []gguf.Key
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

// otherModels are the blocks of all architectures but llama.
var otherModels = []tinyModel{
	{
		name: "qwen2", architecture: "qwen2", ff: 48,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 10000, RMSEps: 1e-6,
			Halves: true,
		},
	},
	{
		name: "qwen3", architecture: "qwen3", ff: 48, tied: true,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 10, Vocab: 48, RopeBase: 10000, RMSEps: 1e-6,
			Halves: true,
		},
	},
	{
		name: "smollm3", architecture: "smollm3", ff: 48, tied: true,
		shape: complexstep.LlamaShape{
			Layers: 4, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 10000, RMSEps: 1e-6,
			Layer: func(layer int) complexstep.LlamaLayer { return complexstep.LlamaLayer{Fixed: layer == 3} },
		},
	},
	{
		name: "granite", architecture: "granite", ff: 48, tied: true,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 10000, RMSEps: 1e-5,
			Inputs: 1.5, Scores: 0.25, Branches: 0.75, Logits: 0.5,
		},
		keys: []gguf.Key{
			{Name: "embedding_scale", Value: float32(1.5)}, {Name: "attention.scale", Value: float32(0.25)},
			{Name: "residual_scale", Value: float32(0.75)}, {Name: "logit_scale", Value: float32(2)},
		},
	},
	{
		// YaRN by a factor of 4: within 64 positions the second of four pairs turns between 32
		// times and once; half of it is scaled. Queries and keys are multiplied by
		// (1 + 0.1 ln 4) / (1 + 0.05 ln 4), scores by its square.
		name: "mistral3", architecture: "mistral3", ff: 48,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 10000, RMSEps: 1e-5,
			Scores: math.Pow((1+0.1*math.Log(4))/(1+0.05*math.Log(4)), 2) / math.Sqrt(8),
		},
		slowdowns: []float32{1, 1.6, 4, 4},
		keys: []gguf.Key{
			{Name: "rope.scaling.type", Value: "yarn"}, {Name: "rope.scaling.factor", Value: float32(4)},
			{Name: "rope.scaling.original_context_length", Value: uint32(64)},
			{Name: "rope.scaling.yarn_log_multiplier", Value: float32(0.5)},
		},
	},
	{
		name: "gemma3", architecture: "gemma3", ff: 48, tied: true,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 36, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 100000, RMSEps: 1e-6,
			Halves: true, GELU: true, Tokens: 6,
			Layer: func(layer int) complexstep.LlamaLayer {
				return []complexstep.LlamaLayer{{RopeBase: 10000, Window: 5}, {}}[layer]
			},
		},
		keys: []gguf.Key{
			{Name: "attention.sliding_window", Value: uint32(5)}, {Name: "attention.sliding_window_pattern", Value: uint32(2)},
		},
	},
	{
		name: "phi3", architecture: "phi3", ff: 48,
		shape: complexstep.LlamaShape{
			Layers: 2, Embd: 32, Heads: 4, HeadsKV: 2, HeadDim: 8, Vocab: 48, RopeBase: 10000, RMSEps: 1e-5,
			Halves: true,
		},
	},
}

// write makes the model's file and gives its weights.
func (m tinyModel) write(t *testing.T) (path string, weights complexstep.Params) {
	t.Helper()
	s, rng := m.shape, rand.New(rand.NewPCG(41, uint64(m.ff)))
	file, err := gguf.LLM{Architecture: cmp.Or(m.architecture, "llama"), More: m.keys,
		Name: m.name, Layers: s.Layers, Embd: s.Embd, Heads: s.Heads, HeadsKV: s.HeadsKV, HeadDim: s.HeadDim, FF: m.ff, Vocab: s.Vocab,
		Context: 64, Tied: m.tied, RopeBase: float32(s.RopeBase), RMSEps: float32(s.RMSEps),
	}.Random(gguf.F32, 0, []gguf.Key{{Name: "tokenizer.ggml.model", Value: "no_vocab"}})
	if err != nil {
		t.Fatal(err)
	}
	if m.ropeFactors != nil {
		file.Tensors = append(file.Tensors, gguf.Tensor{Name: "rope_freqs.weight", Shape: []int{len(m.ropeFactors)}})
	}
	weights = complexstep.Params{}
	for i, tensor := range file.Tensors {
		values := normal(rng, count(tensor.Shape), 0, 0.25)
		switch {
		case tensor.Name == "rope_freqs.weight":
			values = m.ropeFactors
		case strings.HasSuffix(tensor.Name, ".bias"):
		case len(tensor.Shape) == 1: // a norm
			values = normal(rng, count(tensor.Shape), 1, 0.2)
		}
		weights[tensor.Name] = complexstep.Lift(values)
		file.Tensors[i].Fill = gguf.Values(values)
	}
	if m.slowdowns != nil {
		weights["rope_freqs.weight"] = complexstep.Lift(m.slowdowns)
	}
	path = filepath.Join(t.TempDir(), strings.ReplaceAll(m.name, " ", "-")+".gguf")
	if err := os.WriteFile(path, gguftest.Bytes(file), 0o644); err != nil {
		t.Fatal(err)
	}
	return path, weights
}
