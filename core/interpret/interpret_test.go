package interpret

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// tinyInterpreter is an untrained adapter in front of a tiny random LLM, with a prompt of two
// states.
func tinyInterpreter(t *testing.T, opts Options) *Interpreter {
	t.Helper()
	engine, gguf := testllm.Engine(t), testllm.GGUF(t)
	adapter, p := tinyAdapter(t, gguf)
	i, err := New(engine, gguf, adapter, p, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(i.Close(), i.Close()); err != nil {
			t.Error(err)
		}
	})
	return i
}

func tinyAdapter(t *testing.T, gguf *cgo.GGUF) (*align.Adapter, *prompt.Prompt) {
	t.Helper()
	info, err := gguf.Describe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := prompt.FromSegments([][]int32{{3, 4}, {5}, {6, 7}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	shape := align.Shape{Kind: "linear", In: 3, Tokens: 2, Embd: int(info.Embd)}
	adapter, err := align.NewAdapter(shape, 4*float64(info.EmbdRMS), 1)
	if err != nil {
		t.Fatal(err)
	}
	return adapter, p
}

// randomStates are those of n samples, of which every third has a state more in its second slot.
func randomStates(n int) []prompt.States {
	random := rand.New(rand.NewPCG(5, 5))
	samples := make([]prompt.States, n)
	for i := range samples {
		samples[i].Counts = []int{1, 1 + (i%3)/2}
		for range 3 * samples[i].N() {
			samples[i].Values = append(samples[i].Values, float32(random.NormFloat64()))
		}
	}
	return samples
}

func answer(t *testing.T, i *Interpreter, states []prompt.States) []prompt.Answer {
	t.Helper()
	answers, err := i.Answer(context.Background(), states)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

func TestAnswer_doesNotDependOnTheSlots(t *testing.T) {
	states := randomStates(20)
	want := answer(t, tinyInterpreter(t, Options{Slots: 1, MaxTokens: 12, MaxStates: 2}), states)
	different := false
	for _, a := range want {
		different = different || a.Text != want[0].Text
		if len(a.Tokens) > 12 || (!a.Ended && len(a.Tokens) != 12) {
			t.Errorf("%+v", a)
		}
		if !(a.LogProb < 0) {
			t.Errorf("log-probability %g", a.LogProb)
		}
		checkTokens(t, a)
		sum := 0.0
		for _, x := range a.LogProbs {
			sum += x
		}
		if math.Abs(sum-a.LogProb) > 1e-9 {
			t.Errorf("%g in all, its tokens sum up to %g", a.LogProb, sum)
		}
	}
	if !different {
		t.Fatal("all answers are the same: the states do not reach the LLM")
	}
	for _, slots := range []int{2, 7, 32} {
		for n, a := range answer(t, tinyInterpreter(t, Options{Slots: slots, MaxTokens: 12, MaxStates: 2}), states) {
			if !slices.Equal(a.Tokens, want[n].Tokens) || a.Text != want[n].Text || a.Ended != want[n].Ended ||
				math.Abs(a.LogProb-want[n].LogProb) > testllm.Bound(1e-3, 0.05) {
				t.Errorf("%d slots, sample %d: %+v, alone %+v", slots, n, a, want[n])
			}
		}
	}
}

// checkTokens wants a log-probability for each token and for the end, and pieces that are the text.
func checkTokens(t *testing.T, a prompt.Answer) {
	t.Helper()
	want := len(a.Tokens)
	if a.Ended {
		want++
	}
	if len(a.LogProbs) != want || len(a.Pieces) != len(a.Tokens) || strings.TrimSpace(strings.Join(a.Pieces, "")) != a.Text {
		t.Errorf("%d tokens, log-probabilities %g, pieces %q of %q", len(a.Tokens), a.LogProbs, a.Pieces, a.Text)
	}
}

// The tiny LLM's tokens are bytes: of a character that several share, the last has it all.
func TestWrite_charactersOfSeveralTokens(t *testing.T) {
	i := tinyInterpreter(t, Options{Slots: 1, MaxTokens: 4, MaxStates: 2})
	tokens, err := i.gguf.Tokenize("é a∑", false)
	if err != nil {
		t.Fatal(err)
	}
	a := prompt.Answer{Tokens: tokens}
	if err := i.write(&a); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "é", " ", "a", "", "", "∑"}; !slices.Equal(a.Pieces, want) || a.Text != "é a∑" {
		t.Errorf("pieces %q of %q, want %q", a.Pieces, a.Text, want)
	}
}

// What a call is answered does not depend on the calls before it, to the last bit: an evaluation
// that is resumed ends as one that never stopped.
func TestAnswer_doesNotDependOnEarlierCalls(t *testing.T) {
	states := randomStates(40)
	g := titleGrammar(t, 3)
	opts := Options{Slots: 12, MaxTokens: 24, MaxStates: 2}
	used, fresh := tinyInterpreter(t, opts), tinyInterpreter(t, opts)
	for range 3 {
		answer(t, used, states)
		if _, err := used.Rank(t.Context(), states[:17], g, 5); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := answer(t, used, states[3:]), answer(t, fresh, states[3:]); !reflect.DeepEqual(got, want) {
		t.Errorf("free answers after others are\n%+v\nwithout others\n%+v", got, want)
	}
	got, err := used.Rank(t.Context(), states[1:], g, 3)
	if err != nil {
		t.Fatal(err)
	}
	want, err := tinyInterpreter(t, opts).Rank(t.Context(), states[1:], g, 3)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("titles after others are\n%+v\nwithout others\n%+v", got, want)
	}
}

func TestAnswer_none(t *testing.T) {
	if got := answer(t, tinyInterpreter(t, Options{Slots: 2, MaxTokens: 4, MaxStates: 2}), nil); len(got) != 0 {
		t.Errorf("%d answers to no samples", len(got))
	}
}

func TestAnswer_refusals(t *testing.T) {
	i := tinyInterpreter(t, Options{Slots: 2, MaxTokens: 4, MaxStates: 2})
	for name, x := range map[string]float64{"NaN": math.NaN(), "infinity": math.Inf(-1)} {
		states := randomStates(3)
		states[1].Values[2] = float32(x)
		if _, err := i.Answer(context.Background(), states); err == nil || !strings.Contains(err.Error(), "sample 1: prompt: value 2") {
			t.Errorf("%s: error %v should name sample 1, value 2", name, err)
		}
	}
	half, many := randomStates(1), randomStates(1)
	half[0].Values = half[0].Values[:5]
	many[0] = prompt.States{Counts: []int{1, 3}, Values: make([]float32, 12)}
	for name, samples := range map[string][]prompt.States{"half a sample": half, "too many states": many} {
		if _, err := i.Answer(context.Background(), samples); err == nil || !strings.Contains(err.Error(), "sample 0") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := i.Answer(ctx, randomStates(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if got := answer(t, i, randomStates(2)); len(got) != 2 {
		t.Error("no answers after a cancelled call")
	}
}

func TestNew_refusals(t *testing.T) {
	engine, gguf := testllm.Engine(t), testllm.GGUF(t)
	adapter, p := tinyAdapter(t, gguf)
	wide, long := *adapter, *adapter
	wide.Embd = 7
	long.Tokens = 3
	for name, c := range map[string]struct {
		adapter *align.Adapter
		opts    Options
		want    string
	}{
		"other width":    {&wide, Options{}, "7 wide"},
		"other tokens":   {&long, Options{}, "3 soft tokens"},
		"too many slots": {adapter, Options{Slots: 1021}, "1020"},
		"no tokens":      {adapter, Options{MaxTokens: -1}, "at least 1"},
		"long answers":   {adapter, Options{MaxTokens: 1 << 20}, "context"},
	} {
		if _, err := New(engine, gguf, c.adapter, p, c.opts); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
