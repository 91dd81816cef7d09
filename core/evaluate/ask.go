package evaluate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// Sample is one question with its right answer.
type Sample struct {
	ID      string        // unique in the evaluation
	States  prompt.States // from the recommender
	Titles  []string      // clean titles of the items to name, or other lines of the true answer; at least one
	HeldOut bool          // its item was held out of training
}

// Answerer answers samples; an interpreter's method Answer is one.
type Answerer func(ctx context.Context, samples []prompt.States) ([]prompt.Answer, error)

// Ranker returns one or more answers to each sample, the likeliest first; an interpreter's method
// Rank is one.
type Ranker func(ctx context.Context, samples []prompt.States) ([][]prompt.Answer, error)

// The conditions under which the same samples are asked.
const (
	TrueState       = "state"      // each sample's own states
	RestrictedState = "restricted" // the same, with answers restricted to the catalogue
	ZeroState       = "zero"       // control: states of zeros
	ShuffledState   = "shuffled"   // control: the states of another sample
)

// ConditionNames are the names of the conditions in tables.
var ConditionNames = map[string]string{
	TrueState:       "own states",
	RestrictedState: "restricted to allowed answers",
	ZeroState:       "control: zero state",
	ShuffledState:   "control: shuffled states",
}

// Options configure an evaluation.
type Options struct {
	Seed       uint64                // of the shuffled control
	Restricted Ranker                // answers restricted to titles of the catalogue; nil: not asked
	Controls   bool                  // ask with zero and with shuffled states as well
	Path       string                // answers as JSON lines; an evaluation that was interrupted continues from them
	Label      string                // identifies what is evaluated, e.g. by hashes of adapter and data; a file of another label is refused
	Drawn      int                   // test sequences that were drawn, if an evaluation that continues needs to know; some may give no sample
	Shard      Shard                 // part of the samples; the zero value is all
	Progress   func(done, total int) // may be nil
}

// Hits count the titles of a sample that an answer names, by each scorer, and the titles of the
// catalogue in the answer.
type Hits struct {
	Exact    int `json:"exact"`
	Contains int `json:"contains"`
	Paper    int `json:"paper"`
	Valid    int `json:"valid"`
}

// Chunk is the number of samples answered between two writes. Shards and continued evaluations
// consist of whole chunks, because answering samples side by side changes the last digits of
// probabilities.
const Chunk = 128

// Ask asks every question, first with a sample's own states and then with those of the controls,
// and scores the answers. It writes them to opts.Path as they arrive. The file of an interrupted
// and continued evaluation equals that of an uninterrupted one. evaluation is the name that the
// file records.
func Ask(ctx context.Context, evaluation string, samples []Sample, answer Answerer, score func(answer string, titles []string) Hits,
	opts Options) (answers *Answers, err error) {
	if err := check(samples); err != nil {
		return nil, err
	}
	conditions := []string{TrueState}
	if opts.Restricted != nil {
		conditions = append(conditions, RestrictedState)
	}
	if opts.Controls {
		conditions = append(conditions, ZeroState)
		if len(samples) > 1 {
			conditions = append(conditions, ShuffledState)
		}
	}
	from, to, err := opts.Shard.of(len(samples))
	if err != nil {
		return nil, err
	}
	n := to - from
	h := Header{Evaluation: evaluation, Label: opts.Label, N: len(samples), Shard: opts.Shard.String(), Seed: opts.Seed,
		Conditions: conditions}
	if opts.Drawn > len(samples) {
		h.Drawn = opts.Drawn
	}
	j, err := artifact.OpenJournal(opts.Path, h, func(records []Record) (int, error) { return belong(records, h, samples[from:to]) })
	if err != nil {
		return nil, fmt.Errorf("evaluate: the answers: %w", err)
	}
	defer func() { err = errors.Join(err, j.Close()) }()

	total := n * len(conditions)
	for done := len(j.Records); done < total; done = len(j.Records) {
		condition := conditions[done/n]
		first := from + done%n
		last := min(to, (first/Chunk+1)*Chunk)
		asked, questionOf := questions(samples, condition, opts.Seed, first, last)
		rank := unranked(answer)
		if condition == RestrictedState {
			rank = opts.Restricted
		}
		given, err := rank(ctx, asked)
		if err != nil {
			err = fmt.Errorf("evaluate: %s, samples %d to %d: %w", condition, first, last-1, err)
			if opts.Path != "" {
				err = artifact.Resumable(err)
			}
			return nil, err
		}
		if len(given) != len(asked) {
			return nil, fmt.Errorf("evaluate: %d answers to %d questions", len(given), len(asked))
		}
		var records []Record
		for i, question := range questionOf {
			s, ranked := samples[first+i], given[question]
			if len(ranked) == 0 {
				return nil, fmt.Errorf("evaluate: %s, sample %s: no answer", condition, s.ID)
			}
			a := ranked[0]
			r := Record{
				Condition: condition, Sample: s.ID, Titles: s.Titles, Answer: a.Text, LogProb: a.LogProb, Ended: a.Ended,
				Hits: score(a.Text, s.Titles), HeldOut: s.HeldOut,
			}
			if condition == TrueState || condition == RestrictedState {
				r.Tokens, r.LogProbs = a.Pieces, rounded(a.LogProbs)
			}
			for _, other := range ranked[1:] {
				r.Others = append(r.Others, Alternative{other.Text, other.LogProb})
			}
			records = append(records, r)
		}
		if err := j.Append(records...); err != nil {
			return nil, fmt.Errorf("evaluate: the answers: %w", err)
		}
		if opts.Progress != nil {
			opts.Progress(len(j.Records), total)
		}
	}
	return &Answers{h, j.Records, n}, nil
}

// unranked makes a ranker that gives one answer.
func unranked(answer Answerer) Ranker {
	return func(ctx context.Context, samples []prompt.States) ([][]prompt.Answer, error) {
		answers, err := answer(ctx, samples)
		ranked := make([][]prompt.Answer, len(answers))
		for i := range answers {
			ranked[i] = answers[i : i+1]
		}
		return ranked, err
	}
}

// rounded keeps three decimals, a thousandth of each probability.
func rounded(logProbs []float64) []float64 {
	kept := make([]float64, len(logProbs))
	for i, x := range logProbs {
		kept[i] = math.Round(1000*x)/1000 + 0 // not -0
	}
	return kept
}

// check refuses invalid samples.
func check(samples []Sample) error {
	if len(samples) == 0 {
		return errors.New("evaluate: there are no samples")
	}
	seen := make(map[string]bool, len(samples))
	for i, s := range samples {
		switch {
		case len(s.States.Values) == 0:
			return fmt.Errorf("evaluate: sample %s (number %d) has no states", s.ID, i)
		case len(s.Titles) == 0 || slices.Contains(s.Titles, ""):
			return fmt.Errorf("evaluate: sample %s (number %d) has no title to name, or an empty title", s.ID, i)
		case seen[s.ID]:
			return fmt.Errorf("evaluate: two samples are called %q", s.ID)
		}
		seen[s.ID] = true
	}
	return nil
}

// questions gives the questions about samples first to last-1 under a condition, and the index of
// each sample's question. Samples with the same number of zero states share one question.
func questions(samples []Sample, condition string, seed uint64, first, last int) (asked []prompt.States, of []int) {
	if condition == ZeroState {
		number := map[string]int{}
		for _, s := range samples[first:last] {
			key := fmt.Sprint(s.States.Counts, len(s.States.Values))
			if _, known := number[key]; !known {
				number[key] = len(asked)
				asked = append(asked, prompt.States{Counts: s.States.Counts, Values: make([]float32, len(s.States.Values))})
			}
			of = append(of, number[key])
		}
		return asked, of
	}
	var other []int
	if condition == ShuffledState {
		other = Derangement(len(samples), seed)
	}
	for i := first; i < last; i++ {
		at := i
		if other != nil {
			at = other[i]
		}
		asked, of = append(asked, samples[at].States), append(of, i-first)
	}
	return asked, of
}

// Derangement is a random permutation without fixed points: a single cycle (Sattolo 1986).
func Derangement(n int, seed uint64) []int {
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

// Titles holds the titles of a catalogue in the form in which answers are compared.
type Titles map[string]bool

// NewTitles makes Titles of clean titles.
func NewTitles(catalogue []string) Titles {
	titles := Titles{}
	for _, title := range catalogue {
		titles[Normalise(title)] = true
	}
	return titles
}

// Has reports whether a text is one of the titles and nothing else, as Exact does for one title.
func (t Titles) Has(text string) bool { return t[Normalise(text)] }
