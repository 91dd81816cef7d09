package recommender

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
)

// timedRule makes sequences of two items, whose next one follows from the second if they are close
// in time, else from the first.
func timedRule() (split dataset.Split, events []dataset.Event) {
	random := rand.New(rand.NewPCG(1, 0))
	for i := range 640 {
		history, gap := []int32{random.Int32N(12), random.Int32N(12)}, int64(1)
		from := history[1]
		if random.IntN(2) == 0 {
			gap, from = 1_000_000, history[0]
		}
		next, at := (from+3)%12, int64(i)
		part := []*[]dataset.Sequence{&split.Train, &split.Validation, &split.Test}[max(0, i/40-13)]
		*part = append(*part, dataset.Sequence{History: history, Next: next, Row: int32(len(events) + 2)})
		events = append(events, dataset.Event{Item: history[0], Time: at}, dataset.Event{Item: history[1], Time: at + gap},
			dataset.Event{Item: next, Time: at + 2*gap})
	}
	return split, events
}

func timedConfig(t *testing.T) Config {
	c := smallOf(t, models.HSTU)
	c.Settings["times"] = true
	c.MaxEpochs, c.Patience = 60, 60
	return c
}

// Only a recommender that reads times can tell which of two items counts.
func TestTimes(t *testing.T) {
	split, events := timedRule()
	for _, times := range []bool{false, true} {
		c := timedConfig(t)
		c.Settings["times"] = times
		trained, err := Train(t.Context(), testllm.Engine(t), c, split, Options{Events: events})
		if err != nil {
			t.Fatal(err)
		}
		defer trained.Close()
		m, err := Evaluate(t.Context(), of(trained.Best, events), split.Test, nil)
		if err != nil || (m.HR[1] > 0.8) != times || !times && m.HR[1] > 0.65 {
			t.Errorf("times: %v: HR@1 %v on unseen sequences: %v", times, m.HR[1], err)
		}
		path := filepath.Join(t.TempDir(), "hstu.safetensors")
		if err := trained.Best.Save(path); err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(testllm.Engine(t), path)
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.Close()
		if again, err := Evaluate(t.Context(), of(loaded, events), split.Test, nil); err != nil || again.MRR != m.MRR {
			t.Errorf("times: %v: MRR %v from the file, before %v: %v", times, again.MRR, m.MRR, err)
		}
	}
}

func TestTimesResumeExactly(t *testing.T) {
	split, events := timedRule()
	c := timedConfig(t)
	c.MaxEpochs = 4
	run := func(c Config, path string) []artifact.Tensor {
		trained, err := Train(t.Context(), testllm.Engine(t), c, split, Options{Events: events, CheckpointPath: path})
		if err != nil {
			t.Fatal(err)
		}
		defer trained.Close()
		return values(t, trained.Best)
	}
	half, path := c, filepath.Join(t.TempDir(), "checkpoint.safetensors")
	half.MaxEpochs = 2
	run(half, path)
	if !same(run(c, path), run(c, "")) {
		t.Error("a resumed training gave other weights")
	}
}

// A state reads the times that it is given, whatever their zero, and nothing else than they.
func TestTimesOfHistories(t *testing.T) {
	split, events := timedRule()
	r, err := New(testllm.Engine(t), timedConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	encode := func(events []dataset.Event) (last, all []float32) {
		source := Of(r, &dataset.Dataset{Events: events})
		histories := pasts(source, split.Test[:20])
		last, all = make([]float32, 20*r.StateWidth()), make([]float32, 20*r.Positions()*r.StateWidth())
		if err := errors.Join(source.States(t.Context(), last, histories), source.AllStates(t.Context(), all, histories)); err != nil {
			t.Fatal(err)
		}
		return last, all
	}
	later, faster := slices.Clone(events), slices.Clone(events)
	for i := range events {
		later[i].Time += 5000
		faster[i].Time *= 50
	}
	last, all := encode(events)
	if l, a := encode(later); !slices.Equal(l, last) || !slices.Equal(a, all) {
		t.Error("states depend on the zero of times")
	}
	if l, a := encode(faster); slices.Equal(l, last) || slices.Equal(a, all) {
		t.Error("states do not depend on times")
	}
	source := Of(r, &dataset.Dataset{Events: events})
	s := split.Test[0]
	if past := source.Past(s, true); len(past) != 3 || events[-1-past[2]].Item != s.Next || events[-1-past[0]].Item != s.History[0] {
		t.Errorf("the history of %v is %v", s, past)
	}
	vectors := make([]float32, r.ItemWidth())
	if err := source.Items(t.Context(), vectors, pasts(source, split.Test[:1])); err != nil {
		t.Fatal(err)
	}
	table, err := r.ItemEmbeddings()
	if err != nil || !slices.Equal(vectors, table[int(s.History[1])*r.ItemWidth():][:r.ItemWidth()]) {
		t.Errorf("the vector of the last item: %v, %v", vectors, err)
	}
}

func TestTimesAreMissing(t *testing.T) {
	split, events := timedRule()
	c := timedConfig(t)
	if _, err := Train(t.Context(), testllm.Engine(t), c, split, Options{}); err == nil || !strings.Contains(err.Error(), "leave times out") {
		t.Errorf("trained without times: %v", err)
	}
	r, err := New(testllm.Engine(t), c)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	state, scores := make([]float32, r.StateWidth()), make([]float32, c.Items)
	histories := [][]int32{{3, 5}}
	for what, source := range map[string]Live{"of items": r, "of events": of(r, events)} {
		for how, err := range map[string]error{
			"states": source.States(t.Context(), state, histories), "scores": source.Scores(t.Context(), scores, histories),
		} {
			if !errors.Is(err, ErrNoTimes) {
				t.Errorf("%s, %s: %v", what, how, err)
			}
		}
	}
	if err := r.Encoder().State(state, []int32{3, 5}); err == nil || !strings.Contains(err.Error(), "times") {
		t.Errorf("a service's encoder: %v", err)
	}
	plain, err := New(testllm.Engine(t), smallOf(t, models.HSTU))
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if got := of(plain, events); got != Live(plain) {
		t.Errorf("%T for a recommender that reads no times", got)
	}
}
