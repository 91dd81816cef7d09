package evaluate

import (
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Header is the first line of a file of answers. It identifies the evaluation.
type Header struct {
	Evaluation string   `json:"evaluation"`
	Label      string   `json:"label"`
	N          int      `json:"n"`               // samples in all shards
	Drawn      int      `json:"drawn,omitempty"` // test sequences that were drawn, where the time chose them and some gave no sample
	Shard      string   `json:"shard,omitempty"`
	Seed       uint64   `json:"seed"`
	Conditions []string `json:"conditions"`
}

// Record is each further line: one answer.
type Record struct {
	Condition string   `json:"condition"`
	Sample    string   `json:"sample"`
	Titles    []string `json:"titles"`
	Answer    string   `json:"answer"`
	Hits
	HeldOut  bool          `json:"held_out,omitempty"` // its item was held out of training
	LogProb  float64       `json:"log_prob"`
	Ended    bool          `json:"ended"`
	Tokens   []string      `json:"tokens,omitempty"`    // pieces of the answer's text; only for the sample's own states
	LogProbs []float64     `json:"log_probs,omitempty"` // of each token and, where it ended, of the end; rounded
	Others   []Alternative `json:"others,omitempty"`    // less likely answers, for answers restricted to the catalogue
}

// Alternative is an answer other than the likeliest.
type Alternative struct {
	Answer  string  `json:"answer"`
	LogProb float64 `json:"log_prob"`
}

// Answers are the answers of one evaluation.
type Answers struct {
	Header  Header
	Records []Record // ordered by condition
	n       int      // number of samples
}

// ReadAnswers reads the file of a finished evaluation.
func ReadAnswers(path string) (*Answers, error) {
	j, n, err := readAnswers[Record](path)
	if err != nil {
		return nil, err
	}
	for i, r := range j.Records {
		if want := j.Header.Conditions[i/n]; r.Condition != want {
			return nil, fmt.Errorf("evaluate: %s, line %d is about the condition %q, not %q", path, i+2, r.Condition, want)
		}
	}
	return &Answers{j.Header, j.Records, n}, nil
}

// readAnswers reads the file of a finished evaluation and returns the number of its samples.
func readAnswers[R any](path string) (_ *artifact.Journal[Header, R], n int, err error) {
	j, err := artifact.ReadJournal[Header, R](path)
	if err != nil {
		return nil, 0, fmt.Errorf("evaluate: no file of answers: %w", err)
	}
	shard, err := ParseShard(j.Header.Shard)
	if err != nil {
		return nil, 0, fmt.Errorf("evaluate: %s: %w", path, err)
	}
	from, to, err := shard.of(j.Header.N)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	if want := (to - from) * len(j.Header.Conditions); len(j.Records) != want || want == 0 {
		return nil, 0, fmt.Errorf("evaluate: %s holds %d of %d answers; %w", path, len(j.Records), want, artifact.ErrResumable)
	}
	return j, to - from, nil
}

// N is the number of samples that the answers are about.
func (a *Answers) N() int { return a.n }

// Parts separates the answers about items that the adapter was trained on from those about held-out
// items; nil if all are of one kind.
func (a *Answers) Parts() (seen, heldOut *Answers) {
	seen, heldOut = &Answers{Header: a.Header}, &Answers{Header: a.Header}
	for _, r := range a.Records {
		part := seen
		if r.HeldOut {
			part = heldOut
		}
		part.Records = append(part.Records, r)
	}
	if len(seen.Records) == 0 || len(heldOut.Records) == 0 {
		return nil, nil
	}
	seen.n, heldOut.n = len(seen.Records)/len(a.Header.Conditions), len(heldOut.Records)/len(a.Header.Conditions)
	return seen, heldOut
}

// Of gives the records of one condition.
func (a *Answers) Of(condition string) []Record {
	at := slices.Index(a.Header.Conditions, condition)
	if at < 0 {
		return nil
	}
	return a.Records[at*a.n : (at+1)*a.n]
}

// belong counts the records of a file that form whole chunks of answers to samples. It is an error
// if they do not belong to these samples.
func belong(records []Record, h Header, samples []Sample) (int, error) {
	n := len(samples)
	records = records[:min(len(records), n*len(h.Conditions))]
	for i, r := range records {
		s := samples[i%n]
		if r.Sample != s.ID || !slices.Equal(r.Titles, s.Titles) || r.Condition != h.Conditions[i/n] {
			return 0, fmt.Errorf("line %d: it is not the answer to sample %s", i+2, s.ID)
		}
	}
	whole := len(records)
	if whole < n*len(h.Conditions) {
		whole -= whole % n % Chunk
		untold := func(r Record) bool { return r.Condition == TrueState && r.Answer != "" && r.LogProbs == nil }
		if i := slices.IndexFunc(records[:whole], untold); i >= 0 {
			return 0, fmt.Errorf("line %d: an earlier version wrote it without probabilities of tokens", i+2)
		}
	}
	return whole, nil
}
