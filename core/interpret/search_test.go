package interpret

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/grammar"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

var titles = []string{"It", "Item", "Heat", "Heater", "A", "AB", "ABC", "Zulu", "Kolya", "Se7en"}

func titleGrammar(t *testing.T, lines int) *grammar.Grammar {
	t.Helper()
	g, err := grammar.Titles(testllm.GGUF(t), titles, lines)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// titleLogProbs gives the log-probabilities of each title's tokens from the training graph in
// float32: nothing of the search is in it.
func titleLogProbs(t *testing.T, states prompt.States) map[string][]float64 {
	t.Helper()
	engine, gguf := testllm.Engine(t), testllm.GGUF(t)
	adapter, p := tinyAdapter(t, gguf)
	model, err := adapter.Model(engine)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	llama, err := cgo.NewLLM(engine, gguf, cgo.F32)
	if err != nil {
		t.Fatal(err)
	}
	defer llama.Close()
	prefix, err := llama.NewPrefix(p.Prefix())
	if err != nil {
		t.Fatal(err)
	}
	defer prefix.Close()
	logProbsOf := map[string][]float64{}
	for _, title := range titles {
		tokens, err := prompt.Tokens(gguf, title)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := p.Batch([]prompt.Sample{{States: states, Answer: tokens}}, 1)
		if err != nil {
			t.Fatal(err)
		}
		logProbs := make([]float32, len(tokens))
		if err := llama.LogProbs(logProbs, prefix, model, cgo.AlignBatch(batch)); err != nil {
			t.Fatal(err)
		}
		for _, x := range logProbs {
			logProbsOf[title] = append(logProbsOf[title], float64(x))
		}
	}
	return logProbsOf
}

// likeliest gives the titles by their probabilities.
func likeliest(t *testing.T, states prompt.States) (answers []prompt.Answer) {
	t.Helper()
	for title, logProbs := range titleLogProbs(t, states) {
		a := prompt.Answer{Text: title, LogProbs: logProbs}
		for _, x := range logProbs {
			a.LogProb += x
		}
		answers = append(answers, a)
	}
	slices.SortFunc(answers, func(a, b prompt.Answer) int { return cmp.Compare(b.LogProb, a.LogProb) })
	return answers
}

// A beam as wide as the catalogue misses nothing: it gives all titles in the order of their
// probabilities.
func TestRank_findsTheLikeliest(t *testing.T) {
	states := randomStates(4)
	g := titleGrammar(t, 1)
	ranked, err := tinyInterpreter(t, Options{Slots: 20, MaxTokens: 12, MaxStates: 2}).Rank(t.Context(), states, g, len(titles))
	if err != nil {
		t.Fatal(err)
	}
	for n := range states {
		want := likeliest(t, states[n])
		if len(ranked[n]) != len(want) {
			t.Fatalf("sample %d: %d titles", n, len(ranked[n]))
		}
		for i, a := range ranked[n] {
			if a.Text != want[i].Text || math.Abs(a.LogProb-want[i].LogProb) > 0.02 || !a.Ended {
				t.Errorf("sample %d, place %d: %+v, want %+v", n, i, a, want[i])
			}
			for at, x := range want[i].LogProbs {
				if len(a.LogProbs) != len(want[i].LogProbs) || math.Abs(a.LogProbs[at]-x) > 0.02 {
					t.Fatalf("sample %d, %q: log-probabilities %g, want %g", n, a.Text, a.LogProbs, want[i].LogProbs)
				}
			}
		}
	}
}

func TestRank_doesNotDependOnTheSlots(t *testing.T) {
	states := randomStates(20)
	for _, lines := range []int{1, 3} {
		for _, width := range []int{1, 3} {
			var want [][]prompt.Answer
			for _, slots := range []int{width, 2 * width, 8, 64} {
				i := tinyInterpreter(t, Options{Slots: slots, MaxTokens: 40, MaxStates: 2})
				ranked, err := i.Rank(t.Context(), states, titleGrammar(t, lines), width)
				if err != nil {
					t.Fatal(err)
				}
				if want == nil {
					want = ranked
				}
				for n, answers := range ranked {
					for at, a := range answers {
						for _, line := range strings.Split(a.Text, "\n") {
							if !slices.Contains(titles, line) {
								t.Fatalf("%q is no title", line)
							}
						}
						if a.Text != want[n][at].Text || math.Abs(a.LogProb-want[n][at].LogProb) > testllm.Bound(1e-2, 0.05) || !a.Ended {
							t.Fatalf("%d slots, sample %d, place %d: %+v, want %+v", slots, n, at, a, want[n][at])
						}
					}
				}
			}
		}
	}
}

// A list that is cut ends with a whole title; a title by itself that is cut is nothing.
func TestRank_cut(t *testing.T) {
	for _, most := range []int{1, 6, 9} {
		i := tinyInterpreter(t, Options{Slots: 4, MaxTokens: most, MaxStates: 2})
		ranked, err := i.Rank(t.Context(), randomStates(12), titleGrammar(t, 8), 2)
		if err != nil {
			t.Fatal(err)
		}
		cut := 0
		for n, answers := range ranked {
			for _, a := range answers {
				if !a.Ended {
					cut++
				}
				checkTokens(t, a)
				for _, line := range strings.Split(a.Text, "\n") {
					if a.Text != "" && !slices.Contains(titles, line) || len(a.Tokens) > most {
						t.Errorf("at most %d tokens, sample %d: %+v", most, n, a)
					}
				}
			}
		}
		if cut == 0 {
			t.Errorf("at most %d tokens: nothing was cut", most)
		}
	}
}

// A narrow beam against one written out over the log-probabilities of the training graph: the same
// titles, in the same order.
func TestRank_narrow(t *testing.T) {
	states := randomStates(4)
	const width = 2
	ranked, err := tinyInterpreter(t, Options{Slots: 6, MaxTokens: 12, MaxStates: 2}).Rank(t.Context(), states, titleGrammar(t, 1), width)
	if err != nil {
		t.Fatal(err)
	}
	for n := range states {
		want := beamByHand(t, states[n], width)
		for place, a := range ranked[n] {
			if place >= len(want) || a.Text != want[place] {
				t.Errorf("sample %d: %+v, want %q", n, ranked[n], want)
				break
			}
		}
		if len(ranked[n]) != len(want) {
			t.Errorf("sample %d: %d answers, want %d", n, len(ranked[n]), len(want))
		}
	}
}

// beamByHand pursues the beginnings of titles as strings: the tiny LLM's tokens are bytes. The
// probability of a beginning is in that of any title that starts with it.
func beamByHand(t *testing.T, states prompt.States, width int) (best []string) {
	t.Helper()
	prefixes := map[string]float64{} // log p of each beginning; a title with its end has a line break behind it
	for title, logProbs := range titleLogProbs(t, states) {
		sum := 0.0
		for i, x := range logProbs {
			sum += x
			prefixes[(title + "\n")[:i+1]] = sum
		}
	}
	live, done := []string{""}, []string(nil)
	order := func(a, b string) int { return cmp.Compare(prefixes[b], prefixes[a]) }
	for len(live) > 0 && (len(done) < width || prefixes[live[0]] > prefixes[done[width-1]]) {
		var next []string
		for _, start := range live {
			for p := range prefixes {
				if len(p) == len(start)+1 && strings.HasPrefix(p, start) {
					next = append(next, p)
				}
			}
		}
		slices.SortFunc(next, order)
		live = nil
		for _, p := range next[:min(width, len(next))] {
			if strings.HasSuffix(p, "\n") {
				done = append(done, p)
			} else {
				live = append(live, p)
			}
		}
		slices.SortFunc(done, order)
		done = done[:min(width, len(done))]
	}
	for _, p := range done {
		best = append(best, strings.TrimSuffix(p, "\n"))
	}
	return best
}

func TestRank_refusals(t *testing.T) {
	i := tinyInterpreter(t, Options{Slots: 2, MaxTokens: 2, MaxStates: 2})
	for name, c := range map[string]struct {
		width int
		want  string
	}{
		"no width":  {0, "0 answers at a time"},
		"few slots": {3, "the 2 slots"},
	} {
		if _, err := i.Rank(t.Context(), randomStates(1), titleGrammar(t, 1), c.width); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}
