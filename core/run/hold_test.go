package run

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// together is a run on titles and genres from which items are held out.
func together(t *testing.T, kind adapter.Kind) (world, Spec) {
	t.Helper()
	w := newWorld(t)
	s := w.spec()
	d, err := dataset.Load(s.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	d.ItemAttributes.Names = []string{"genres"}
	for i := range d.Items {
		d.ItemAttributes.Values = append(d.ItemAttributes.Values, []string{[]string{"Drama", "Comedy|War", ""}[i%3]})
	}
	if err := os.RemoveAll(s.Dataset); err != nil {
		t.Fatal(err)
	}
	if err := d.Save(s.Dataset); err != nil {
		t.Fatal(err)
	}
	s = s.With(promptOf(t, "residual"), kind)
	s.Also, s.HoldOut = []prompt.Template{promptOf(t, "genres")}, 0.3
	return w, s
}

// Nothing that an adapter is trained on tells of items that are held out.
func TestHoldOut_keepsItemsFromTraining(t *testing.T) {
	_, s := together(t, "memory")
	d, err := dataset.Load(s.Dataset)
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]string
	for _, item := range d.Items {
		examples = append(examples, []string{"Something else", item.Title})
	}
	s.Template.Examples = examples
	engine := testllm.Engine(t)
	p, err := openParts(engine, engine, s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if n := len(p.held); n != 9 {
		t.Fatalf("%d of 30 items are held out, want 9", n)
	}
	sequences := p.lessons(s.Drawn, s.Config.Seed)
	seen := map[int32]bool{}
	for _, s := range sequences[len(p.Split.Train):] {
		seen[s.Next] = true
	}
	if len(seen) != 21 {
		t.Errorf("%d items are drawn, want the 21 others", len(seen))
	}
	for _, part := range [][]dataset.Sequence{sequences, p.Split.Validation} {
		lessons, err := p.lessonsOf(part)
		if err != nil {
			t.Fatal(err)
		}
		tasks := map[int]int{}
		for _, l := range lessons {
			tasks[l.task]++
			if p.held[l.history[len(l.history)-1]] {
				t.Fatalf("a lesson of task %d ends in an item that is held out", l.task)
			}
		}
		if tasks[0] == 0 || tasks[1] == 0 || tasks[1] >= tasks[0] { // of a third of the items nobody knows genres
			t.Errorf("lessons of each task: %v", tasks)
		}
	}
	if len(p.choosing) != 1 {
		t.Fatalf("%d items choose the adapter, want a fifth of 9", len(p.choosing))
	}
	for item := range p.choosing {
		if !p.held[item] {
			t.Errorf("item %d chooses the adapter and is not held out", item)
		}
	}
	// Titles of held-out items are asked for nowhere; half of the genres that choose the adapter
	// are theirs.
	p.choosing = p.held
	lessons, err := p.validationLessons()
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	for _, l := range lessons {
		asked[fmt.Sprintf("task %d, held out: %v", l.task, p.held[l.history[len(l.history)-1]])]++
	}
	if n := asked["task 1, held out: true"]; asked["task 0, held out: true"] != 0 || asked["task 0, held out: false"] == 0 || n == 0 ||
		asked["task 1, held out: false"] != n {
		t.Errorf("the adapter is chosen by %v", asked)
	}
	pairs, err := p.pairs(t.Context(), p.Recommender, sequences, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, err := p.GGUF.Describe()
	if err != nil {
		t.Fatal(err)
	}
	entries := map[int32]bool{}
	for _, pair := range pairs {
		entries[pair.Items[0]] = true
		title, err := p.GGUF.Detokenize(pair.Titles[0], false)
		if item, ok := p.Data.Catalogue().Lookup(title); err != nil || !ok || p.held[item] {
			t.Fatalf("the warm start teaches %q", title)
		}
	}
	if n := p.shape(s, info).Entries; n != 21 || len(entries) > n || slices.ContainsFunc(pairs, func(p align.Pair) bool { return int(p.Items[0]) >= n }) {
		t.Errorf("%d entries, %d of them are taught", n, len(entries))
	}
	// An adapter without entries learns the answers to both questions, from the states after the
	// items that they are about.
	p.entries = false
	if lessons, err = p.lessonsOf(sequences); err != nil {
		t.Fatal(err)
	}
	samples, err := p.samples(t.Context(), p.Source, lessons)
	if err != nil {
		t.Fatal(err)
	}
	if pairs, err = p.pairs(t.Context(), p.Recommender, sequences, samples); err != nil || len(pairs) != len(lessons) {
		t.Fatalf("%d pairs of %d lessons, %v", len(pairs), len(lessons), err)
	}
	states, width := make([]float32, len(lessons)*p.inputWidth()), p.inputWidth()
	histories := make([][]int32, len(lessons))
	for i, l := range lessons {
		histories[i] = l.history
	}
	if err := p.Recommender.States(t.Context(), states, histories); err != nil {
		t.Fatal(err)
	}
	for i, pair := range pairs {
		if !slices.Equal(pair.State, states[i*width:(i+1)*width]) || !slices.Equal(pair.Titles[0], lessons[i].answer) {
			t.Fatalf("pair %d is not the state and the answer of lesson %d", i, i)
		}
	}
	prefix, err := p.GGUF.Detokenize(p.Prompts[0].Prefix(), false)
	if err != nil {
		t.Fatal(err)
	}
	for i, item := range d.Items {
		if shown := strings.Contains(prefix, item.Title); shown == p.held[int32(i)] {
			t.Errorf("example %q is shown: %v", item.Title, shown)
		}
	}
}

func TestHoldOut_evaluatesApart(t *testing.T) {
	w, s := together(t, "mlp")
	if _, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.run(), HeldOutFile))
	if err != nil || strings.Count(string(text), ",") != 8 {
		t.Errorf("held-out items: %s, %v", text, err)
	}
	engine := testllm.Engine(t)
	for _, asking := range []Asking{{}, {Task: "genres"}, {Task: "genres", Wording: 5}} {
		r, err := OpenAsking(engine, engine, w.run(), asking, interpret.Options{MaxTokens: 24})
		if err != nil {
			t.Fatal(err)
		}
		found, err := r.Evaluate(t.Context(), 0, evaluate.Options{Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		var seen, held, all int
		switch found := found.(type) {
		case *task.Residual:
			seen, held = found.Seen.N, found.HeldOut.N
			for _, s := range r.Split.Test {
				if !r.choosing[s.Next] {
					all++
				}
			}
		case *task.Claims:
			seen, held, all = found.Seen.N, found.HeldOut.N, found.N
			if found.N >= len(r.Split.Test) || found.Conditions[1].Allowed.Value != 1 {
				t.Errorf("%+v", found)
			}
		}
		if controls := r.Controls(); asking.Task == "genres" && len(controls) != 7 {
			t.Errorf("controls %q", controls)
		}
		for _, name := range r.Controls() {
			told, err := r.EvaluateControl(t.Context(), name, 0, evaluate.Options{Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			if told.Answers.N() != all || (len(told.Shown) == all) != (name == Swapped || name == Permuted) {
				t.Errorf("%s: %d answers, of %d it is known what is shown; want %d", name, told.Answers.N(), len(told.Shown), all)
			}
			for _, record := range told.Answers.Of(evaluate.TrueState) {
				shown, ok := r.Data.Catalogue().Lookup(strings.Join(told.Shown[record.Sample], ""))
				if ok && name == Swapped && r.held[shown] != record.HeldOut {
					t.Errorf("sample %s, held out: %v, shows %q", record.Sample, record.HeldOut, told.Shown[record.Sample])
				}
			}
		}
		if _, err := r.EvaluateControl(t.Context(), "another", 0, evaluate.Options{}); err == nil {
			t.Error("an unknown control is answered")
		}
		if seen == 0 || held == 0 || seen+held != all || found.About().N != all {
			t.Errorf("%+v: %d seen and %d held out of %d", asking, seen, held, all)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for says, asking := range map[string]Asking{"does not ask for the decade": {Task: "decade"}, "wording 9": {Wording: 8}} {
		if _, err := OpenAsking(engine, engine, w.run(), asking, interpret.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: error %v", asking, err)
		}
	}
	s.Config.Seed++
	if _, err := Train(t.Context(), engine, w.run(), s, nil, nil); err == nil {
		t.Error("other items are held out in the same folder")
	}
	for says, change := range map[string]func(*Spec){
		"share of held-out items is 0.9": func(s *Spec) { s.HoldOut = 0.9 },
		"two prompts ask for the genres": func(s *Spec) { s.Also = append(s.Also, s.Also...) },
		"cannot be trained together":     func(s *Spec) { s.Template = promptOf(t, "item") },
		"nothing is known of the decade": func(s *Spec) { s.Also = []prompt.Template{promptOf(t, "decade")} },
	} {
		_, other := together(t, "mlp")
		change(&other)
		if _, err := Train(t.Context(), engine, w.run()+"-refused", other, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("error %v, want one with %q", err, says)
		}
	}
	if _, err := os.Stat(w.run() + "-refused"); err == nil {
		t.Error("a folder was made for a run that is refused")
	}
}
