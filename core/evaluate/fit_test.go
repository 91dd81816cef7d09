package evaluate

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFit_byHand(t *testing.T) {
	for _, c := range []struct {
		what   string
		each   time.Duration // of an answer
		budget time.Duration
		total  int
		want   int
	}{
		// 8 + 64 answers and a second of preparation take 8.2 s; what is left of two minutes has
		// time for 1,118.
		{"a fast machine", 100 * time.Millisecond, 2 * time.Minute, 5000, 1110},
		{"a slow machine", 600 * time.Millisecond, 2 * time.Minute, 5000, 120},
		{"a fast machine with few samples", 100 * time.Millisecond, 2 * time.Minute, 300, 300},
		{"a budget that the measurement has spent", 10 * time.Second, time.Minute, 5000, 100},
		{"fewer samples than are timed", time.Minute, time.Minute, 20, 20},
	} {
		now, prepared := time.Unix(0, 0), false
		n, err := fit(c.budget, c.total, func(samples int) error {
			if !prepared {
				now, prepared = now.Add(time.Second), true
			}
			now = now.Add(time.Duration(samples) * c.each)
			return nil
		}, func() time.Time { return now })
		if err != nil || n != c.want {
			t.Errorf("%s: %d samples, want %d: %v", c.what, n, c.want, err)
		}
	}
	failed := errors.New("no answer")
	if _, err := fit(time.Minute, 10, func(int) error { return failed }, time.Now); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}

func Test_begun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.jsonl")
	if n, err := begun(path); n != 0 || err != nil {
		t.Errorf("no file: %d, %v", n, err)
	}
	samples, catalogue := cases(7)
	if _, err := asking(t.Context(), samples, catalogue, reader, Options{Path: path}); err != nil {
		t.Fatal(err)
	}
	if n, err := begun(path); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := asking(t.Context(), samples, catalogue, reader, Options{Path: path, Drawn: 9}); err != nil { // 2 sequences gave no sample
		t.Fatal(err)
	}
	if n, err := Within(time.Minute, path, 100, nil); n != 9 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := os.WriteFile(path, []byte("apples\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := begun(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}
