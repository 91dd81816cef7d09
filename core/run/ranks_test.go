package run

import (
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestPercentile_byHand(t *testing.T) {
	for of, want := range []float64{100, 0, 50, 50} {
		if got := percentile([]float64{-1, -9, -4, -4}, of); math.Abs(got-want) > 1e-9 {
			t.Errorf("score %d: %g, want %g", of, got, want)
		}
	}
}

// Title 0 is the likeliest whatever the states, so that raw scores put it first; less the means
// each state favours its own title.
func TestRanks_lessMeans(t *testing.T) {
	k := &Ranks{Titles: 3, Seed: 1}
	for i, sample := range []string{"test-0", "test-1", "test-2"} {
		scores := []float64{-1, -8, -9}
		scores[i]++
		k.scored = append(k.scored, titleScore{sample, i, scores})
	}
	if err := k.rank(func(string) (int32, error) { return 1, nil }); err != nil {
		t.Fatal(err)
	}
	if own, less := k.Rows[0], k.Rows[2]; own.Median != 50 || less.Median != 100 || less.Low != 100 {
		t.Errorf("%+v", k.Rows)
	}
}

// Every sequence that ends in a held-out item is ranked among their titles, and finished ones are
// taken from the file.
func TestTitleRanks(t *testing.T) {
	titles := togetherRun(t, "residual")
	path := filepath.Join(t.TempDir(), "ranks.jsonl")
	held := 0
	for _, s := range titles.Split.Test {
		if titles.held[s.Next] && !titles.choosing[s.Next] {
			held++
		}
	}
	calls := 0
	ranks, err := titles.TitleRanks(t.Context(), 0, 1, path, nil, func(int, int) { calls++ })
	if err != nil || ranks.N != held || calls != held || ranks.Titles != 9 || len(ranks.Rows) != 3 {
		t.Fatalf("%+v in %d steps, want %d; %v", ranks, calls, held, err)
	}
	again, err := titles.TitleRanks(t.Context(), 0, 1, path, nil, func(int, int) { calls++ })
	if err != nil || calls != held || !reflect.DeepEqual(again, ranks) {
		t.Errorf("resumed: %+v, %v", again, err)
	}
	titles.Task.Title = false
	if _, err := titles.TitleRanks(t.Context(), 0, 1, path, nil, nil); err == nil || !strings.Contains(err.Error(), "a question for the title") {
		t.Errorf("another question: error %v", err)
	}
	titles.Task.Title = true
	// The scores are those of all titles.
	_, histories, _, err := titles.evaluated(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i, history := range histories {
		if !titles.held[history[len(history)-1]] {
			continue
		}
		all, err := titles.Scores(t.Context(), histories[i:i+1], Scoring{})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all[0] {
			if s.Item == history[len(history)-1] {
				if got := ranks.scored[0]; math.Abs(got.Scores[got.True]-s.LogProb) > 0.02 {
					t.Errorf("log p of the title is %g, want %g", got.Scores[got.True], s.LogProb)
				}
			}
		}
		break
	}
}
