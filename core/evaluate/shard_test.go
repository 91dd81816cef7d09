package evaluate

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Three shards, one of them killed and resumed, merge to the bytes of the whole, from which the
// same figures come.
func TestMerge_equalsTheWhole(t *testing.T) {
	samples, catalogue := cases(5*Chunk + 7)
	dir := t.TempDir()
	opts := Options{Seed: 3, Controls: true, Restricted: ranker, Label: "a", Path: filepath.Join(dir, "whole.jsonl")}
	whole, err := asking(t.Context(), samples, catalogue, reader, opts)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(opts.Path)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	hits, n := 0, 0
	for _, i := range []int{2, 3, 1} {
		opts.Shard = Shard{i, 3}
		opts.Path = filepath.Join(dir, fmt.Sprintf("%d.jsonl", i))
		paths = append(paths, opts.Path)
		for range 2 {
			result, err := asking(t.Context(), samples, catalogue, reader, opts)
			if err != nil {
				t.Fatal(err)
			}
			if i == 2 {
				if err := os.Truncate(opts.Path, 20000); err != nil {
					t.Fatal(err)
				}
				i = -i
				continue
			}
			if want := opts.Shard.String(); result.Shard != want {
				t.Errorf("the result says it is of shard %q, not %q", result.Shard, want)
			}
			hits, n = hits+result.Conditions[3].Exact.Hits, n+result.N
			break
		}
	}
	if n != len(samples) || hits != whole.Conditions[3].Exact.Hits {
		t.Errorf("%d hits in %d samples of the shards, want %d in %d", hits, n, whole.Conditions[3].Exact.Hits, len(samples))
	}
	merged := filepath.Join(dir, "merged.jsonl")
	if err := Merge(merged, paths); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(merged); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("merged to other bytes (%v)", err)
	}
	opts.Path, opts.Shard = merged, Shard{}
	result, err := asking(t.Context(), samples, catalogue, nil, opts) // nothing is asked
	if err != nil || !reflect.DeepEqual(result, whole) {
		t.Errorf("%+v, %v; want %+v", result, err, whole)
	}

	// What cannot be merged.
	garbage, cut := filepath.Join(dir, "garbage"), filepath.Join(dir, "cut.jsonl")
	if err := os.WriteFile(garbage, []byte("nothing\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	shard, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, shard[:len(shard)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	opts = Options{Label: "b", Path: filepath.Join(dir, "other.jsonl"), Shard: Shard{1, 3}, Controls: true, Restricted: ranker, Seed: 3}
	if _, err := asking(t.Context(), samples, catalogue, reader, opts); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"one missing": {paths[:2], "one for each shard"},
		"twice":       {[]string{paths[0], paths[1], paths[1]}, "twice"},
		"incomplete":  {[]string{cut, paths[1], paths[2]}, "continues it"},
		"no file":     {[]string{filepath.Join(dir, "absent")}, "no such file"},
		"garbage":     {[]string{garbage}, "no file of answers"},
		"whole":       {[]string{merged}, "is no shard"},
		"another":     {[]string{paths[0], paths[1], opts.Path}, "another evaluation"},
	} {
		to := filepath.Join(dir, "refused.jsonl")
		if err := Merge(to, c.paths); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: a file was written", name)
		}
	}
}

func TestShard(t *testing.T) {
	for _, text := range []string{"x", "1", "0/4", "5/4", "1/0", "1/2/3", "-1/2", "1/"} {
		if _, err := ParseShard(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
	s, err := ParseShard("2/4")
	if err != nil || s != (Shard{2, 4}) || s.String() != "2/4" {
		t.Errorf("%+v, %v", s, err)
	}
	for _, n := range []int{1, 5, Chunk, Chunk + 1, 10*Chunk + 3} {
		for of := 1; of <= (n+Chunk-1)/Chunk; of++ {
			next := 0
			for i := 1; i <= of; i++ {
				from, to, err := Shard{i, of}.of(n)
				if err != nil || from != next || to <= from {
					t.Fatalf("%d samples, shard %d/%d: %d to %d, %v", n, i, of, from, to, err)
				}
				next = to
			}
			if next != n {
				t.Fatalf("%d samples, %d shards: they end at %d", n, of, next)
			}
		}
	}
	if _, _, err := (Shard{1, 3}).of(2 * Chunk); err == nil || !strings.Contains(err.Error(), "2 shards at most") {
		t.Errorf("too many shards: %v", err)
	}
}
