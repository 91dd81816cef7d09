package align

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// tinyJob is a run of 20 updates through a tiny random LLM, over samples whose answers follow from
// their states.
func tinyJob(t *testing.T) Job {
	t.Helper()
	engine, gguf := testllm.Engine(t), testllm.GGUF(t)
	llama, err := cgo.NewLLM(engine, gguf, cgo.F32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { llama.Close() })
	info, err := gguf.Describe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := prompt.FromSegments([][]int32{{3, 4}, {5}, {6, 7}}, 2)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(9, 9))
	job := Job{Engine: engine, GGUF: gguf, LLM: llama, Prompts: [][]*prompt.Prompt{{p}},
		Shape:      Shape{Kind: "mlp", In: 3, Hidden: 16, Tokens: 2, Embd: int(info.Embd)},
		Provenance: Provenance{Recommender: "3f2a", LLM: "77aa", Dataset: "d00d", Template: prompt.Template{Name: "mine", Asks: "last item", Texts: []string{"{state}"}}},
		Dir:        filepath.Join(t.TempDir(), "run"),
		Config: Config{Seed: 11, Samples: 160, BatchSize: 8, PassPositions: 30, LearningRate: 1e-2, WarmupSteps: 4, Schedule: LinearDecay,
			WeightDecay: 0.01, MaxNorm: 1, WarmSteps: 30, WarmBatch: 16, WarmRate: 1e-2,
			ValidateEvery: 7, ValidationSamples: 5, CheckpointEvery: 5},
	}
	for i := range 30 {
		item := i % 5
		before, after := make([]float32, 3), make([]float32, 3)
		for d := range 3 {
			before[d] = float32(random.NormFloat64()) + 4
			after[d] = float32(10*math.Cos(float64(item*(d+1)))) + float32(random.NormFloat64())/10
		}
		titles := [][]int32{{8, 2}, {9, 10, 2}, {10, 8, 11, 2}, {11, 2}, {12, 9, 2}} // 2 ends an answer
		sample := prompt.Sample{States: prompt.States{Counts: []int{1, 1}, Values: append(before, after...)}, Answer: titles[item]}
		if i < 24 {
			job.Train = append(job.Train, sample)
			job.Warm = append(job.Warm, Pair{State: after, Items: []int32{int32(item)}, Titles: [][]int32{sample.Answer}})
		} else {
			job.Validation = append(job.Validation, sample)
		}
	}
	return job
}

// train runs a job to its end.
func train(t *testing.T, job Job) *Result {
	t.Helper()
	result, err := Train(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// interrupt trains a job until at returns true for an event, and stops it there as Ctrl-C does.
func interrupt(t *testing.T, job Job, at func(Event) bool) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	job.Progress = func(e Event) {
		if at(e) {
			stop()
		}
	}
	if _, err := Train(ctx, job); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want the context's", err)
	}
}

// sameRun compares two runs by all that does not depend on the clock: adapter, checkpoint and log.
func sameRun(t *testing.T, got, want *Result, gotDir, wantDir string) {
	t.Helper()
	if !reflect.DeepEqual(got.Adapter, want.Adapter) {
		t.Error("the adapters differ")
	}
	var tensors [2][]artifact.Tensor
	for i, dir := range []string{gotDir, wantDir} {
		file, err := artifact.ReadSafetensors(filepath.Join(dir, CheckpointFile))
		if err != nil {
			t.Fatal(err)
		}
		tensors[i] = file.Tensors
	}
	if len(tensors[1]) != 4*len(want.Adapter.Values) || !reflect.DeepEqual(tensors[0], tensors[1]) {
		t.Error("the checkpoints' values or moments differ")
	}
	if a, b := events(t, gotDir), events(t, wantDir); !reflect.DeepEqual(a, b) {
		t.Errorf("the logs differ:\n%+v\n%+v", a, b)
	}
}

// events reads a log without its times.
func events(t *testing.T, dir string) []Event {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	var list []Event
	for line := range bytes.Lines(data) {
		var e Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		e.Seconds, e.Speed = 0, 0
		list = append(list, e)
	}
	return list
}

func TestTrain_learns(t *testing.T) {
	job := tinyJob(t)
	result := train(t, job)
	c := result.Cursor
	if c.Step != 20 || c.Updates != 20 || c.Skipped != 0 || result.Provenance.Samples != 160 {
		t.Errorf("cursor %+v", c)
	}
	if !(c.WarmLast < c.WarmFirst) {
		t.Errorf("warm start: error %g, then %g", c.WarmFirst, c.WarmLast)
	}
	log := events(t, job.Dir)
	if len(log) != 20+4 { // validations before steps 0, 7, 14 and at the end
		t.Errorf("%d log lines, want 24", len(log))
	}
	first, last := c.Validations[0].Loss, c.Validations[len(c.Validations)-1].Loss
	if !(last < first) || !(c.Loss < first) {
		t.Errorf("validation loss %g, then %g; training loss %g", first, last, c.Loss)
	}
	saved, p, err := LoadAdapter(filepath.Join(job.Dir, AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(saved, result.Adapter) || !reflect.DeepEqual(p, result.Provenance) {
		t.Error("the saved adapter is not the returned one")
	}
}

func TestTrain_stoppedAndResumed(t *testing.T) {
	whole := tinyJob(t)
	want := train(t, whole)
	job := tinyJob(t)
	interrupt(t, job, func(e Event) bool { return e.Phase == "training" && e.Step == 10 })
	job.Progress = func(e Event) {
		if e.Phase == "training" && e.Step <= 10 {
			t.Errorf("step %d was done again", e.Step)
		}
	}
	sameRun(t, train(t, job), want, job.Dir, whole.Dir)
}

func TestTrain_killedAndResumed(t *testing.T) {
	job := tinyJob(t)
	killed := job
	killed.Dir = filepath.Join(t.TempDir(), "killed")
	job.Progress = func(e Event) {
		if e.Phase == "training" && e.Step == 13 { // what a kill at this moment would leave on the disk
			if err := os.CopyFS(killed.Dir, os.DirFS(job.Dir)); err != nil {
				t.Error(err)
			}
		}
	}
	want := train(t, job)
	steps := 0
	killed.Progress = func(e Event) {
		if e.Phase == "training" {
			steps++
		}
	}
	got := train(t, killed)
	if steps != 10 { // the last checkpoint is that of step 10
		t.Errorf("%d steps after the kill, want 10", steps)
	}
	sameRun(t, got, want, killed.Dir, job.Dir)
}

// What is kept is the adapter of the best validation, not that of the end, and training ends when
// patience does.
func TestTrain_keepsTheBest(t *testing.T) {
	job := tinyJob(t)
	job.Config.Schedule, job.Config.ValidateEvery, job.Config.CheckpointEvery, job.Config.Patience = Constant, 1, 1, 3
	for i := range job.Validation { // answered otherwise than in training: what is learned there is soon wrong here
		job.Validation[i].Answer = job.Train[(i+2)%5].Answer
	}
	best := map[int][][]float32{}
	job.Progress = func(e Event) {
		if e.Phase == "training" { // the checkpoint of the step before is on the disk
			if file, err := artifact.ReadSafetensors(filepath.Join(job.Dir, CheckpointFile)); err == nil {
				best[e.Step-1], _ = takeTensors(file, job.Shape, "value.")
			}
		}
	}
	result := train(t, job)
	chosen, last := result.Cursor.Best(), result.Cursor.Step
	if chosen == nil || last == result.Cursor.Plan || last != chosen.Step+3 {
		t.Fatalf("best %+v, ended at step %d of %d; want an end 3 steps behind the best", chosen, last, result.Cursor.Plan)
	}
	if p := result.Provenance; p.Samples != 8*chosen.Step || p.ValidationLoss != chosen.Loss {
		t.Errorf("provenance %+v", p)
	}
	standard, err := FitStandard(job.statesOfTraining(), job.Shape.In)
	if err != nil {
		t.Fatal(err)
	}
	want := standard.Fold(&Adapter{Shape: job.Shape, Values: best[chosen.Step]})
	if !reflect.DeepEqual(result.Adapter, want) {
		t.Errorf("the saved adapter is not that of step %d", chosen.Step)
	}
}

// Several wordings and patience are restored when a run is resumed.
func TestTrain_wordingsAndPatienceResume(t *testing.T) {
	wordings := func(job Job) Job {
		other, err := prompt.FromSegments([][]int32{{9}, {5}, {8, 8}}, 2)
		if err != nil {
			t.Fatal(err)
		}
		job.Prompts[0] = append(job.Prompts[0], other)
		job.Config.Patience = 2
		return job
	}
	whole := wordings(tinyJob(t))
	want := train(t, whole)
	if one := train(t, tinyJob(t)); reflect.DeepEqual(one.Adapter, want.Adapter) {
		t.Error("the second wording changed nothing")
	}
	job := wordings(tinyJob(t))
	interrupt(t, job, func(e Event) bool { return e.Step == 9 })
	sameRun(t, train(t, job), want, job.Dir, whole.Dir)
}

func TestTrain_finishedRunIsLeftAlone(t *testing.T) {
	job := tinyJob(t)
	want := train(t, job)
	job.Progress = func(e Event) { t.Errorf("a finished run has done %+v", e) }
	if got := train(t, job); !reflect.DeepEqual(got.Adapter, want.Adapter) {
		t.Error("the adapters differ")
	}
}

func TestTrain_minutesBecomeAPlan(t *testing.T) {
	job := tinyJob(t)
	job.Config.Samples, job.Config.Minutes, job.Config.WarmSteps = 0, 0.003, 0
	job.Config.CheckpointEvery = 0
	result := train(t, job)
	if result.Cursor.Plan <= job.Config.WarmupSteps || result.Cursor.Step != result.Cursor.Plan {
		t.Errorf("cursor %+v", result.Cursor)
	}
	if again := train(t, job); again.Cursor.Plan != result.Cursor.Plan {
		t.Errorf("plan %d, then %d", result.Cursor.Plan, again.Cursor.Plan)
	}
}

func TestTrain_givesUpOnNaN(t *testing.T) {
	job := tinyJob(t)
	job.Config.LearningRate, job.Config.WarmupSteps = 1e37, 0
	var skipped []Event
	job.Progress = func(e Event) {
		if e.Phase == "skipped" {
			skipped = append(skipped, e)
		}
	}
	_, err := Train(context.Background(), job)
	if err == nil || !strings.Contains(err.Error(), "3 updates in a row") {
		t.Errorf("error %v", err)
	}
	if len(skipped) != 2 || skipped[0].Problem == "" {
		t.Errorf("%d skipped steps reported before the last: %+v", len(skipped), skipped)
	}
}

func TestTrain_refusals(t *testing.T) {
	nan := float32(math.NaN())
	for name, c := range map[string]struct {
		spoil func(*Job)
		want  string
	}{
		"NaN in a state":     {func(j *Job) { j.Train[3].Values = []float32{1, 2, 3, 4, nan, 6} }, "training sample 3"},
		"short state":        {func(j *Job) { j.Validation[1].Values = []float32{1} }, "validation sample 1"},
		"empty answer":       {func(j *Job) { j.Train[2].Answer = nil }, "training sample 2"},
		"long answer":        {func(j *Job) { j.Train[2].Answer = make([]int32, 100000) }, "context"},
		"NaN in the warm-up": {func(j *Job) { j.Warm[4].State = []float32{1, nan, 3} }, "pair 4"},
		"no samples":         {func(j *Job) { j.Train = nil }, "no training samples"},
		"an item beyond the memory": {func(j *Job) {
			j.Shape.Kind, j.Shape.Entries = "memory", 4 // of 5 items
		}, "4 entries"},
		"no pairs":     {func(j *Job) { j.Warm = nil }, "warm_steps"},
		"other width":  {func(j *Job) { j.Shape.Embd = 7 }, "width 7"},
		"other tokens": {func(j *Job) { j.Shape.Tokens = 5 }, "5 soft tokens"},
		"bad config":   {func(j *Job) { j.Config.BatchSize = 0 }, "batch_size"},
		"folder is a file": {func(j *Job) {
			if err := os.WriteFile(j.Dir, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "folder"},
	} {
		job := tinyJob(t)
		c.spoil(&job)
		if _, err := Train(context.Background(), job); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestTrain_refusesAnotherRunsCheckpoint(t *testing.T) {
	job := tinyJob(t)
	job.Config.Samples = 16
	train(t, job)
	path := filepath.Join(job.Dir, CheckpointFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(*Job)
		want  string
	}{
		"other rate":        {func(j *Job) { j.Config.LearningRate = 0.5 }, "learning_rate was 0.01, is 0.5"},
		"other size":        {func(j *Job) { j.Shape.Hidden = 17 }, "hidden was 16, is 17"},
		"other recommender": {func(j *Job) { j.Provenance.Recommender = "91bc" }, "3f2a"},
		"other samples":     {func(j *Job) { j.Train = j.Train[1:] }, "other samples"},
		"truncated":         {func(*Job) { os.WriteFile(path, whole[:len(whole)/2], 0o644) }, "truncated"},
		"other file": {func(*Job) {
			a := &artifact.File{Metadata: map[string]string{"format": "x"}}
			if err := artifact.WriteSafetensors(path, a); err != nil {
				t.Fatal(err)
			}
		}, "not a checkpoint"},
	} {
		if err := os.WriteFile(path, whole, 0o644); err != nil {
			t.Fatal(err)
		}
		again := job
		c.spoil(&again)
		if _, err := Train(context.Background(), again); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, fmt.Sprint(err), c.want)
		}
	}
}

// The soft tokens of a linear adapter start out by fitting the tokens of the title best.
func TestWarmStart_linear(t *testing.T) {
	job := tinyJob(t)
	job.Shape = Shape{Kind: "linear", In: 3, Tokens: 2, Embd: job.Shape.Embd}
	job.Config.WarmSteps, job.Config.WarmRate = 400, 1e-2
	r, err := open(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if !(r.WarmLast < r.WarmFirst/2) {
		t.Errorf("warm start: cross-entropy %g, then %g", r.WarmFirst, r.WarmLast)
	}
	words, err := embeddings(job.GGUF, job.Warm, job.Shape)
	if err != nil {
		t.Fatal(err)
	}
	right, all := 0, 0
	for _, pair := range r.job.Warm {
		soft := make([]float32, job.Shape.Tokens*job.Shape.Embd)
		state := make([]float32, len(pair.State))
		r.standard.Apply(state, pair.State)
		if err := r.model.SoftTokens(soft, state, 1); err != nil {
			t.Fatal(err)
		}
		fits := func(k int, token int32) (product float64) {
			for d, x := range words[token] {
				product += float64(x * soft[k*job.Shape.Embd+d])
			}
			return product
		}
		for k, token := range prompt.FirstTokens(pair.Titles[0], job.Shape.Tokens) {
			best := token
			for other := range words {
				if fits(k, other) > fits(k, best) {
					best = other
				}
			}
			if all++; best == token {
				right++
			}
		}
	}
	if right < all*9/10 {
		t.Errorf("%d of %d soft tokens fit the right token best", right, all)
	}
}

// A memory starts out with the titles of items, and looks up the right one.
func TestWarmStart_dictionary(t *testing.T) {
	job := tinyJob(t)
	job.Shape.Kind, job.Shape.Entries, job.Config.WarmSteps = "memory", 6, 200 // the last item never occurs
	r, err := open(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if !(r.WarmFirst > 1 && r.WarmLast < 0.1) {
		t.Errorf("warm start: cross-entropy %g, then %g; that of a guess is %g", r.WarmFirst, r.WarmLast, math.Log(6))
	}
	words, err := embeddings(job.GGUF, job.Warm, job.Shape)
	if err != nil {
		t.Fatal(err)
	}
	for i, pair := range r.job.Warm {
		soft := make([]float32, job.Shape.Tokens*job.Shape.Embd)
		state := make([]float32, len(pair.State))
		r.standard.Apply(state, pair.State)
		if err := r.model.SoftTokens(soft, state, 1); err != nil {
			t.Fatal(err)
		}
		var off, whole float64
		for k, token := range prompt.FirstTokens(pair.Titles[0], job.Shape.Tokens) {
			for d, want := range words[token] {
				off += math.Pow(float64(soft[k*job.Shape.Embd+d]-want), 2)
				whole += math.Pow(float64(want), 2)
			}
		}
		if off > 0.05*whole {
			t.Errorf("pair %d, of item %d: soft tokens are off by %.3f of their title's square", i, pair.Items[0], off/whole)
		}
	}
	moments, err := readSlot(r.model, cgo.Moment1)
	if err != nil {
		t.Fatal(err)
	}
	for _, values := range moments {
		if slices.ContainsFunc(values, func(x float32) bool { return x != 0 }) {
			t.Fatal("the optimiser does not start afresh")
		}
	}
}

// On a machine whose clock says that an update of the warm start takes a second, it takes a fifth
// of the run's minutes and the training through the LLM has the rest.
func TestTrain_slowWarmStart(t *testing.T) {
	job := tinyJob(t)
	job.Config.Samples, job.Config.Minutes, job.Config.WarmSteps = 0, 1, 1000
	job.Config.ValidateEvery = 0
	now, warm, trained := time.Unix(0, 0), 0, 0.0
	job.now = func() time.Time { // asked about a second apart
		now = now.Add(time.Second)
		return now
	}
	job.Progress = func(e Event) {
		switch e.Phase {
		case "warm start":
			warm = e.Step
		case "training":
			trained = e.Seconds
		}
	}
	result := train(t, job)
	at := result.Cursor
	if at.WarmSteps < 1 || at.WarmSteps > 12 || warm > at.WarmSteps {
		t.Errorf("the warm start took %d updates, of which %d were reported; 12 seconds are a fifth of a minute", at.WarmSteps, warm)
	}
	if at.Step < 20 || trained > 66 {
		t.Errorf("%d batches in %g seconds; the minute has time for more than 20", at.Step, trained)
	}
}
