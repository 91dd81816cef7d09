package evaluate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Shard is part I of N, counted from 1, of the samples of an evaluation that several machines
// share.
type Shard struct{ I, N int }

// ParseShard reads a shard such as "2/4"; the empty text is the whole.
func ParseShard(text string) (Shard, error) {
	if text == "" {
		return Shard{}, nil
	}
	left, right, _ := strings.Cut(text, "/")
	i, err := strconv.Atoi(left)
	n, err2 := strconv.Atoi(right)
	if err != nil || err2 != nil || i < 1 || i > n {
		return Shard{}, fmt.Errorf("%q is no shard; the second of four is 2/4", text)
	}
	return Shard{i, n}, nil
}

// String gives the form that ParseShard reads.
func (s Shard) String() string {
	if s == (Shard{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.I, s.N)
}

// of gives the range [from, to) of the shard's samples: whole chunks, so that each chunk is
// answered as without shards.
func (s Shard) of(samples int) (from, to int, err error) {
	if s == (Shard{}) {
		return 0, samples, nil
	}
	chunks := (samples + Chunk - 1) / Chunk
	if s.N > chunks {
		return 0, 0, fmt.Errorf("evaluate: %d samples are answered %d at a time, which makes %d shards at most, not %d", samples, Chunk,
			chunks, s.N)
	}
	return chunks * (s.I - 1) / s.N * Chunk, min(samples, chunks*s.I/s.N*Chunk), nil
}

// Merge joins the files of answers of all shards of an evaluation. The result equals the file of
// the evaluation without shards, byte for byte.
func Merge(to string, shards []string) error {
	var whole Header
	answers := make([][]json.RawMessage, len(shards)) // of each shard, in their order
	for _, path := range shards {
		j, _, err := readAnswers[json.RawMessage](path)
		if err != nil {
			return err
		}
		h := j.Header
		if h.Shard == "" {
			return fmt.Errorf("evaluate: %s is no shard but a whole evaluation; give the shards", path)
		}
		shard, err := ParseShard(h.Shard)
		if err != nil || shard.N != len(shards) {
			return fmt.Errorf("evaluate: %s is shard %q, but there are %d files; give one for each shard", path, h.Shard, len(shards))
		}
		if answers[shard.I-1] != nil {
			return fmt.Errorf("evaluate: shard %s is given twice, the second time by %s", h.Shard, path)
		}
		answers[shard.I-1] = j.Records
		h.Shard = ""
		if differs := artifact.Difference(whole, h); whole.N != 0 && differs != "" {
			return fmt.Errorf("evaluate: %s belongs to another evaluation than the files before it: %s", path, differs)
		}
		whole = h
	}
	return artifact.WriteAtomic(to, func(w io.Writer) error {
		encoder := json.NewEncoder(w)
		err := encoder.Encode(whole)
		for c := range whole.Conditions {
			for _, records := range answers {
				n := len(records) / len(whole.Conditions)
				for _, record := range records[c*n : (c+1)*n] {
					err = cmp.Or(err, encoder.Encode(record))
				}
			}
		}
		return err
	})
}
