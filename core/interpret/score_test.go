package interpret

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// scored are titles that the tiny LLM scores, so many nodes at once.
func scored(t *testing.T, titles []string, precision cgo.Precision, nodes int) *Titles {
	t.Helper()
	s, err := tinyInterpreter(t, Options{Slots: 20, MaxTokens: 12, MaxStates: 2}).NewScorer(precision)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	answers, err := prompt.AllTokens(testllm.GGUF(t), titles)
	if err != nil {
		t.Fatal(err)
	}
	return &Titles{s, plant(answers, nodes), len(titles)}
}

// The reference feeds each title by itself to the training graph in float32. In float32 only the
// order of sums differs; bfloat16 has 8 significant bits in each product. Measured: 3e-6 and 0.053
// nats.
func TestScores_likeEachTitleByItself(t *testing.T) {
	states := randomStates(5)
	twice := append(slices.Clone(titles), "Heat")
	for precision, tolerance := range map[cgo.Precision]float64{cgo.F32: testllm.Bound(2e-5, 0.05), cgo.BF16: 0.1} {
		for _, nodes := range []int{1, 5, nodesAtOnce} {
			scores, err := scored(t, twice, precision, nodes).Scores(t.Context(), states, nil)
			if err != nil {
				t.Fatal(err)
			}
			for n := range states {
				want := titleLogProbs(t, states[n])
				for i, title := range twice {
					sum := 0.0
					for _, x := range want[title] {
						sum += x
					}
					if !(math.Abs(scores[n][i]-sum) <= tolerance) {
						t.Errorf("%v, %d nodes at once, sample %d, %q: %g, by itself %g", precision, nodes, n, title, scores[n][i], sum)
					}
				}
				if scores[n][len(titles)] != scores[n][slices.Index(titles, "Heat")] {
					t.Errorf("the same title has %g and %g", scores[n][len(titles)], scores[n][slices.Index(titles, "Heat")])
				}
			}
		}
	}
}

// A beam as wide as the catalogue goes another way, through llama.cpp's generation, to the same
// order.
func TestScores_orderOfRank(t *testing.T) {
	states := randomStates(4)
	s := scored(t, titles, cgo.F32, nodesAtOnce)
	ranked, err := s.of.of.Rank(t.Context(), states, titleGrammar(t, 1), len(titles))
	if err != nil {
		t.Fatal(err)
	}
	scores, err := s.Scores(t.Context(), states, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range states {
		order := slices.Clone(titles)
		score := func(title string) float64 { return scores[n][slices.Index(titles, title)] }
		slices.SortFunc(order, func(a, b string) int { return cmp.Compare(score(b), score(a)) })
		for place, a := range ranked[n][:5] {
			if order[place] != a.Text || math.Abs(score(a.Text)-a.LogProb) > 0.02 {
				t.Errorf("sample %d, place %d: %q with %g, ranked %q with %g", n, place, order[place], score(order[place]), a.Text, a.LogProb)
			}
		}
	}
}

// Every beginning of a title is a node once, and every title ends somewhere.
func TestPlant(t *testing.T) {
	answers, err := prompt.AllTokens(testllm.GGUF(t), titles)
	if err != nil {
		t.Fatal(err)
	}
	beginnings := map[string]bool{}
	for _, title := range titles {
		for n := range title { // the tiny LLM's tokens are bytes
			beginnings[title[:n+1]] = true
		}
	}
	one := plant(answers, nodesAtOnce)
	if len(one) != 1 || len(one[0].tokens) != len(beginnings) || len(one[0].edges) != len(beginnings)+len(titles) {
		t.Errorf("%d trees, the first of %d nodes and %d edges; %d beginnings of %d titles", len(one), len(one[0].tokens), len(one[0].edges),
			len(beginnings), len(titles))
	}
	for most := range 12 {
		ends := map[int32]int{}
		for _, tree := range plant(answers, most) {
			for _, e := range tree.edges {
				if e.to < 0 {
					ends[-1-e.to]++
				}
			}
			if len(tree.tokens) > max(most, len("Heater")) {
				t.Errorf("a tree of %d nodes, at most %d", len(tree.tokens), most)
			}
		}
		for title := range titles {
			if ends[int32(title)] != 1 {
				t.Errorf("at most %d nodes: %q ends %d times", most, titles[title], ends[int32(title)])
			}
		}
	}
}

func TestScores_refusals(t *testing.T) {
	s := scored(t, titles, cgo.F32, nodesAtOnce)
	states := randomStates(2)
	states[1].Values[0] = float32(math.NaN())
	if _, err := s.Scores(t.Context(), states, nil); err == nil {
		t.Error("a state that is not a number is scored")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scores(ctx, randomStates(2), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
	if got, err := s.Scores(t.Context(), nil, nil); err != nil || len(got) != 0 {
		t.Errorf("no samples: %v, error %v", got, err)
	}
}

// The cost of scores is told once, and counts the tokens of all calls.
func TestScores_cost(t *testing.T) {
	s := scored(t, titles, cgo.F32, 5)
	tokens, told := 0, 0
	for _, tree := range s.trees {
		tokens += len(tree.edges)
	}
	if _, err := s.Scores(t.Context(), randomStates(2), func(c Cost) {
		told++
		if c.Titles != len(titles) || c.Tokens != tokens || c.Time <= 0 || c.Time%time.Duration(len(s.trees)) != 0 {
			t.Errorf("%+v; %d calls of %d tokens", c, len(s.trees), tokens)
		}
	}); err != nil || told != 1 {
		t.Errorf("told %d times, error %v", told, err)
	}
}
