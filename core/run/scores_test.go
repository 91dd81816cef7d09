package run

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// Against a beam as wide as the slots allow: the same items first, with the same probabilities.
func TestScores(t *testing.T) {
	r := open(t, trained(t))
	var histories [][]int32
	for _, s := range r.Split.Test[:3] {
		histories = append(histories, r.Source.Past(s, true))
	}
	scores, err := r.Scores(t.Context(), histories, Scoring{})
	if err != nil {
		t.Fatal(err)
	}
	states, err := r.States(t.Context(), r.Recommender, histories)
	if err != nil {
		t.Fatal(err)
	}
	ranked, err := r.ranker(len(r.Data.Items))(t.Context(), states)
	if err != nil {
		t.Fatal(err)
	}
	for n := range histories {
		if len(scores[n]) != len(r.Data.Items) {
			t.Fatalf("history %d: %d items of %d", n, len(scores[n]), len(r.Data.Items))
		}
		for i, s := range scores[n] {
			if a := ranked[n][i]; r.Data.Items[s.Item].Title != a.Text || math.Abs(s.LogProb-a.LogProb) > 0.05 {
				t.Errorf("history %d, place %d: %q with %g, ranked %q with %g", n, i, r.Data.Items[s.Item].Title, s.LogProb, a.Text, a.LogProb)
			}
		}
	}
	if scores[0][0].LogProb == scores[1][0].LogProb {
		t.Error("the scores do not depend on the history")
	}
	few, err := r.Scores(t.Context(), histories, Scoring{Among: 4})
	if err != nil {
		t.Fatal(err)
	}
	for n, history := range histories {
		last := len(history) - 1
		best, err := recommender.Recommend(t.Context(), r.Live, [][]int32{history[:last]}, 4)
		if err != nil {
			t.Fatal(err)
		}
		want := []int32{history[last]}
		for _, b := range best[0] {
			want = append(want, b.Item)
		}
		var got []int32
		for i, s := range few[n] {
			got = append(got, s.Item)
			at := slices.IndexFunc(scores[n], func(other ScoredItem) bool { return other.Item == s.Item })
			if math.Abs(s.LogProb-scores[n][at].LogProb) > 0.05 || i > 0 && s.LogProb > few[n][i-1].LogProb {
				t.Errorf("history %d: %+v among few, %+v among all", n, few[n], scores[n][at])
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, slices.Compact(want)) {
			t.Errorf("history %d: items %v are scored, want %v", n, got, want)
		}
	}
	if _, err := r.Scores(t.Context(), histories, Scoring{Among: -1}); err == nil || !strings.Contains(err.Error(), "at least 1") {
		t.Errorf("among less than nothing: error %v", err)
	}
	live := r.Live
	r.Live = nil
	if _, err := r.Scores(t.Context(), histories, Scoring{Among: 4}); err == nil || !strings.Contains(err.Error(), "ranks no items") {
		t.Errorf("among the best of no recommender: error %v", err)
	}
	r.Live = live
	r.Task, _ = task.Named("recovery")
	if _, err := r.Scores(t.Context(), histories, Scoring{}); err == nil || !strings.Contains(err.Error(), "asks for the history") {
		t.Errorf("a prompt for lists: error %v", err)
	}
}
