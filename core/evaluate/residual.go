package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/interpret"
)

// Sample is one question with its right answer.
type Sample struct {
	ID     string    // unique in the evaluation
	States []float32 // [N, D], as the recommender gives them
	Title  string    // clean title of the item to name; items that share it are one answer
}

// Answerer answers samples of states, [n, N, D]; the method Answer of an interpreter is one.
type Answerer func(ctx context.Context, states []float32) ([]interpret.Answer, error)

// The conditions under which the same samples are asked.
const (
	TrueState     = "state"    // each sample's own states
	ZeroState     = "zero"     // control: states of zeros
	ShuffledState = "shuffled" // control: the states of another sample
)

// Options are how an evaluation is run.
type Options struct {
	Seed     uint64                // of the shuffled control
	Controls bool                  // ask with zero and with shuffled states as well
	Path     string                // answers as JSON lines; an evaluation that was cut short goes on from there
	Label    string                // what is evaluated, e.g. hashes of adapter and data; Path of another label is refused
	Progress func(done, total int) // may be nil
}

// Result is what an evaluation found.
type Result struct {
	Label      string      `json:"label"`
	N          int         `json:"n"`
	Seed       uint64      `json:"seed"`
	Conditions []Condition `json:"conditions"`
}

// Condition is the outcome under one condition.
type Condition struct {
	Name     string `json:"name"`
	Exact    Share  `json:"exact"`
	Contains Share  `json:"contains"`
	Paper    Share  `json:"paper"`
	Valid    Share  `json:"valid"` // answers that are the title of any item of the catalogue, right or wrong
}

// chunk is how many samples are answered between two writes.
const chunk = 256

// Residual asks for the item of each sample, with its own states and then with those of the controls. catalogue
// holds the clean titles of all items. Answers are kept in opts.Path as they come, and the file of an evaluation that
// was stopped and taken up again is the same as that of one that was not.
func Residual(ctx context.Context, samples []Sample, catalogue []string, answer Answerer, opts Options) (
	result *Result, err error) {
	width, err := check(samples)
	if err != nil {
		return nil, err
	}
	conditions := []string{TrueState}
	if opts.Controls {
		conditions = append(conditions, ZeroState)
		if len(samples) > 1 {
			conditions = append(conditions, ShuffledState)
		}
	}
	titles := map[string]bool{}
	for _, title := range catalogue {
		titles[normalise(title)] = true
	}
	j, err := openJournal(opts.Path, header{Evaluation: "residual", Label: opts.Label, N: len(samples),
		Seed: opts.Seed, Conditions: conditions}, samples)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.close()) }()

	total := len(samples) * len(conditions)
	for done := len(j.records); done < total; done = len(j.records) {
		condition := conditions[done/len(samples)]
		first := done % len(samples)
		last := min(len(samples), (first/chunk+1)*chunk)
		states := ask(samples, condition, opts.Seed, first, last, width)
		answers, err := answer(ctx, states)
		if err != nil {
			return nil, fmt.Errorf("evaluate: %s, samples %d to %d: %w", condition, first, last-1, err)
		}
		if len(answers) != len(states)/width {
			return nil, fmt.Errorf("evaluate: %d answers to %d questions", len(answers), len(states)/width)
		}
		if condition == ZeroState { // one question, whatever the sample
			answers = slices.Repeat(answers, last-first)
		}
		var records []record
		for n, a := range answers {
			s := samples[first+n]
			records = append(records, record{
				Condition: condition, Sample: s.ID, Title: s.Title, Answer: a.Text, LogProb: a.LogProb, Ended: a.Ended,
				Exact: Exact(a.Text, s.Title), Contains: Contains(a.Text, s.Title), Paper: Paper(a.Text, s.Title),
				Valid: titles[normalise(a.Text)],
			})
		}
		if err := j.add(records); err != nil {
			return nil, err
		}
		if opts.Progress != nil {
			opts.Progress(len(j.records), total)
		}
	}
	return summarise(j, conditions), nil
}

// check finds the width of a sample's states and refuses samples that cannot be asked.
func check(samples []Sample) (width int, err error) {
	if len(samples) == 0 {
		return 0, errors.New("evaluate: there are no samples")
	}
	width = len(samples[0].States)
	seen := make(map[string]bool, len(samples))
	for i, s := range samples {
		switch {
		case len(s.States) != width || width == 0:
			return 0, fmt.Errorf("evaluate: sample %s (number %d) has %d state values, the first has %d",
				s.ID, i, len(s.States), width)
		case s.Title == "":
			return 0, fmt.Errorf("evaluate: sample %s (number %d) has no title to name", s.ID, i)
		case seen[s.ID]:
			return 0, fmt.Errorf("evaluate: two samples are called %q", s.ID)
		}
		seen[s.ID] = true
	}
	return width, nil
}

// ask gives the states that samples first to last-1 are asked with under a condition. A state of zeros is the same question
// for all of them, asked once.
func ask(samples []Sample, condition string, seed uint64, first, last, width int) []float32 {
	if condition == ZeroState {
		return make([]float32, width)
	}
	states := make([]float32, 0, (last-first)*width)
	switch condition {
	case ShuffledState:
		other := derangement(len(samples), seed)
		for i := first; i < last; i++ {
			states = append(states, samples[other[i]].States...)
		}
	default:
		for i := first; i < last; i++ {
			states = append(states, samples[i].States...)
		}
	}
	return states
}

// derangement is a random permutation that leaves nothing in its place: a single cycle (Sattolo 1986).
func derangement(n int, seed uint64) []int {
	random := rand.New(rand.NewPCG(seed, 0))
	p := make([]int, n)
	for i := range p {
		p[i] = i
	}
	for i := n - 1; i > 0; i-- {
		k := random.IntN(i)
		p[i], p[k] = p[k], p[i]
	}
	return p
}

// summarise counts the hits of each condition.
func summarise(j *journal, conditions []string) *Result {
	result := &Result{Label: j.header.Label, N: j.header.N, Seed: j.header.Seed}
	for _, name := range conditions {
		var exact, contains, paper, valid, n int
		for _, r := range j.records {
			if r.Condition == name {
				n++
				exact += count(r.Exact)
				contains += count(r.Contains)
				paper += count(r.Paper)
				valid += count(r.Valid)
			}
		}
		result.Conditions = append(result.Conditions, Condition{Name: name, Exact: NewShare(exact, n),
			Contains: NewShare(contains, n), Paper: NewShare(paper, n), Valid: NewShare(valid, n)})
	}
	return result
}

func count(hit bool) int {
	if hit {
		return 1
	}
	return 0
}
