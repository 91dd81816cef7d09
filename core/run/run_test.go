package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/adapter"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset/datasettest"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/gguf/gguftest"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/task"
)

// promptOf is a prompt with a name.
func promptOf(t *testing.T, name string) prompt.Template {
	t.Helper()
	template, err := task.Prompt(name)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func TestTrainOpenAnswer(t *testing.T) {
	w := newWorld(t)
	var stages []string
	steps := 0
	result, err := Train(t.Context(), testllm.Engine(t), w.run(), w.spec(), func(stage string) { stages = append(stages, stage) },
		func(e align.Event) {
			if e.Phase == "training" {
				steps++
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	if steps != 10 || result.Provenance.Samples != 40 || !slices.Contains(stages, "loading the LLM's weights") {
		t.Errorf("%d steps, %d samples, stages %q; want 10 and 40", steps, result.Provenance.Samples, stages)
	}
	if c := result.Cursor; !(c.WarmLast < c.WarmFirst) || len(c.Validations) != 4 { // before steps 0, 4, 8 and at the end
		t.Errorf("cursor %+v", c)
	}

	r := open(t, w)
	if !reflect.DeepEqual(r.Spec, w.spec()) || !reflect.DeepEqual(r.Provenance, result.Provenance) {
		t.Errorf("spec %+v, provenance %+v", r.Spec, r.Provenance)
	}
	path := filepath.Join(w.run(), "answers.jsonl")
	summary, err := r.Evaluate(t.Context(), 5, evaluate.Options{Seed: 2, Controls: true, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	evaluation := summary.(*task.Residual)
	hash, err := artifact.HashFile(filepath.Join(w.run(), align.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	if evaluation.N != 5 || len(evaluation.Conditions) != 4 || !strings.Contains(evaluation.Label, hash) {
		t.Errorf("evaluation %+v", evaluation)
	}

	if restricted := evaluation.Conditions[1]; restricted.Valid.Hits != 5 || restricted.Ranked == nil || restricted.Places != 5 {
		t.Errorf("restricted to the catalogue: %+v", restricted)
	}

	// Interpreting the histories of the same test sequences, each with its next item, says the
	// same.
	lines := answers(t, path)[:5]
	var histories [][]int32
	for i, at := range draw(len(r.Split.Test), 5, 2) {
		s := r.Split.Test[at]
		histories = append(histories, append(slices.Clone(s.History), s.Next))
		if want := r.Data.Items[s.Next].Title; !slices.Equal(lines[i].Titles, []string{want}) {
			t.Errorf("sample %d: titles %q, want %q", i, lines[i].Titles, want)
		}
	}
	said, err := r.Interpret(t.Context(), histories)
	if err != nil || len(said) != 5 {
		t.Fatalf("%d answers, %v", len(said), err)
	}
	for i := range said {
		if utf8(t, said[i].Text) != lines[i].Answer || math.Abs(said[i].LogProb-lines[i].LogProb) > 1e-3 {
			t.Errorf("sample %d: interpreted as %+v, evaluated as %+v", i, said[i], lines[i])
		}
	}
	if _, err := r.Interpret(t.Context(), [][]int32{{1, 2}, {3}}); err == nil || !strings.Contains(err.Error(), "history 1") {
		t.Errorf("a history of one item: %v", err)
	}
}

// utf8 gives a text as JSON keeps it: a random LLM says bytes that are none.
func utf8(t *testing.T, text string) (kept string) {
	t.Helper()
	encoded, err := json.Marshal(text)
	if err == nil {
		err = json.Unmarshal(encoded, &kept)
	}
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// line is an answer as an evaluation keeps it.
type line struct {
	Titles  []string
	Answer  string
	LogProb float64 `json:"log_prob"`
}

func answers(t *testing.T, path string) []line {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []line
	for i, each := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
		if i == 0 {
			continue // says whose answers they are
		}
		var l line
		if err := json.Unmarshal(each, &l); err != nil {
			t.Fatal(err)
		}
		list = append(list, l)
	}
	return list
}

func TestDraw(t *testing.T) {
	if all := draw(4, 0, 9); !slices.Equal(all, []int{0, 1, 2, 3}) || len(draw(4, 5, 9)) != 4 {
		t.Errorf("all of 4: %v", all)
	}
	some := draw(1000, 10, 1)
	if len(some) != 10 || !slices.IsSorted(some) || len(slices.Compact(slices.Clone(some))) != 10 {
		t.Errorf("10 of 1000: %v", some)
	}
	if !slices.Equal(some, draw(1000, 10, 1)) || slices.Equal(some, draw(1000, 10, 2)) {
		t.Error("the drawing does not follow from the seed alone")
	}
}

// A run can be moved with the files it refers to, because its paths are relative to its folder, and
// opened through a symbolic link.
func TestMoved(t *testing.T) {
	w := trained(t)
	text, err := os.ReadFile(filepath.Join(w.run(), SpecFile))
	if err != nil {
		t.Fatal(err)
	}
	var was Spec
	if err := json.Unmarshal(text, &was); err != nil {
		t.Fatal(err)
	}
	if was.Dataset != "../data" || was.Recommender != "../sasrec.safetensors" || was.LLM != "../tiny.gguf" {
		t.Errorf("paths in %s: %q, %q, %q", SpecFile, was.Dataset, was.Recommender, was.LLM)
	}
	histories := [][]int32{{0, 7, 14}, {3, 10}}
	want, err := open(t, w).Interpret(t.Context(), histories)
	if err != nil {
		t.Fatal(err)
	}
	moved := world(filepath.Join(t.TempDir(), "elsewhere"))
	if err := os.Rename(string(w), string(moved)); err != nil {
		t.Fatal(err)
	}
	r := open(t, moved)
	if got, err := r.Interpret(t.Context(), histories); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("moved: %+v, %v; before: %+v", got, err, want)
	}
	if _, err := Train(t.Context(), testllm.Engine(t), moved.run(), moved.spec(), nil, nil); err != nil {
		t.Errorf("the moved run cannot go on: %v", err)
	}
	link := filepath.Join(t.TempDir(), "deep", "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(link), 0o777), os.Symlink(moved.run(), link)); err != nil {
		t.Fatal(err)
	}
	spec, err := Read(link)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(spec.Recommender); err != nil {
		t.Errorf("through a link: %v", err)
	}
	if _, err := Train(t.Context(), testllm.Engine(t), link, moved.spec(), nil, nil); err != nil {
		t.Errorf("the run cannot go on through a link: %v", err)
	}
}

// Whatever a run stands on is put in place of by something else of the same kind: opening and going
// on are refused.
func TestRefusesOtherParts(t *testing.T) {
	for name, c := range map[string]struct {
		hash    string // of the data set in the recommender's file; "": it does not say
		replace func(t *testing.T, s Spec)
		what    string
		on      string
	}{
		"recommender": {datasettest.Walks().Hash(), func(t *testing.T, s Spec) {
			saveRecommender(t, s.Recommender, datasettest.Walks(), datasettest.Walks().Hash(), 2)
		}, "adapter", "recommender"},
		"LLM": {datasettest.Walks().Hash(), func(t *testing.T, s Spec) {
			if err := os.WriteFile(s.LLM, gguftest.LLM(2), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "adapter", "LLM"},
		"data set":                            {datasettest.Walks().Hash(), otherData, "recommender", "data set"},
		"data set unknown to the recommender": {"", otherData, "adapter", "data set"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			saveRecommender(t, w.spec().Recommender, datasettest.Walks(), c.hash, 1)
			train(t, w)
			c.replace(t, w.spec())
			_, err := Open(testllm.Engine(t), w.run(), interpret.Options{})
			refused(t, "open", err, c.what, c.on)
			_, err = Train(t.Context(), testllm.Engine(t), w.run(), w.spec(), nil, nil)
			refused(t, "train", err, c.what, c.on)
		})
	}
}

func otherData(t *testing.T, s Spec) {
	d := datasettest.Walks()
	d.Events[0].Rating = 1
	if err := d.Save(s.Dataset); err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, doing string, err error, what, on string) {
	t.Helper()
	var m *artifact.Mismatch
	if !errors.As(err, &m) || m.What != what || m.On != on || m.Want == m.Got {
		t.Errorf("%s: %v, want a mismatch of %s on %s", doing, err, what, on)
	} else if says := "this " + what + " was made from another " + on; !strings.Contains(err.Error(), says) {
		t.Errorf("%s: %q does not say %q", doing, err, says)
	}
}

// An adapter of another shape, though it names the right recommender and LLM.
func TestRefusesAnotherWidth(t *testing.T) {
	w := trained(t)
	path := filepath.Join(w.run(), align.AdapterFile)
	_, provenance, err := align.LoadAdapter(path)
	if err != nil {
		t.Fatal(err)
	}
	for says, shape := range map[string]align.Shape{
		"states that are 8 wide, the recommender's are 16": {Kind: "linear", In: 8, Tokens: 2, Embd: 64},
		"embeddings that are 32 wide, the LLM's are 64":    {Kind: "linear", In: 16, Tokens: 2, Embd: 32},
		"3 soft tokens": {Kind: "linear", In: 16, Tokens: 3, Embd: 64},
	} {
		other, err := align.NewAdapter(shape, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Save(path, provenance); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(testllm.Engine(t), w.run(), interpret.Options{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// A folder is one run's: another one is refused by what differs, and the folder is left as it was.
func TestRefusesAnotherRunsFolder(t *testing.T) {
	w := trained(t)
	before := listing(t, w.run())
	for says, change := range map[string]func(*Spec){
		"its hidden was 16, is 17":                         func(s *Spec) { s.Hidden = 17 },
		"its precision was \"f32\", is \"bf16\"":           func(s *Spec) { s.Precision = BF16 },
		"its tokens was 2, is 3":                           func(s *Spec) { s.Tokens = 3 },
		"its config.learning_rate was 0.01, is 0.02":       func(s *Spec) { s.Config.LearningRate = 0.02 },
		"its config.samples was 40, is 80":                 func(s *Spec) { s.Config.Samples = 80 },
		"its template.name was \"residual\", is \"other\"": func(s *Spec) { s.Template.Name = "other" },
		"other.gguf\"; give the same to go on":             func(s *Spec) { copyFile(t, &s.LLM, "other.gguf") },
		"its recommender was \"" + w.spec().Recommender:    func(s *Spec) { copyFile(t, &s.Recommender, "other.safetensors") },
		"its config.seed was 3, is 4; give the same to":    func(s *Spec) { s.Config.Seed, s.Dataset = 4, relative(t, s.Dataset) },
	} {
		s := w.spec()
		change(&s)
		_, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil)
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "another folder") {
			t.Errorf("%v, want %q", err, says)
		}
	}
	if after := listing(t, w.run()); !reflect.DeepEqual(after, before) {
		t.Errorf("the folder was changed: %v, was %v", after, before)
	}
}

// copyFile copies a file to another name in its folder, where path then points.
func copyFile(t *testing.T, path *string, name string) {
	t.Helper()
	content, err := os.ReadFile(*path)
	if err != nil {
		t.Fatal(err)
	}
	*path = filepath.Join(filepath.Dir(*path), name)
	if err := os.WriteFile(*path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

// relative gives the path from the working directory: another way to write the same one.
func relative(t *testing.T, path string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Rel(here, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// listing gives the content of each file of a folder.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(content)
	}
	return files
}

// What cannot be trained is refused before the folder becomes a run's, so that a corrected call may
// use it.
func TestTrainRefuses(t *testing.T) {
	w := newWorld(t)
	for says, change := range map[string]func(*Spec){
		`no precision is called "f16"; known are "f32" and "bf16"`: func(s *Spec) { s.Precision = "f16" },
		`"half" asks for ""`: func(s *Spec) {
			s.Template = prompt.Template{Name: "half", Texts: []string{"Name it.{after}"}}
		},
		"drawn share is 1":                                 func(s *Spec) { s.Drawn = 1 },
		`"recovery" asks for the history`:                  func(s *Spec) { s.Template, s.Drawn = promptOf(t, "recovery"), 0.5 },
		"of which a positions adapter has nothing to read": func(s *Spec) { s.Template, s.Adapter = promptOf(t, "item"), "positions" },
		"learns in the warm start what to look up": func(s *Spec) {
			s.Adapter, s.Template, s.Config.WarmSteps, s.Drawn = "retrieval", promptOf(t, "recovery"), 0, 0
		},
		"shows the items of a history, and prompt \"residual\" asks for the last item": func(s *Spec) { s.Adapter, s.Config.WarmSteps = "retrieval", 1 },
		"reads one vector; prompt \"two\" has the slots": func(s *Spec) {
			s.Adapter, s.Config.WarmSteps, s.Drawn = "retrieval", 1, 0
			s.Template = prompt.Template{Name: "two", Asks: "history", Texts: []string{"{before}{after}"}}
		},
		"a mixture has no warm start":                 func(s *Spec) { s.Adapter, s.Hidden = "mixture", 0 },
		`no adapter kind is called "cnn"`:             func(s *Spec) { s.Adapter = "cnn" },
		"n_hidden must be 1":                          func(s *Spec) { s.Hidden = 0 },
		"either in samples or in minutes":             func(s *Spec) { s.Config.Samples = 0 },
		"nowhere is not a data set folder":            func(s *Spec) { s.Dataset = filepath.Join(string(w), "nowhere") },
		"none.safetensors: no such file or directory": func(s *Spec) { s.Recommender = filepath.Join(string(w), "none.safetensors") },
		"none.gguf: No such file or directory":        func(s *Spec) { s.LLM = filepath.Join(string(w), "none.gguf") },
	} {
		s := w.spec()
		change(&s)
		if _, err := Train(t.Context(), testllm.Engine(t), w.run(), s, nil, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
		if _, err := os.Stat(w.run()); err == nil {
			t.Fatalf("%s: the folder was made", says)
		}
	}
	train(t, w)
}

func TestOpenRefuses(t *testing.T) {
	w := trained(t)
	adapter := filepath.Join(w.run(), align.AdapterFile)
	content, err := os.ReadFile(adapter)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := os.ReadFile(filepath.Join(w.run(), SpecFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		says  string
		spoil func(dir string) error
	}{
		{"is not a run: it has no run.json; recint align makes one",
			func(dir string) error { return os.Remove(filepath.Join(dir, SpecFile)) }},
		{"its training has not ended; the same recint align command continues it",
			func(dir string) error { return os.Remove(filepath.Join(dir, align.AdapterFile)) }},
		{"is truncated", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, align.AdapterFile), content[:len(content)-1], 0o644)
		}},
		{`run.json, line 1, column 2: there is no key "colour"`, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, SpecFile), []byte(`{"colour": 1}`), 0o644)
		}},
		{"the text ends before its JSON value does", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, SpecFile), spec[:len(spec)/2], 0o644)
		}},
	} {
		dir := filepath.Join(string(w), "spoilt")
		if err := os.CopyFS(dir, os.DirFS(w.run())); err != nil {
			t.Fatal(err)
		}
		if err := c.spoil(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(testllm.Engine(t), dir, interpret.Options{}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// Broken weights of a recommender are named as what is wrong, not as a training that fails.
func TestRefusesNaN(t *testing.T) {
	w := newWorld(t)
	file, err := artifact.ReadSafetensors(w.spec().Recommender)
	if err != nil {
		t.Fatal(err)
	}
	file.Tensors[0].F32[5] = float32(math.NaN())
	if err := artifact.WriteSafetensors(w.spec().Recommender, file); err != nil {
		t.Fatal(err)
	}
	_, err = Train(t.Context(), testllm.Engine(t), w.run(), w.spec(), nil, nil)
	if err == nil || !strings.Contains(err.Error(), w.spec().Recommender) || !strings.Contains(err.Error(), file.Tensors[0].Name) {
		t.Errorf("%v, want the file and the tensor %s named", err, file.Tensors[0].Name)
	}
}

// A run that was stopped at any point and then resumed gives the adapter of one that was not.
func TestStoppedAndResumed(t *testing.T) {
	whole := trained(t)
	want, err := artifact.ReadSafetensors(filepath.Join(whole.run(), align.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	stopped := world(t.TempDir())
	if err := os.CopyFS(string(stopped), os.DirFS(string(whole))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(stopped.run()); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"computing the recommender's states", "training", "step 1", "step 5", "step 9"} {
		ctx, cancel := context.WithCancel(t.Context())
		stop := func(now string) {
			if now == at {
				cancel()
			}
		}
		_, err := Train(ctx, testllm.Engine(t), stopped.run(), stopped.spec(), stop, func(e align.Event) {
			if e.Phase == "training" {
				stop("step " + string(rune('0'+e.Step)))
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at %q: %v", at, err)
		}
		cancel()
		if _, err := Open(testllm.Engine(t), stopped.run(), interpret.Options{}); err == nil ||
			!strings.Contains(err.Error(), "recint align") {
			t.Errorf("opened after %q: %v", at, err)
		}
	}
	train(t, stopped)
	got, err := artifact.ReadSafetensors(filepath.Join(stopped.run(), align.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Tensors) != 7 || !reflect.DeepEqual(got.Tensors, want.Tensors) {
		t.Error("the adapters differ")
	}
}

// The paper's recommender weights say nothing of a data set; one with another number of items is
// refused all the same.
func TestRefusesAnotherCatalogue(t *testing.T) {
	w := newWorld(t)
	d := datasettest.Walks()
	d.Items = append(d.Items, d.Items[0])
	d.Items[30].ID = "30"
	saveRecommender(t, w.spec().Recommender, d, "", 1)
	_, err := Train(t.Context(), testllm.Engine(t), w.run(), w.spec(), nil, nil)
	if err == nil || !strings.Contains(err.Error(), `it knows 31 items, data set "walks" has 30`) {
		t.Error(err)
	}
}

// A kind of adapter comes with what it is trained with.
func TestSpec_With(t *testing.T) {
	usual, s := DefaultSpec(), DefaultSpec().With(promptOf(t, "residual"), "linear")
	if s.Config.BatchSize >= usual.Config.BatchSize || s.Config.LearningRate <= usual.Config.LearningRate || s.Config.WarmSteps == 0 || s.Hidden != 0 {
		t.Errorf("%+v", s)
	}
	if s := usual.With(promptOf(t, "recovery"), "mixture"); s.Config.WarmSteps != 0 || s.Drawn != 0 || s.Config.BatchSize != usual.Config.BatchSize {
		t.Errorf("%+v", s)
	}
	for kind, apart := range map[adapter.Kind]int{"mlp": 2, "linear": 2, "memory": 0, "bias": 0} {
		s := usual.With(promptOf(t, "residual"), kind)
		if len(s.Apart()) != 0 {
			t.Errorf("%s reads a state for a single question apart", kind)
		}
		if s.Also = []prompt.Template{promptOf(t, "genres")}; len(s.Apart()) != apart {
			t.Errorf("%s reads a state apart for %q", kind, s.Apart())
		}
	}
}

// One question about titles is for a lookup. Noise is for attributes of the last item alone, and
// for the kind that it was measured with.
func TestDefaultAdapter(t *testing.T) {
	for asked, want := range map[string]struct {
		kind  adapter.Kind
		noise float64
	}{
		"residual": {"memory", 0}, "item": {"memory", 0}, "recovery": {"retrieval", 0}, "genres": {"mlp", 1}, "genres decade": {"mlp", 1},
		"residual genres": {"mlp", 0}, "genres gender": {"mlp", 0}, "gender": {"mlp", 0}, "compare-last": {"mlp", 0},
	} {
		var templates []prompt.Template
		for _, name := range strings.Fields(asked) {
			templates = append(templates, promptOf(t, name))
		}
		kind, err := DefaultAdapter(templates)
		noise, noiseErr := NoiseFor(templates, kind)
		if err != nil || noiseErr != nil || kind != want.kind || noise != want.noise {
			t.Errorf("%s: %s with noise %v, errors %v and %v", asked, kind, noise, err, noiseErr)
		}
		if other, err := NoiseFor(templates, "linear"); err != nil || other != 0 {
			t.Errorf("%s: linear with noise %v, error %v", asked, other, err)
		}
		s := DefaultSpec().With(templates[0], kind)
		s.Also, s.Recommender, s.LLM, s.Dataset, s.Config.Samples = templates[1:], "r", "l", "d", 1
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", asked, err)
		}
	}
	odd := []prompt.Template{{Name: "odd", Asks: "odd"}}
	_, err := DefaultAdapter(odd)
	if _, noiseErr := NoiseFor(odd, "mlp"); err == nil || noiseErr == nil {
		t.Error("a question that no task asks is accepted")
	}
}
