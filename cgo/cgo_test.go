package cgo_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// settings are those of a recommender, by name.
type settings = map[string][]float64

// tiny are a SASRec's, which also guides a DreamRec.
var tiny = sized(settings{"blocks": {1}, "heads": {2}, "inner": {4}})

// sized are settings of 5 items, 4 wide, and histories of at most 3, with others, which may differ
// from these.
func sized(others settings) settings {
	return joined(settings{"items": {5}, "width": {4}, "positions": {3}}, others)
}

func joined(s, others settings) settings {
	s = maps.Clone(s)
	maps.Copy(s, others)
	return s
}

func newRecommender(engine *cgo.Engine, model string, s settings) (*cgo.Recommender, error) {
	return cgo.NewRecommender(engine, cgo.RecommenderParams{Model: model, Settings: s})
}

func newEngine(t *testing.T) *cgo.Engine {
	t.Helper()
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

func newProbe(t *testing.T) *cgo.Probe {
	t.Helper()
	probe, err := cgo.NewProbe(newEngine(t), cgo.ProbeParams{In: 2, Classes: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { probe.Close() })
	return probe
}

func newModels(t *testing.T) (*cgo.Recommender, *cgo.Adapter) {
	t.Helper()
	engine := newEngine(t)
	recommender, err := newRecommender(engine, "sasrec", tiny)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { recommender.Close() })
	adapter, err := cgo.NewAdapter(engine, cgo.AdapterParams{Kind: "linear", In: 4, Tokens: 2, Embd: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { adapter.Close() })
	return recommender, adapter
}

// second keeps the error of a call.
func second[T any](_ T, err error) error { return err }

func one() cgo.Histories { return cgo.Histories{Items: []int32{0, 4, 5}, Lengths: []int32{2}} }

// calls tries every method of every object. Those that need a file to be made are the zero value,
// which is closed.
func calls(recommender *cgo.Recommender, adapter *cgo.Adapter, probe *cgo.Probe) map[string]func() error {
	llama, generator, gguf := &cgo.LLM{}, &cgo.Generator{}, &cgo.GGUF{}
	batch := cgo.AlignBatch{Samples: 1, Positions: 3, States: []int32{1}, Tokens: []int32{-1, -2, 0},
		Targets: []int32{-1, -1, 1}, StateValues: make([]float32, 4), Weight: 1}
	return map[string]func() error{
		"Tensors": func() error { return second(recommender.Tensors()) },
		"Read":    func() error { return recommender.Read(make([]float32, 24), 0, cgo.Value) },
		"Write":   func() error { return recommender.Write(0, cgo.Value, make([]float32, 24)) },
		"Update":  func() error { return second(recommender.Update(cgo.AdamW{Epsilon: 1e-8, Step: 1})) },
		"States":  func() error { return recommender.States(make([]float32, 4), one(), false) },
		"Scores":  func() error { return recommender.Scores(make([]float32, 5), one()) },
		"Recommender.Backward": func() error {
			batch := cgo.RecommenderBatch{Histories: one(), Targets: []int32{4, 1, -1}}
			return second(recommender.Backward(batch))
		},
		"SoftTokens": func() error { return adapter.SoftTokens(make([]float32, 6), make([]float32, 4), 1) },
		"Regress":    func() error { return second(adapter.Regress(make([]float32, 4), make([]float32, 6), 1)) },
		"Classify": func() error {
			return second(adapter.Classify(make([]float32, 4), make([]float32, 3), []int32{0, 0}, 1))
		},
		"Probe.Backward": func() error { return second(probe.Backward(make([]float32, 2), []int32{0}, 1)) },
		"Probe.Scores":   func() error { return probe.Scores(make([]float32, 3), make([]float32, 2), 1) },
		"NewPrefix":      func() error { return second(llama.NewPrefix(nil)) },
		"Backward":       func() error { return second(llama.Backward(&cgo.Prefix{}, adapter, batch)) },
		"LogProbs":       func() error { return llama.LogProbs(make([]float32, 1), &cgo.Prefix{}, adapter, batch) },
		"BranchLogProbs": func() error {
			return llama.BranchLogProbs(make([]float32, 1), &cgo.Prefix{}, adapter, cgo.Branches{Tokens: []int32{-1, -2}, Parents: []int32{-1, 0},
				AskedCounts: []int32{0, 1}, Asked: []int32{1}, StateValues: make([]float32, 4)})
		},
		"no prefix":  func() error { return llama.LogProbs(make([]float32, 1), nil, adapter, batch) },
		"Prefix":     func() error { return generator.Prefix(nil) },
		"Reset":      func() error { return generator.Reset(0) },
		"Copy":       func() error { return generator.Copy(0, 0) },
		"Describe":   func() error { return second(gguf.Describe()) },
		"Tokenize":   func() error { return second(gguf.Tokenize("a", false)) },
		"Detokenize": func() error { return second(gguf.Detokenize([]int32{1}, false)) },
		"Chat":       func() error { return second(gguf.Chat("a")) },
		"Embed":      func() error { return gguf.Embed(nil, nil) },
		"Decode": func() error {
			batch := cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{1}, Tokens: []int32{0}}
			return generator.Decode(batch, cgo.Decoded{})
		},
	}
}

func TestClosedObjects(t *testing.T) {
	recommender, adapter := newModels(t)
	probe := newProbe(t)
	for range 2 {
		if err := errors.Join(recommender.Close(), adapter.Close(), probe.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range calls(recommender, adapter, probe) {
		if err := call(); !errors.Is(err, cgo.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
	engine := newEngine(t)
	engine.Close()
	for name, create := range map[string]func(*cgo.Engine) error{
		"NewSASRec":    func(e *cgo.Engine) error { return second(newRecommender(e, "sasrec", tiny)) },
		"NewAdapter":   func(e *cgo.Engine) error { return second(cgo.NewAdapter(e, cgo.AdapterParams{Kind: "linear"})) },
		"NewProbe":     func(e *cgo.Engine) error { return second(cgo.NewProbe(e, cgo.ProbeParams{})) },
		"NewLLM":       func(e *cgo.Engine) error { return second(cgo.NewLLM(e, &cgo.GGUF{}, cgo.F32)) },
		"NewGenerator": func(e *cgo.Engine) error { return second(cgo.NewGenerator(e, nil, cgo.GeneratorParams{})) },
	} {
		for _, e := range []*cgo.Engine{engine, nil, {}} {
			if err := create(e); !errors.Is(err, cgo.ErrClosed) {
				t.Errorf("%s: %v, want ErrClosed", name, err)
			}
		}
	}
	if (&cgo.GGUF{}).IsEnd(0) {
		t.Error("a closed file knows a token that ends a generation")
	}
}

// A child goes on working when its engine is closed: natives hold their parents.
func TestCloseOrder(t *testing.T) {
	engine := newEngine(t)
	model, err := newRecommender(engine, "sasrec", tiny)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	engine.Close()
	if err := model.Scores(make([]float32, 5), one()); err != nil {
		t.Error(err)
	}
}

func TestWrongLengths(t *testing.T) {
	recommender, adapter := newModels(t)
	probe := newProbe(t)
	short := cgo.Histories{Items: []int32{0, 4}, Lengths: []int32{2}}
	align := func(change func(*cgo.AlignBatch)) error {
		b := cgo.AlignBatch{Samples: 1, Positions: 2, States: []int32{1}, Tokens: make([]int32, 2), Targets: []int32{-1, 1},
			StateValues: make([]float32, 4)}
		change(&b)
		return (&cgo.LLM{}).LogProbs(make([]float32, 1), &cgo.Prefix{}, adapter, b)
	}
	branches := func(change func(*cgo.Branches)) error {
		b := cgo.Branches{Tokens: make([]int32, 2), Parents: make([]int32, 2), AskedCounts: []int32{0, 1}, Asked: make([]int32, 1),
			StateValues: make([]float32, 4)}
		change(&b)
		return (&cgo.LLM{}).BranchLogProbs(make([]float32, 1), &cgo.Prefix{}, adapter, b)
	}
	decode := func(b cgo.DecodeBatch) error { return (&cgo.Generator{}).Decode(b, cgo.Decoded{}) }
	sasrec := func(s settings) error { return second(newRecommender(newEngine(t), "sasrec", s)) }
	for name, err := range map[string]error{
		"branches parents":   branches(func(b *cgo.Branches) { b.Parents = b.Parents[:1] }),
		"branches counts":    branches(func(b *cgo.Branches) { b.AskedCounts = nil }),
		"branches asked":     branches(func(b *cgo.Branches) { b.Asked = nil }),
		"branches below 0":   branches(func(b *cgo.Branches) { b.AskedCounts[0] = -1 }),
		"branches dst":       branches(func(b *cgo.Branches) { b.AskedCounts[0], b.Asked = 1, make([]int32, 2) }),
		"branches states":    branches(func(b *cgo.Branches) { b.StateValues = make([]float32, 5) }),
		"read nil":           recommender.Read(nil, 0, cgo.Value),
		"read short":         recommender.Read(make([]float32, 23), 0, cgo.Value),
		"read long":          recommender.Read(make([]float32, 25), 0, cgo.Value),
		"read index":         recommender.Read(nil, 99, cgo.Value),
		"read negative":      recommender.Read(nil, -1, cgo.Value),
		"read slot":          recommender.Read(make([]float32, 24), 0, cgo.Slot(4)),
		"write nil":          recommender.Write(0, cgo.Value, nil),
		"states nil":         recommender.States(nil, one(), false),
		"states positions":   recommender.States(make([]float32, 4), one(), true),
		"states histories":   recommender.States(make([]float32, 4), short, false),
		"no history":         recommender.States(nil, cgo.Histories{}, false),
		"scores nil":         recommender.Scores(nil, one()),
		"targets nil":        second(recommender.Backward(cgo.RecommenderBatch{Histories: one()})),
		"soft tokens states": adapter.SoftTokens(make([]float32, 6), nil, 1),
		"soft tokens dst":    adapter.SoftTokens(nil, make([]float32, 4), 1),
		"soft tokens n":      adapter.SoftTokens(make([]float32, 6), make([]float32, 4), -1),
		"soft tokens huge":   adapter.SoftTokens(make([]float32, 6), make([]float32, 4), math.MaxInt),
		"regress targets":    second(adapter.Regress(make([]float32, 4), nil, 1)),
		"classify words":     second(adapter.Classify(make([]float32, 4), make([]float32, 4), []int32{0, 0}, 1)),
		"classify targets":   second(adapter.Classify(make([]float32, 4), make([]float32, 3), []int32{0}, 1)),
		"probe inputs":       second(probe.Backward(make([]float32, 3), []int32{0}, 1)),
		"probe nothing":      second(probe.Backward(nil, nil, 0)),
		"probe scores":       probe.Scores(make([]float32, 2), make([]float32, 2), 1),
		"probe scores n":     probe.Scores(make([]float32, 3), make([]float32, 2), -1),
		"align tokens":       align(func(b *cgo.AlignBatch) { b.Tokens = nil }),
		"align states":       align(func(b *cgo.AlignBatch) { b.StateValues = b.StateValues[:3] }),
		"align counts":       align(func(b *cgo.AlignBatch) { b.States = []int32{1, 1} }),
		"align samples":      align(func(b *cgo.AlignBatch) { b.Samples = -1 }),
		"align targets":      align(func(b *cgo.AlignBatch) { b.Targets = []int32{1} }),
		"decode nothing":     decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{1}}),
		"decode counts":      decode(cgo.DecodeBatch{Slots: []int32{0}, Tokens: []int32{1}}),
		"decode count 0":     decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{0}, Tokens: []int32{}}),
		"decode asked counts": decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{1}, Tokens: []int32{1}, AskedCounts: []int32{1, 1},
			Asked: []int32{1, 1}}),
		"decode asked": decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{1}, Tokens: []int32{1}, AskedCounts: []int32{2},
			Asked: []int32{1}}),
		"decode negative": decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{1}, Tokens: []int32{1}, AskedCounts: []int32{-1}}),
		"decode tokens":   decode(cgo.DecodeBatch{Slots: []int32{0}, Counts: []int32{2}, Tokens: []int32{1}}),
		"sasrec items":    sasrec(settings{"items": {0}, "width": {0}, "positions": {0}, "blocks": {0}, "heads": {0}, "inner": {0}}),
		"sasrec too wide": sasrec(settings{"items": {1}, "width": {1 << 40}, "positions": {1}, "blocks": {1}, "heads": {1}, "inner": {0}}),
		"adapter kind":    second(cgo.NewAdapter(newEngine(t), cgo.AdapterParams{Kind: "x", In: 1, Tokens: 1, Embd: 1})),
		"probe classes":   second(cgo.NewProbe(newEngine(t), cgo.ProbeParams{In: 1})),
		"probe too wide":  second(cgo.NewProbe(newEngine(t), cgo.ProbeParams{In: 1 << 40, Classes: 1})),
		"path with NUL":   second(cgo.OpenGGUF("a\x00b")),
	} {
		if !errors.Is(err, cgo.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	err := recommender.Read(make([]float32, 23), 0, cgo.Value)
	want := "recint: read tensor: dst of item_embeddings.weight: got 23 elements, want 24 for shape [6 4]"
	if err == nil || err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

func TestBadValues(t *testing.T) {
	recommender, adapter := newModels(t)
	probe := newProbe(t)
	nan := float32(math.NaN())
	scores := func(length int32, items ...int32) error {
		return recommender.Scores(make([]float32, 5), cgo.Histories{Items: items, Lengths: []int32{length}})
	}
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"write NaN":        {recommender.Write(3, cgo.Value, []float32{0, 0, nan, 0}), cgo.ErrNumeric},
		"soft tokens NaN":  {adapter.SoftTokens(make([]float32, 6), []float32{0, nan, 0, 0}, 1), cgo.ErrNumeric},
		"probe NaN":        {probe.Scores(make([]float32, 3), []float32{0, nan}, 1), cgo.ErrNumeric},
		"train probe NaN":  {second(probe.Backward([]float32{0, nan}, []int32{0}, 1)), cgo.ErrNumeric},
		"probe target":     {second(probe.Backward(make([]float32, 2), []int32{3}, 1)), cgo.ErrInvalid},
		"item out of V":    {scores(1, 9, 5, 5), cgo.ErrInvalid},
		"length 0":         {scores(0, 5, 5, 5), cgo.ErrInvalid},
		"length above T":   {scores(4, 0, 0, 0), cgo.ErrInvalid},
		"item in padding":  {scores(2, 0, 1, 2), cgo.ErrInvalid},
		"step 0":           {second(recommender.Update(cgo.AdamW{Epsilon: 1})), cgo.ErrInvalid},
		"unknown backend":  {second(cgo.NewEngine(cgo.EngineParams{Backend: "abacus"})), cgo.ErrBackend},
		"negative threads": {second(cgo.NewEngine(cgo.EngineParams{Threads: -1})), cgo.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
}

// number is 64 bits of a GGUF.
func number(n uint64) string { return string(binary.LittleEndian.AppendUint64(nil, n)) }

func TestBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "magic only": "GGUF", "other": strings.Repeat("x", 100),
		"cut short": "GGUF\x03\x00\x00\x00\x01\x00\x00\x00",
		// version 3, one tensor, one key-value pair, whose key claims 2^60 bytes
		"huge key": "GGUF\x03\x00\x00\x00" + number(1) + number(1) + number(1<<60),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := cgo.OpenGGUF(path); !errors.Is(err, cgo.ErrFile) {
			t.Errorf("%s: %v, want ErrFile", name, err)
		}
	}
	if _, err := cgo.OpenGGUF(filepath.Join(dir, "absent")); !errors.Is(err, cgo.ErrFile) {
		t.Errorf("absent: %v, want ErrFile", err)
	}
}

func TestErrorsSurviveWrapping(t *testing.T) {
	recommender, _ := newModels(t)
	err := fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", recommender.Read(nil, 0, cgo.Value)))
	var e *cgo.Error
	if !errors.Is(err, cgo.ErrInvalid) || errors.Is(err, cgo.ErrNumeric) || !errors.As(err, &e) {
		t.Errorf("the code of %v is lost", err)
	}
	recommender.Close()
	err = fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", recommender.Read(nil, 0, cgo.Value)))
	if !errors.Is(err, cgo.ErrClosed) || !strings.Contains(err.Error(), "recint: read tensor: ") {
		t.Errorf("%v is not recognised as closed", err)
	}
}

func TestReadBackWhatWasWritten(t *testing.T) {
	recommender, _ := newModels(t)
	for _, slot := range []cgo.Slot{cgo.Value, cgo.Gradient, cgo.Moment1, cgo.Moment2} {
		want := []float32{1, -2, float32(slot), 0.5}
		if err := recommender.Write(3, slot, want); err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 4)
		if err := recommender.Read(got, 3, slot); err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("slot %d: got %v, want %v", slot, got, want)
			}
		}
	}
}

// With all weights zero every item scores the output layer's bias, so that the loss is log V = log
// 5.
func TestZeroModel(t *testing.T) {
	recommender, _ := newModels(t)
	loss, err := recommender.Backward(cgo.RecommenderBatch{Histories: one(), Targets: []int32{4, 1, -1}})
	if err != nil || math.Abs(loss-math.Log(5)) > 1e-6 {
		t.Errorf("loss %v, %v; want %v", loss, err, math.Log(5))
	}
	norm, err := recommender.Update(cgo.AdamW{LearningRate: 0.1, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, Step: 1})
	if err != nil || !(norm > 0) {
		t.Errorf("gradient norm %v, %v; want more than 0", norm, err)
	}
}

func TestCloseDuringCalls(t *testing.T) {
	recommender, _ := newModels(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			dst := make([]float32, 5)
			for {
				if err := recommender.Scores(dst, one()); err != nil {
					if !errors.Is(err, cgo.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 2 {
		group.Go(func() { recommender.Close() })
	}
	group.Wait()
}

func TestCreateAndClose1000Times(t *testing.T) {
	engine := newEngine(t)
	before := cgo.Live()
	for i := range 1000 {
		model, err := newRecommender(engine, "sasrec", tiny)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // the others are left to the garbage collector, which TestMain waits for
			model.Close()
		}
		if i%100 == 0 {
			newEngine(t).Close()
		}
	}
	if live := cgo.Live(); live.Models-before.Models > 500 || live.Engines != before.Engines {
		t.Errorf("alive: %+v, before: %+v", live, before)
	}
}

func TestDescriptions(t *testing.T) {
	info, err := newEngine(t).Describe()
	if err != nil || info.Backend != "cpu" || info.Threads != 1 || info.MemoryTotal <= 0 {
		t.Errorf("%+v, %v", info, err)
	}
	text, err := cgo.SystemDescribe()
	if err != nil || !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") {
		t.Errorf("%q, %v", text, err)
	}
}
