package interpret

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Questions that join a session while others are under way, of which some leave, are answered as
// they are alone; what Said is told is the text.
func TestSession(t *testing.T) {
	states := randomStates(12)
	i := tinyInterpreter(t, Options{Slots: 8, MaxTokens: 12, MaxStates: 2})
	g := titleGrammar(t, 1)
	free := answer(t, i, states)
	ranked, err := i.Rank(t.Context(), states, g, 3)
	if err != nil {
		t.Fatal(err)
	}

	s, err := i.Session()
	if err != nil {
		t.Fatal(err)
	}
	questions, said, logProbs := make([]*Question, len(states)), make([]string, len(states)), make([][]float64, len(states))
	for n := range states {
		questions[n] = &Question{States: states[n], Width: 1, Said: func(piece string, logProb float64) {
			said[n] += piece
			logProbs[n] = append(logProbs[n], logProb)
		}}
		if n%2 == 1 {
			questions[n].Grammar, questions[n].Width = g, 3
		}
	}
	left := &Question{States: states[0], Width: 1}
	if err := s.Ask([]*Question{left}); err != nil {
		t.Fatal(err)
	}
	for waiting := questions; len(waiting) > 0 || s.Live() > 0; {
		if len(waiting) > 0 && s.Room(waiting[0].Width) > 0 {
			if err := s.Ask(waiting[:1]); err != nil {
				t.Fatal(err)
			}
			waiting = waiting[1:]
		}
		if len(waiting) == len(states)-3 {
			if err := s.Drop(left); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Step(); err != nil {
			t.Fatal(err)
		}
	}
	if left.Answers != nil || s.Room(1) != 8 {
		t.Errorf("%d slots are free at the end; the one that left has answers %+v", s.Room(1), left.Answers)
	}
	for n, q := range questions {
		want := free[n : n+1]
		if q.Grammar != nil {
			want = ranked[n]
		}
		if len(q.Answers) != len(want) {
			t.Fatalf("question %d has %d answers", n, len(q.Answers))
		}
		for k, a := range q.Answers {
			if !slices.Equal(a.Tokens, want[k].Tokens) || a.Text != want[k].Text || math.Abs(a.LogProb-want[k].LogProb) > testllm.Bound(1e-3, 0.05) {
				t.Errorf("question %d: %+v, alone %+v", n, a, want[k])
			}
		}
		if q.Grammar != nil {
			if said[n] != "" {
				t.Errorf("question %d: said %q of beginnings", n, said[n])
			}
			continue
		}
		a := q.Answers[0]
		text := strings.Join(a.Pieces, "")
		if a.Ended { // a character that has only begun is not said
			text = text[:whole(text)]
		}
		if said[n] != text || !slices.Equal(logProbs[n], a.LogProbs[:len(a.Tokens)]) {
			t.Errorf("question %d: said %q %g of %+v", n, said[n], logProbs[n], a)
		}
	}
}

// States whose soft tokens the LLM cannot compute with are left out, and nobody beside them
// notices.
func TestAsk_hugeStates(t *testing.T) {
	states := randomStates(2)
	i := tinyInterpreter(t, Options{Slots: 4, MaxTokens: 4, MaxStates: 2})
	want := answer(t, i, states)
	s, err := i.Session()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []float32{3e38, 1e25} {
		huge := prompt.States{Counts: states[0].Counts, Values: slices.Repeat([]float32{size}, len(states[0].Values))}
		questions := []*Question{{States: states[0], Width: 1}, {States: huge, Width: 2}, {States: states[1], Width: 1}}
		if err := s.Ask(questions); err != nil {
			t.Fatalf("%g: %v", size, err)
		}
		for s.Live() > 0 {
			if err := s.Step(); err != nil {
				t.Fatalf("%g: %v", size, err)
			}
		}
		if questions[1].Err == nil || questions[1].Answers != nil || s.Room(1) != 4 {
			t.Errorf("%g: %+v; %d slots are free at the end", size, questions[1], s.Room(1))
		}
		for n, q := range []*Question{questions[0], questions[2]} {
			if q.Err != nil || !slices.Equal(q.Answers[0].Tokens, want[n].Tokens) {
				t.Errorf("%g beside question %d: %+v, alone %+v", size, n, q, want[n])
			}
		}
		if err := s.Ask(questions[1:2]); err != nil || s.Live() != 0 {
			t.Errorf("%g by itself: %v, %d are under way", size, err, s.Live())
		}
		if _, err := i.Answer(t.Context(), []prompt.States{states[0], huge}); err == nil || !strings.Contains(err.Error(), "sample 1:") {
			t.Errorf("%g among samples: %v", size, err)
		}
		if s, err = i.Session(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhole(t *testing.T) {
	for text, want := range map[string]int{"": 0, "a": 1, "é": 2, "aé"[:2]: 1, "∑"[:2]: 0, "a∑b": 5, "\xff": 1, "a\x80\x80\x80": 4} {
		if got := whole(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	i := tinyInterpreter(t, Options{Slots: 2, MaxTokens: 4})
	err := i.Check(prompt.States{Counts: []int{1, 2}, Values: make([]float32, 9)})
	if err == nil || !strings.Contains(err.Error(), "2 states") {
		t.Errorf("two states in a slot: %v", err)
	}
}
