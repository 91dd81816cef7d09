package service

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/recommender/models"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// openRun opens a run directly, for comparison with services.
func openRun(t *testing.T, dir string) *run.Run {
	t.Helper()
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := run.Open(engine, dir, interpret.Options{Slots: 8, MaxTokens: 24})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); engine.Close() })
	return r
}

// histories are n of 2 to 6 items.
func histories(n int) [][]int32 {
	all := make([][]int32, n)
	for i := range all {
		for k := range 2 + i%5 {
			all[i] = append(all[i], int32((3*i+7*k)%30))
		}
	}
	return all
}

func TestStateAndRecommend(t *testing.T) {
	s, r := open(t, residual, Options{}), openRun(t, residual)
	info := s.Info()
	if info.Asks != "last item" || info.Recommender != models.SASRec || info.Items != 30 || info.StateWidth != 16 ||
		info.Shortest != 2 || info.Oracles || info.MaxTokens != 24 || info.Hash != r.Hash() {
		t.Errorf("%+v", info)
	}
	for _, history := range histories(7) {
		want, state := make([]float32, 16), make([]float32, 16)
		if err := r.Recommender.States(t.Context(), want, [][]int32{history}); err != nil {
			t.Fatal(err)
		}
		if err := s.State(state, history); err != nil || !slices.Equal(state, want) {
			t.Errorf("state %v, want %v; %v", state, want, err)
		}
		ranked, err := recommender.Recommend(t.Context(), r.Recommender, [][]int32{history}, 4)
		if err != nil {
			t.Fatal(err)
		}
		if best, err := s.Recommend(t.Context(), nil, history, 4); err != nil || !slices.Equal(best, ranked[0]) {
			t.Errorf("%v, want %v; %v", best, ranked[0], err)
		}
		best, err := s.RecommendState(state, history, 4)
		if err != nil || len(best) != 4 {
			t.Fatalf("%v, %v", best, err)
		}
		for i := range best {
			if best[i].Item != ranked[0][i].Item || math.Abs(float64(best[i].Score-ranked[0][i].Score)) > 1e-4 {
				t.Errorf("from the state %v, want %v", best, ranked[0])
			}
		}
	}
	ctx, state, dst, history := t.Context(), make([]float32, 16), make([]recommender.Scored, 0, 5), []int32{1, 2, 3}
	if n := testing.AllocsPerRun(100, func() {
		_, err := s.Recommend(ctx, dst, history, 5)
		if err := errors.Join(err, s.State(state, history)); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// Many callers get what each would get alone, and share passes of prompts through the LLM.
func TestInterpret_acrossCallers(t *testing.T) {
	for name, dir := range map[string]string{"residual": residual, "recovery": recovery} {
		s, r := open(t, dir, Options{Slots: 8, Queue: 100}), openRun(t, dir)
		asked := histories(24)
		want, err := r.Interpret(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		g, err := r.Grammar()
		if err != nil {
			t.Fatal(err)
		}
		states, err := r.States(t.Context(), r.Recommender, asked)
		if err != nil {
			t.Fatal(err)
		}
		ranked, err := r.Interpreter.Rank(t.Context(), states, g, 3)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i, history := range asked {
			all.Go(func() {
				var said strings.Builder
				var logProbs []float64
				a, err := s.Interpret(t.Context(), Question{History: history}, func(token Token) {
					said.WriteString(token.Text)
					logProbs = append(logProbs, token.LogProb)
				})
				if err != nil {
					t.Error(err)
					return
				}
				same(t, a, want[i])
				if !strings.HasPrefix(strings.Join(a.Pieces, ""), said.String()) || !slices.Equal(logProbs, a.LogProbs[:len(a.Tokens)]) {
					t.Errorf("%s: said %q %g of %+v", name, said.String(), logProbs, a)
				}
			})
			all.Go(func() {
				answers, err := s.Rank(t.Context(), Question{History: history}, 3)
				if err != nil || len(answers) != len(ranked[i]) {
					t.Errorf("%d answers: %v", len(answers), err)
					return
				}
				same(t, answers[0], ranked[i][0])
			})
			all.Go(func() {
				q := Question{States: split(states[i], s.Info().StateWidth)}
				if a, err := s.Interpret(t.Context(), q, nil); err != nil {
					t.Error(err)
				} else {
					same(t, a, want[i])
				}
			})
		}
		all.Wait()
		stats := s.Stats()
		if stats.Answered != 72 || stats.Asked != 72 || stats.Batches >= 72 || stats.Waiting != 0 || stats.Live != 0 || stats.Tokens == 0 {
			t.Errorf("%s: %+v", name, stats)
		}
	}
}

func split(states prompt.States, width int) [][]float32 {
	return slices.Collect(slices.Chunk(states.Values, width))
}

func same(t *testing.T, got, want prompt.Answer) {
	t.Helper()
	if !slices.Equal(got.Tokens, want.Tokens) || got.Text != want.Text || math.Abs(got.LogProb-want.LogProb) > 1e-3 {
		t.Errorf("%+v, alone %+v", got, want)
	}
}

func TestOracle(t *testing.T) {
	s, r := open(t, dreams, Options{}), openRun(t, dreams)
	history := []int32{1, 8, 15}
	want, err := r.Oracles(t.Context(), [][]int32{history}, 7)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Oracle(t.Context(), history, 7)
	if err != nil || got.Words != want[0].Words || got.Titles[0].Title != want[0].Titles[0].Title ||
		!slices.Equal(got.Nearest, want[0].Nearest) {
		t.Errorf("%+v, want %+v; %v", got, want[0], err)
	}
	if near, err := s.RecommendState(got.Vector, nil, 1); err != nil || s.Describe(near[0].Item).Title != got.Nearest[0].Title {
		t.Errorf("the vector's nearest item is %v, not %s; %v", near, got.Nearest[0].Title, err)
	}
	if !s.Info().Oracles {
		t.Errorf("%+v", s.Info())
	}
	best, err := s.Recommend(t.Context(), nil, history, 3)
	ranked, err2 := recommender.Recommend(t.Context(), r.Recommender, [][]int32{history}, 3)
	if err := errors.Join(err, err2); err != nil || !slices.Equal(best, ranked[0]) {
		t.Errorf("%v, want %v; %v", best, ranked, err)
	}
	// An item's embedding after the history is the item.
	embeddings, err := r.Recommender.ItemEmbeddings()
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Interpret(t.Context(), Question{History: history, Vector: embeddings[22*16 : 23*16]}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Interpret(t.Context(), Question{History: []int32{1, 8, 15, 22}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, a, b)
}

// Of a run that asks for an item by its vector, the vector's length does not matter, however it is
// given.
func TestInterpret_itemVector(t *testing.T) {
	s, r := open(t, item, Options{}), openRun(t, item)
	embeddings, err := r.Recommender.ItemEmbeddings()
	if err != nil {
		t.Fatal(err)
	}
	vector := embeddings[22*16 : 23*16]
	want, err := r.Interpret(t.Context(), [][]int32{{22}})
	if err != nil {
		t.Fatal(err)
	}
	twice := slices.Clone(vector)
	for i := range twice {
		twice[i] *= 2
	}
	for _, q := range []Question{{Vector: vector}, {Vector: twice, History: []int32{4}}, {States: [][]float32{vector}},
		{States: [][]float32{twice}}} {
		a, err := s.Interpret(t.Context(), q, nil)
		if err != nil {
			t.Fatal(err)
		}
		same(t, a, want[0])
	}
	if twice[0] != 2*vector[0] {
		t.Error("the caller's states have changed")
	}
}

func TestRefusals(t *testing.T) {
	s, ctx := open(t, residual, Options{}), t.Context()
	other := open(t, recovery, Options{})
	nan, inf, huge := make([]float32, 16), make([]float32, 16), make([]float32, 16)
	nan[3], inf[4] = float32(math.NaN()), float32(math.Inf(1))
	vector := make([]float32, 16)
	for i := range huge {
		huge[i] = 3e38
	}
	ask := func(s *Service, q Question) error {
		_, err := s.Interpret(ctx, q, nil)
		return err
	}
	recommend := func(history []int32, k int) error {
		_, err := s.Recommend(ctx, nil, history, k)
		return err
	}
	for want, err := range map[string]error{
		"0 items":                   s.State(vector, nil),
		"room for 3":                s.State(make([]float32, 3), []int32{1}),
		"no item 30":                recommend([]int32{30}, 5),
		"no item -1":                recommend([]int32{-1}, 5),
		"0 items are asked for":     recommend([]int32{1}, 0),
		"31 items are asked for":    recommend([]int32{1}, 31),
		"at least two are":          ask(s, Question{History: []int32{1}}),
		"state 1 is not finite":     ask(s, Question{States: [][]float32{vector, nan}}),
		"state 0 is not finite":     ask(s, Question{States: [][]float32{inf, vector}}),
		"1 states are given":        ask(s, Question{States: [][]float32{vector}}),
		"has 2 numbers":             ask(s, Question{States: [][]float32{vector, {1, 2}}}),
		"give one of them":          ask(s, Question{States: [][]float32{vector}, History: []int32{1, 2}}),
		"the vector is not finite":  ask(s, Question{History: []int32{1, 2}, Vector: nan}),
		"this one asks for the his": ask(other, Question{History: []int32{1, 2}, Vector: vector}),
		"1 to 10":                   ask(other, Question{States: [][]float32{}}),
		"drawn by a diffusion recommender": func() error {
			_, err := s.Oracle(ctx, []int32{1, 2}, 1)
			return err
		}(),
		"ask for 1 to 32": func() error {
			_, err := s.Rank(ctx, Question{History: []int32{1, 2}}, 33)
			return err
		}(),
		"not finite at number 3": func() error {
			_, err := s.RecommendState(nan, nil, 1)
			return err
		}(),
		"scores of the state are not finite": func() error {
			_, err := s.RecommendState(huge, nil, 1)
			return err
		}(),
		"state after the vector is not": ask(s, Question{History: []int32{1, 2}, Vector: huge}),
		"LLM cannot compute with":       ask(s, Question{States: [][]float32{vector, huge}}),
	} {
		var refused *InvalidError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want an InvalidError with %q", err, want)
		}
	}
	if _, err := Open(residual, Options{Slots: 3}); err == nil {
		t.Error("3 slots are taken")
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("an empty folder is taken for a run")
	}
}

// What is too much is refused at once, and what was accepted is answered, also when the service is
// closed meanwhile.
func TestBusyAndClose(t *testing.T) {
	s := open(t, residual, Options{Slots: 5, Queue: 3})
	var mu sync.Mutex
	count := map[string]int{}
	var all sync.WaitGroup
	for _, history := range histories(60) {
		all.Go(func() {
			_, err := s.Interpret(context.Background(), Question{History: history}, nil)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				count["answered"]++
			case errors.Is(err, ErrBusy):
				count["busy"]++
			case errors.Is(err, ErrClosed):
				count["closed"]++
			default:
				t.Error(err)
			}
		})
	}
	for s.Stats().Asked == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	all.Wait()
	stats := s.Stats()
	if count["answered"] == 0 || int64(count["answered"]) != stats.Answered || int64(count["busy"]) != stats.Refused || stats.Failed != 0 {
		t.Errorf("%v, %+v", count, stats)
	}
	if err := s.State(make([]float32, 16), []int32{1}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Interpret(t.Context(), Question{History: []int32{1, 2}}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// A question whose context ends is given up, waiting or under way, and its slot is free again.
func TestGivenUp(t *testing.T) {
	s := open(t, residual, Options{Slots: 5, Queue: 50})
	var all sync.WaitGroup
	for i, history := range histories(20) {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			said := 0
			_, err := s.Interpret(ctx, Question{History: history}, func(Token) {
				if said++; i%2 == 0 && said == 2 {
					cancel()
				}
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Of those that have a place in the line some leave at once. None is lost to the count.
	ctx, leave := context.WithCancel(t.Context())
	before := s.Stats()
	for i, history := range histories(40) {
		all.Go(func() {
			asks := t.Context()
			if i%2 == 0 {
				asks = ctx
			}
			if _, err := s.Interpret(asks, Question{History: history}, nil); err != nil && asks != ctx {
				t.Error(err)
			}
		})
	}
	for stats := before; stats.Live+stats.Waiting+stats.Answered < 40+before.Answered; stats = s.Stats() {
		time.Sleep(10 * time.Microsecond)
	}
	leave()
	all.Wait()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Interpret(ended, Question{History: []int32{1, 2}}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	for stats := s.Stats(); stats.Live+stats.Waiting > 0; stats = s.Stats() {
		runtime.Gosched()
	}
	if stats := s.Stats(); stats.GivenUp == 0 || stats.Failed != 0 || stats.Answered+stats.GivenUp+stats.Refused != 60 {
		t.Errorf("%+v", stats)
	}
}

// States that are too large for the LLM are refused by themselves: whoever is answered beside them
// notices nothing.
func TestHugeStates_besideOthers(t *testing.T) {
	s := open(t, residual, Options{Slots: 8, Linger: -1})
	var all sync.WaitGroup
	refused := make(chan struct{})
	for _, history := range histories(4) {
		all.Go(func() {
			for over := false; !over; {
				select {
				case <-refused:
					over = true
				default:
				}
				if a, err := s.Interpret(t.Context(), Question{History: history}, nil); err != nil || len(a.Tokens) == 0 {
					t.Errorf("%+v, %v", a, err)
				}
			}
		})
	}
	huge := slices.Repeat([]float32{3e38}, 16)
	for range 20 {
		_, err := s.InterpretAndRank(t.Context(), Question{States: [][]float32{huge, huge}}, 3, nil)
		var invalid *InvalidError
		if !errors.As(err, &invalid) {
			t.Errorf("%v; want an InvalidError", err)
		}
	}
	close(refused)
	all.Wait()
	if stats := s.Stats(); stats.Failed != 0 || stats.Refused == 0 {
		t.Errorf("%+v", stats)
	}
}

// After the LLM has failed, waiting and later questions get the error.
func TestBrokenLLM(t *testing.T) {
	s := open(t, residual, Options{})
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	if err := s.run.Interpreter.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Interpret(t.Context(), Question{History: []int32{1, 2}}, nil); err == nil {
			t.Error("an answer of an LLM that is closed")
		}
		select {
		case <-s.done:
		case <-time.After(10 * time.Second):
			t.Fatal("it works on")
		}
	}
	_, err := s.Interpret(t.Context(), Question{History: []int32{1, 2}}, nil)
	if err == nil || !strings.Contains(err.Error(), "open the run again") || errors.Is(err, ErrClosed) || s.Err() != err {
		t.Errorf("%v; the service says %v", err, s.Err())
	}
}

func TestSearch(t *testing.T) {
	s := open(t, residual, Options{})
	for query, want := range map[string]string{"golden letter": "The Golden Letter", "LETTER gol": "The Golden Letter",
		"1967":            "The Golden Orchard",
		"The Goldn Mirrr": "The Golden Mirror"} {
		items, similar := s.Search(query, 3)
		if len(items) == 0 || s.Describe(items[0]).Title != want || similar != (query == "The Goldn Mirrr") {
			t.Errorf("%q: %v, similar: %v, want %s first", query, items, similar, want)
		}
	}
	if items, _ := s.Search("", 4); !slices.Equal(items, []int32{0, 1, 2, 3}) {
		t.Errorf("an empty query: %v", items)
	}
	if item, ok := s.Item("film-7"); !ok || item != 7 {
		t.Errorf("%d, %v", item, ok)
	}
	if item, ok := s.Title("Silent  Harbour, The"); !ok || item != 0 {
		t.Errorf("%d, %v", item, ok)
	}
}

// Words from a closed set keep to it, in a stream too, and states far from those of training are
// marked.
func TestInterpretAndRank_closed(t *testing.T) {
	s := open(t, popularity, Options{})
	allowed, _ := s.run.Task.Allowed(s.run.Facts, s.Info().Positions)
	text := ""
	reading, err := s.InterpretAndRank(t.Context(), Question{History: []int32{1, 8}}, 0, func(token Token) { text += token.Text })
	if err != nil || !slices.Contains(allowed, reading.Words.Text) || text != reading.Words.Text || !s.Info().Closed {
		t.Errorf("%+v, told %q; allowed are %q; %v", reading, text, allowed, err)
	}
	far := make([]float32, s.Info().StateWidth)
	for i := range far {
		far[i] = 100
	}
	if reading, err = s.InterpretAndRank(t.Context(), Question{States: [][]float32{far}}, 0, nil); err != nil || !reading.Unlike {
		t.Errorf("far states: %+v, %v", reading, err)
	}
	unlike := 0
	for _, q := range s.run.Split.Test {
		if reading, err = s.InterpretAndRank(t.Context(), Question{History: q.History}, 0, nil); err != nil {
			t.Fatal(err)
		}
		if reading.Unlike {
			unlike++
		}
	}
	if n := len(s.run.Split.Test); 2*unlike > n {
		t.Errorf("%d of %d test states are unlike those of training", unlike, n)
	}
}
