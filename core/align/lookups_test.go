package align

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

func TestFound(t *testing.T) {
	scores := []float32{0.5, 3, -1, 2, 2, 9}
	for _, c := range []struct{ items, want []int32 }{
		{[]int32{3, 5}, []int32{5, 1, 3}}, // down to the last that is right, 1 among them
		{[]int32{4, 1}, []int32{5, 1}},    // 4 is the fourth
		{[]int32{5}, []int32{5}},
		{[]int32{0, 2}, []int32{5}}, // none is shown
	} {
		if got := found(scores, c.items, 3); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.items, got, c.want)
		}
	}
	if got := found(scores, []int32{2}, 6); !slices.Equal(got, []int32{5, 1, 3, 4, 0, 2}) {
		t.Errorf("all: %v", got)
	}
}

// retrievalJob is a run whose samples' states are sums of the vectors of two of five items each.
func retrievalJob(t *testing.T) Job {
	t.Helper()
	job := tinyJob(t)
	p, err := prompt.FromSegments([][]int32{{3, 4}, {6, 7}}, 4)
	if err != nil {
		t.Fatal(err)
	}
	job.Prompts = [][]*prompt.Prompt{{p}}
	job.Shape = Shape{Kind: "retrieval", In: 5, Hidden: 16, Entries: 6, LookUps: 2, Tokens: 4, Embd: job.Shape.Embd}
	titles := [][]int32{{8, 2}, {9, 10, 2}, {10, 8, 11, 2}, {11, 2}, {12, 9, 2}}
	job.Tell = func(items [][]int32) ([][]int32, error) {
		answers := make([][]int32, len(items))
		for i, of := range items {
			for _, item := range of {
				answers[i] = append(answers[i], titles[item]...)
			}
		}
		return answers, nil
	}
	samples := func(n int) []prompt.Sample {
		all := make([]prompt.Sample, n)
		for i := range all {
			items := []int32{int32(i % 5), int32((i + 1 + i/5%4) % 5)}
			answers, _ := job.Tell([][]int32{items})
			sum := make([]float32, 5)
			for _, item := range items {
				sum[item] += 1 + float32(i%3)/10
			}
			all[i] = prompt.Sample{States: prompt.States{Counts: []int{1}, Values: sum}, Answer: answers[0], Items: items}
		}
		return all
	}
	job.Train, job.Validation, job.Warm = samples(60), samples(20), nil
	for _, s := range job.Train {
		job.Warm = append(job.Warm, Pair{State: s.Values, Items: s.Items, Titles: [][]int32{titles[s.Items[0]], titles[s.Items[1]]}})
	}
	job.Config.WarmSteps = 200
	return job
}

// A retrieval adapter comes out of the warm start showing the titles of both items, and is to say
// them in the order in which it shows them.
func TestRecall(t *testing.T) {
	job := retrievalJob(t)
	r, err := open(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if !(r.WarmFirst > 1 && r.WarmLast < math.Ln2+0.1) {
		t.Errorf("warm start: cross-entropy %g, then %g; two items that are equally likely leave %g", r.WarmFirst, r.WarmLast, math.Ln2)
	}
	words, err := embeddings(job.GGUF, job.Warm, job.Shape)
	if err != nil {
		t.Fatal(err)
	}
	swapped := 0
	for i, s := range r.standard.standardised(append(r.job.Train, r.job.Validation...)) {
		items := slices.Clone(s.Items)
		answers, _ := job.Tell([][]int32{items, {items[1], items[0]}})
		if slices.Equal(s.Answer, answers[1]) {
			slices.Reverse(items)
			swapped++
		} else if !slices.Equal(s.Answer, answers[0]) {
			t.Fatalf("sample %d, of items %v: the answer is %v", i, items, s.Answer)
		}
		soft := make([]float32, job.Shape.Tokens*job.Shape.Embd)
		if err := r.model.SoftTokens(soft, s.Values, 1); err != nil {
			t.Fatal(err)
		}
		for n, item := range items {
			answers, _ := job.Tell([][]int32{{item}})
			for k, token := range prompt.FirstTokens(answers[0], 2) {
				got := soft[(2*n+k)*job.Shape.Embd:][:job.Shape.Embd]
				for d, want := range words[token] {
					if math.Abs(float64(got[d]-want)) > testllm.Bound(1e-5, 5e-3) {
						t.Fatalf("sample %d, item %d: token %d of its title is not what is shown in place %d", i, item, k, n)
					}
				}
			}
		}
	}
	if swapped == 0 || swapped == 80 {
		t.Errorf("%d of 80 answers are not in the order of the history; the scores decide nothing", swapped)
	}
	if !slices.Equal(job.Train[7].Items, retrievalJob(t).Train[7].Items) || !slices.Equal(job.Train[7].Answer, retrievalJob(t).Train[7].Answer) {
		t.Error("the caller's samples were changed")
	}
}

// What looks up is the same after training as before, and a run that was stopped goes on with the
// same answers.
func TestRecall_resumed(t *testing.T) {
	whole := retrievalJob(t)
	whole.Config.WeightDecay = 0.5
	want := train(t, whole)
	job := retrievalJob(t)
	job.Config = whole.Config
	interrupt(t, job, func(e Event) bool { return e.Phase == "training" && e.Step == 10 })
	r, err := open(context.Background(), job)
	if err != nil {
		t.Fatal(err)
	}
	half, err := readSlot(r.model, cgo.Value)
	r.close()
	if err != nil {
		t.Fatal(err)
	}
	result := train(t, job)
	sameRun(t, result, want, job.Dir, whole.Dir)
	// Of w1 and b1 the file has another form, with the states' mean and scale in it.
	layout, err := job.Shape.layout(1)
	if err != nil {
		t.Fatal(err)
	}
	for at, tensor := range layout[2:] {
		same := slices.Equal(result.Adapter.Values[at+2], half[at+2])
		if fixed := strings.HasPrefix(tensor.Name, "key"); same != fixed {
			t.Errorf("%s: unchanged since step 10: %v", tensor.Name, same)
		}
	}
}

func TestRecall_refusals(t *testing.T) {
	for want, spoil := range map[string]func(*Job){
		"set warm_steps above 0":    func(j *Job) { j.Config.WarmSteps = 0 },
		"give Tell":                 func(j *Job) { j.Tell = nil },
		"sample 2: it has no items": func(j *Job) { j.Train[2].Items = nil },
		"1 answers for 60 samples":  func(j *Job) { j.Tell = func([][]int32) ([][]int32, error) { return [][]int32{{8}}, nil } },
		"shows of sample 0: the answer is empty": func(j *Job) {
			j.Tell = func(items [][]int32) ([][]int32, error) { return make([][]int32, len(items)), nil }
		},
		"2 slots":                           func(j *Job) { j.Prompts = tinyJob(t).Prompts },
		"pair 3: 3 items with 2 titles":     func(j *Job) { j.Warm[3].Items = []int32{1, 2, 3} },
		"pair 4: item 6; the adapter has 6": func(j *Job) { j.Warm[4].Items = []int32{1, 6} },
		"pair 5: the title has no tokens":   func(j *Job) { j.Warm[5].Titles = [][]int32{{8, 2}, nil} },
	} {
		job := retrievalJob(t)
		spoil(&job)
		if _, err := Train(t.Context(), job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
