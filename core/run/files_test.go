package run

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// What evaluations leave is found again as what it is, under the names that it has had since the
// first version.
func TestLeavings(t *testing.T) {
	dir := t.TempDir()
	of := func(name string) task.Task {
		found, err := task.Of(promptOf(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	residual, column := of("residual"), of("genres")
	want := map[string]Left{}
	for path, left := range map[string]Left{
		AnswersPath(dir, residual, AnswersOf{Samples: 40, Seed: 1, Controls: true}):                                 {Kind: AnswersFile, Task: residual},
		AnswersPath(dir, residual, AnswersOf{Minutes: 1.5, Samples: 9, Seed: 2, Shard: evaluate.Shard{I: 2, N: 4}}): {Kind: AnswersFile, Task: residual},
		AnswersPath(dir, column, AnswersOf{Samples: 7, Seed: 3, Controls: true, Wording: 4}):                        {Kind: AnswersFile, Task: column},
		PlannedAnswers(dir, "residual"):                    {Kind: AnswersFile, Task: residual},
		OraclesPath(dir, 8, 1):                             {Kind: OraclesFile},
		PlannedOracles(dir):                                {Kind: OraclesFile},
		JudgedPath(dir, 8, 1, "sasrec", "a model/of mine"): {Kind: JudgedFile},
		PlannedJudged(dir):                                 {Kind: JudgedFile},
	} {
		want[filepath.Base(path)] = left
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "log.jsonl"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"residual-40-1.jsonl", "residual-1.5min-2-no-controls-shard-2-of-4.jsonl", "genres-7-3-wording-5.jsonl",
		"oracles-8-1.json", "judge-8-1-sasrec-a_model_of_mine.jsonl", "residual-answers.jsonl"} {
		if _, ok := want[name]; !ok {
			t.Errorf("nothing is called %s", name)
		}
	}
	found, err := Leavings(dir)
	if err != nil || len(found) != len(want) {
		t.Fatalf("%d files of %d, %v", len(found), len(want), err)
	}
	for _, f := range found {
		if w := want[filepath.Base(f.Path)]; f.Kind != w.Kind || f.Task.Name != w.Task.Name {
			t.Errorf("%s is taken for %s of %q", f.Path, f.Kind, f.Task.Name)
		}
	}
}
