package align

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/gguf"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func openLLM(t *testing.T, shape gguf.LLM) *cgo.GGUF {
	t.Helper()
	file, err := shape.Random(gguf.F32, 1, gguftest.Tokenizer())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "llm.gguf")
	if err := file.Save(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	llm, err := cgo.OpenGGUF(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { llm.Close() })
	return llm
}

func TestNewEstimate_byHand(t *testing.T) {
	engine := testllm.Engine(t)
	p, err := prompt.FromSegments([][]int32{{1, 2, 3}, {4}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	// A layer has 16·(2·4+2·2)·4 = 768 numbers in its attention and 3·16·32 = 1536 behind it; the
	// head has 16·300.
	shape := gguf.LLM{Architecture: "llama", Name: "ten", Layers: 10, Embd: 16, Heads: 4, HeadsKV: 2, HeadDim: 4, FF: 32, Vocab: 300, Context: 20, RopeBase: 1e4,
		RMSEps: 1e-5}
	llm := openLLM(t, shape)
	job := Job{Prompts: [][]*prompt.Prompt{{p}}, Shape: Shape{Kind: "linear", In: 5, Tokens: 2, Embd: 16},
		Config: Config{PassPositions: 16, BatchSize: 100, Samples: 250}}
	lengths := []Length{{Counts: []int{1}, Answer: 2}, {Counts: []int{2}, Answer: 4}} // 2+1+1 and 4+1+3 positions
	e, err := NewEstimate(engine, llm, cgo.F32, job, lengths)
	if err != nil {
		t.Fatal(err)
	}
	const matrices = 10*(768+1536) + 4800
	for what, pair := range map[string][2]int64{
		"parameters": {e.Parameters, matrices},
		"optimiser":  {e.Optimiser, 4 * 4 * (32*5 + 32)},
		"states":     {e.States, 2 * 4 * 5 * (1 + 2)},
		"total":      {e.Total(), e.Weights + e.Prefix + e.Pass + e.Optimiser},
		"samples":    {int64(e.Samples), 300},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %d, want %d", what, pair[0], pair[1])
		}
	}
	// 6 positions and 3 tokens on the mean; behind the last layer's keys and values stand 1536 +
	// 16·16 numbers and the head.
	flop := 4. * ((10*(768+1536)-1536-256)*6 + (1536+256+4800)*3)
	if e.Positions != 6 || math.Abs(e.FLOP-flop) > 1e-6 {
		t.Errorf("%g positions, %g FLOP, want 6 and %g", e.Positions, e.FLOP, flop)
	}
	if device, err := engine.Describe(); err != nil || e.Device != device.Device || e.Device == "" {
		t.Errorf("on %q, want %q: %v", e.Device, device.Device, err)
	}
	if e.Weights < 2*4*matrices || e.Prefix < 10*4*4*2*4*3 || !e.Fits || math.Abs(e.Minutes*60*e.Rate-300) > 1e-6 || e.Warm != 0 {
		t.Errorf("%+v", e)
	}
	job.Config.PassPositions *= 2
	more, err := NewEstimate(engine, llm, cgo.BF16, job, lengths)
	if err != nil || more.Weights >= e.Weights || more.Pass <= e.Pass {
		t.Errorf("half the precision and twice the samples in a pass: %+v, %v; before %+v", more, err, e)
	}
	shape.Context = 10
	if _, err := NewEstimate(engine, openLLM(t, shape), cgo.F32, job, lengths); err == nil || !strings.Contains(err.Error(), "sample 1") {
		t.Errorf("a sample that is too long: %v", err)
	}
	if _, err := NewEstimate(engine, llm, cgo.F32, job, nil); err == nil {
		t.Error("an estimate for no samples")
	}
}

// All samples of an update go through the LLM in one pass, unless its memory is not there.
func TestLongestPass(t *testing.T) {
	engine := testllm.Engine(t)
	p, err := prompt.FromSegments([][]int32{{1, 2, 3}, {4}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	llm := openLLM(t, gguf.LLM{Architecture: "llama", Name: "wide", Layers: 2, Embd: 16, Heads: 4, HeadsKV: 2, HeadDim: 4, FF: 4096, Vocab: 300, Context: 20,
		RopeBase: 1e4, RMSEps: 1e-5})
	job := Job{Prompts: [][]*prompt.Prompt{{p}}, Shape: Shape{Kind: "linear", In: 5, Tokens: 2, Embd: 16},
		Config: Config{PassPositions: 16, BatchSize: 100, Samples: 100}}
	lengths := []Length{{Counts: []int{1}, Answer: 2}, {Counts: []int{2}, Answer: 4}} // 4 and 8 positions
	if got, err := LongestPass(engine, llm, cgo.F32, job, lengths); got != 100*8 || err != nil {
		t.Errorf("%d positions, want those of all 100 samples: %v", got, err)
	}
	e, err := NewEstimate(engine, llm, cgo.F32, job, lengths)
	if err != nil {
		t.Fatal(err)
	}
	job.Config.BatchSize = int(3 * e.Free / (e.Pass / 2)) // three times what there is room for; 2 samples take e.Pass
	got, err := LongestPass(engine, llm, cgo.F32, job, lengths)
	if err != nil || got < 16 || got >= job.Config.BatchSize*8 {
		t.Errorf("%d positions of %d: %v", got, job.Config.BatchSize*8, err)
	}
	for _, positions := range []int{got, 2 * got} {
		job.Config.PassPositions = positions
		if e, err := NewEstimate(engine, llm, cgo.F32, job, lengths); err != nil || (e.Total() < e.Free*9/10) != (positions == got) {
			t.Errorf("passes of %d positions take %d of %d bytes: %v", positions, e.Total(), e.Free, err)
		}
	}
	job.Config.PassPositions = job.Config.BatchSize * 8 // whatever fits: never fewer than asked for
	if got, err := LongestPass(engine, llm, cgo.F32, job, lengths); got != job.Config.PassPositions || err != nil {
		t.Errorf("%d positions, want %d: %v", got, job.Config.PassPositions, err)
	}
}
