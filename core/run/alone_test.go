package run

import (
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
)

// An adapter alone names only what its training could name: of titles never a held-out one, of a
// history as many as it shows. Without a warm start nothing taught it answers.
func TestAlone(t *testing.T) {
	engine := testllm.Engine(t)
	for _, c := range []struct {
		kind   adapter.Kind
		prompt string
		held   float64
		lines  int
	}{{"memory", "residual", 0.3, 1}, {"mlp", "residual", 0.3, 1}, {"linear", "residual", 0, 1}, {"retrieval", "recovery", 0, 10}} {
		w := newWorld(t)
		s := w.spec().With(promptOf(t, c.prompt), c.kind)
		s.HoldOut, s.Config.WarmSteps = c.held, 20
		if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err != nil {
			t.Fatal(err)
		}
		r, err := Open(engine, w.run(), interpret.Options{MaxTokens: 24})
		if err != nil {
			t.Fatal(err)
		}
		alone, err := r.EvaluateControl(t.Context(), Alone, 20, evaluate.Options{Seed: 1})
		if err != nil || !slices.Contains(r.Controls(), Alone) {
			t.Fatalf("%s: controls %q, error %v", c.kind, r.Controls(), err)
		}
		for _, record := range alone.Answers.Of(evaluate.TrueState) {
			lines := strings.Split(record.Answer, "\n")
			for _, line := range lines {
				if item, ok := r.Data.Catalogue().Lookup(line); !ok || r.held[item] {
					t.Errorf("%s: %q is no title of an item that training shows", c.kind, line)
				}
			}
			if len(lines) != c.lines {
				t.Errorf("%s: %d lines, want %d", c.kind, len(lines), c.lines)
			}
		}
		r.Spec.Config.WarmSteps = 0
		if _, err := r.EvaluateControl(t.Context(), Alone, 20, evaluate.Options{Seed: 1}); err == nil || slices.Contains(r.Controls(), Alone) {
			t.Errorf("%s: answers alone without a warm start", c.kind)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
