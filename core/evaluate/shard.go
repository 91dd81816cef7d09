package evaluate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Shard is part I of N, counted from 1, of the samples of an evaluation that several machines share.
type Shard struct{ I, N int }

// ParseShard reads "2/4"; nothing is the whole.
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

// String is what ParseShard reads.
func (s Shard) String() string {
	if s == (Shard{}) {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.I, s.N)
}

// of gives the shard's samples [from, to) of all: whole chunks, so that each chunk is answered as it would be without shards.
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

// Merge joins the files of answers of all shards of an evaluation to the one that it would have written without shards, byte for
// byte.
func Merge(to string, shards []string) error {
	var whole Header
	lines := make([][][]byte, len(shards)) // of each shard, in their order
	for _, path := range shards {
		h, answers, err := readLines(path)
		if err != nil {
			return err
		}
		if h.Shard == "" {
			return fmt.Errorf("evaluate: %s is no shard: it was made without --shard", path)
		}
		shard, err := ParseShard(h.Shard)
		if err != nil || shard.N != len(shards) {
			return fmt.Errorf("evaluate: %s is shard %q, but there are %d files; give one for each shard", path, h.Shard, len(shards))
		}
		from, last, err := shard.of(h.N)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if want := (last - from) * len(h.Conditions); len(answers) != want {
			return fmt.Errorf("evaluate: %s holds %d of its %d answers; the same command with --shard %s goes on with it", path,
				len(answers), want, h.Shard)
		}
		if lines[shard.I-1] != nil {
			return fmt.Errorf("evaluate: shard %s is there twice; the second time in %s", h.Shard, path)
		}
		lines[shard.I-1] = answers
		h.Shard = ""
		if whole.N != 0 && !whole.same(h) {
			return fmt.Errorf("evaluate: %s is of another evaluation than the files before it", path)
		}
		whole = h
	}
	return artifact.WriteAtomic(to, func(w io.Writer) error { return writeMerged(w, whole, lines) })
}

// readLines gives a file's header and its complete lines.
func readLines(path string) (Header, [][]byte, error) {
	var h Header
	data, err := os.ReadFile(path)
	if err != nil {
		return h, nil, fmt.Errorf("evaluate: %w", err)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	lines = lines[:len(lines)-1] // what stands behind the last line break is not complete
	if len(lines) == 0 || json.Unmarshal(lines[0], &h) != nil || h.N < 1 {
		return h, nil, fmt.Errorf("evaluate: %s is no file of answers", path)
	}
	return h, lines[1:], nil
}

func (h Header) same(other Header) bool {
	a, errA := json.Marshal(h)
	b, errB := json.Marshal(other)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

func writeMerged(w io.Writer, whole Header, shards [][][]byte) error {
	first, err := json.Marshal(whole)
	if err != nil {
		return err
	}
	if _, err := w.Write(append(first, '\n')); err != nil {
		return err
	}
	for c := range whole.Conditions {
		for _, lines := range shards {
			n := len(lines) / len(whole.Conditions)
			if _, err := w.Write(bytes.Join(lines[c*n:(c+1)*n], nil)); err != nil {
				return err
			}
		}
	}
	return nil
}
