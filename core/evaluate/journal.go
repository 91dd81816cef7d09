package evaluate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Header is the first line of a file of answers: whose answers they are.
type Header struct {
	Evaluation string   `json:"evaluation"`
	Label      string   `json:"label"`
	N          int      `json:"n"` // samples in all shards
	Shard      string   `json:"shard,omitempty"`
	Seed       uint64   `json:"seed"`
	Conditions []string `json:"conditions"`
}

// Record is each further line: an answer.
type Record struct {
	Condition string   `json:"condition"`
	Sample    string   `json:"sample"`
	Titles    []string `json:"titles"`
	Answer    string   `json:"answer"`
	Hits
	LogProb  float64       `json:"log_prob"`
	Ended    bool          `json:"ended"`
	Tokens   []string      `json:"tokens,omitempty"`    // pieces of the answer's text; of the sample's own states alone
	LogProbs []float64     `json:"log_probs,omitempty"` // of each token and, where it ended, of the end; rounded
	Others   []Alternative `json:"others,omitempty"`    // less likely answers, where they are restricted to the catalogue
}

// Alternative is an answer that was not the likeliest.
type Alternative struct {
	Answer  string  `json:"answer"`
	LogProb float64 `json:"log_prob"`
}

// Answers are what an evaluation was told.
type Answers struct {
	Header  Header
	Records []Record // of one condition after the other
	n       int      // samples they are about
}

// ReadAnswers reads the file of a finished evaluation.
func ReadAnswers(path string) (*Answers, error) {
	h, lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	a := &Answers{Header: h}
	shard, err := ParseShard(h.Shard)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %s: %w", path, err)
	}
	from, to, err := shard.of(h.N)
	if err != nil {
		return nil, err
	}
	a.n = to - from
	if want := a.n * len(h.Conditions); len(lines) != want || want == 0 {
		return nil, fmt.Errorf("evaluate: %s holds %d of %d answers; the same command goes on with it", path, len(lines), want)
	}
	a.Records = make([]Record, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &a.Records[i]); err != nil {
			return nil, fmt.Errorf("evaluate: %s, line %d: %w", path, i+2, err)
		}
		if got, want := a.Records[i].Condition, h.Conditions[i/a.n]; got != want {
			return nil, fmt.Errorf("evaluate: %s, line %d is about the condition %q, not %q", path, i+2, got, want)
		}
	}
	return a, nil
}

// Of gives the records of one condition.
func (a *Answers) Of(condition string) []Record {
	at := slices.Index(a.Header.Conditions, condition)
	if at < 0 {
		return nil
	}
	return a.Records[at*a.n : (at+1)*a.n]
}

// journal is a file of answers that grows a chunk at a time. Without a path it lives in memory alone.
type journal struct {
	Answers
	file *os.File
	lock *artifact.Lock
}

// openJournal starts a file or reads what an earlier sitting left in it, whole chunks only, and cuts off the rest. It
// refuses a file that belongs to another evaluation.
func openJournal(path string, h Header, samples []Sample) (*journal, error) {
	j := &journal{Answers: Answers{Header: h, n: len(samples)}}
	if path == "" {
		return j, nil
	}
	lock, err := artifact.Claim(path)
	if err != nil {
		return nil, err
	}
	j.lock = lock
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("evaluate: %w", err), j.close())
	}
	length, err := j.read(path, data, samples)
	if err != nil {
		return nil, errors.Join(err, j.close())
	}
	if j.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("evaluate: the answers cannot be written: %w", err), j.close())
	}
	if err := j.file.Truncate(length); err != nil {
		return nil, errors.Join(err, j.close())
	}
	if _, err := j.file.Seek(length, 0); err != nil {
		return nil, errors.Join(err, j.close())
	}
	if length == 0 {
		if err := j.write(h); err != nil {
			return nil, errors.Join(err, j.close())
		}
	}
	return j, nil
}

// read takes up the complete chunks of data and says how many bytes they are.
func (j *journal) read(path string, data []byte, samples []Sample) (length int64, err error) {
	own, err := json.Marshal(j.Header)
	if err != nil {
		return 0, err
	}
	line, rest, complete := bytes.Cut(data, []byte("\n"))
	if !complete && bytes.HasPrefix(own, line) {
		return 0, nil // empty, or cut within the header
	}
	if !bytes.Equal(line, own) {
		var was Header
		if json.Unmarshal(line, &was) == nil && was.Label == j.Header.Label && !slices.Equal(was.Conditions, j.Header.Conditions) {
			return 0, fmt.Errorf("evaluate: %s was asked under the conditions %q, not %q; move it away to ask anew", path, was.Conditions,
				j.Header.Conditions)
		}
		return 0, fmt.Errorf("evaluate: %s holds the answers of another evaluation; remove it to start again", path)
	}
	at := int64(len(line) + 1)
	length = at
	var pending []Record
	for n := 0; n < len(samples)*len(j.Header.Conditions); n++ {
		line, rest, complete = bytes.Cut(rest, []byte("\n"))
		if !complete {
			break
		}
		var r Record
		sample := n % len(samples)
		if err := json.Unmarshal(line, &r); err != nil || r.Sample != samples[sample].ID ||
			!slices.Equal(r.Titles, samples[sample].Titles) || r.Condition != j.Header.Conditions[n/len(samples)] {
			return 0, fmt.Errorf("evaluate: %s, line %d: not the answer to sample %s; remove the file to start again",
				path, n+2, samples[sample].ID)
		}
		pending = append(pending, r)
		at += int64(len(line) + 1)
		if (sample+1)%Chunk == 0 || sample+1 == len(samples) {
			j.Records, pending, length = append(j.Records, pending...), nil, at
		}
	}
	untold := func(r Record) bool { return r.Condition == TrueState && r.Answer != "" && r.LogProbs == nil }
	if len(j.Records) < len(samples)*len(j.Header.Conditions) && slices.ContainsFunc(j.Records, untold) {
		return 0, fmt.Errorf("evaluate: %s was begun by an earlier version, which kept no probabilities of tokens; "+
			"remove it to start again", path)
	}
	return length, nil
}

// add writes the records of one chunk.
func (j *journal) add(records []Record) error {
	var lines []any
	for _, r := range records {
		lines = append(lines, r)
	}
	if err := j.write(lines...); err != nil {
		return err
	}
	j.Records = append(j.Records, records...)
	return nil
}

func (j *journal) write(lines ...any) error {
	if j.file == nil {
		return nil
	}
	var text []byte
	for _, line := range lines {
		encoded, err := json.Marshal(line)
		if err != nil {
			return err
		}
		text = append(append(text, encoded...), '\n')
	}
	if _, err := j.file.Write(text); err != nil {
		return fmt.Errorf("evaluate: the answers cannot be written: %w", err)
	}
	return nil
}

func (j *journal) close() error {
	var err error
	if j.file != nil {
		err = errors.Join(j.file.Sync(), j.file.Close())
	}
	if j.lock != nil {
		err = errors.Join(err, j.lock.Release())
	}
	return err
}
