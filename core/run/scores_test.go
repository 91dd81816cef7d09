package run

import (
	"math"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/task"
)

// Against a beam as wide as the slots allow: the same items first, with the same probabilities.
func TestScores(t *testing.T) {
	r := open(t, trained(t))
	var histories [][]int32
	for _, s := range r.Split.Test[:3] {
		histories = append(histories, r.Source.Past(s, true))
	}
	scores, err := r.Scores(t.Context(), histories)
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
	r.Task, _ = task.Named("recovery")
	if _, err := r.Scores(t.Context(), histories); err == nil || !strings.Contains(err.Error(), "asks for the history") {
		t.Errorf("a prompt for lists: error %v", err)
	}
}
