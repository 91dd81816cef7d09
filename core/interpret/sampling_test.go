package interpret

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
)

// Drawn often, tokens come as often as the formula says.
func TestDraw_frequencies(t *testing.T) {
	logits := []float32{1, 3, 2, -1, 2.5}
	for _, c := range []struct {
		sampling Sampling
		kept     []int // the tokens that may come
	}{
		{Sampling{Temperature: 1}, []int{0, 1, 2, 3, 4}},
		{Sampling{Temperature: 0.5}, []int{0, 1, 2, 3, 4}},
		{Sampling{Temperature: 1, TopP: 0.7}, []int{1, 4}},
		{Sampling{Temperature: 2, TopP: 0.01}, []int{1}},
		{Sampling{Temperature: 1, TopP: 1}, []int{0, 1, 2, 3, 4}},
	} {
		sum, all := 0.0, 0.0
		for i, x := range logits {
			all += math.Exp(float64(x))
			if slices.Contains(c.kept, i) {
				sum += math.Exp(float64(x) / c.sampling.Temperature)
			}
		}
		const n = 40000
		counts := make([]int, len(logits))
		random := rand.New(rand.NewPCG(1, 1))
		for range n {
			token, logProb := c.sampling.draw(logits, random)
			counts[token]++
			if want := float64(logits[token]) - math.Log(all); math.Abs(logProb-want) > 1e-6 {
				t.Fatalf("%+v: log-probability %g of token %d, want %g", c.sampling, logProb, token, want)
			}
		}
		for i, x := range logits {
			want := 0.0
			if slices.Contains(c.kept, i) {
				want = math.Exp(float64(x)/c.sampling.Temperature) / sum
			}
			if got := float64(counts[i]) / n; math.Abs(got-want) > 5*math.Sqrt(want*(1-want)/n) { // five standard errors
				t.Errorf("%+v: token %d comes in %.4f, want %.4f", c.sampling, i, got, want)
			}
		}
	}
}

func TestAnswer_sampled(t *testing.T) {
	states := randomStates(9)
	sampled := func(slots int, s Sampling) (texts []string) {
		for _, a := range answer(t, tinyInterpreter(t, Options{Slots: slots, MaxTokens: 8, MaxStates: 2, Sampling: s}), states) {
			texts = append(texts, a.Text)
		}
		return texts
	}
	greedy := sampled(4, Sampling{})
	once := sampled(4, Sampling{Temperature: 1, Seed: 3})
	if slices.Equal(once, greedy) {
		t.Error("nothing is drawn")
	}
	slots := 9
	if testllm.Coarse() { // what a token's neighbours are changes its last bits, and so what is drawn
		slots = 4
	}
	if again := sampled(slots, Sampling{Temperature: 1, Seed: 3}); !slices.Equal(again, once) {
		t.Errorf("the same seed gives %q and %q", once, again)
	}
	if other := sampled(4, Sampling{Temperature: 1, Seed: 4}); slices.Equal(other, once) {
		t.Error("another seed gives the same answers")
	}
	if cold := sampled(4, Sampling{Temperature: 1, TopP: 1e-9}); !slices.Equal(cold, greedy) {
		t.Errorf("the likeliest tokens alone give %q, greedily %q", cold, greedy)
	}
}
