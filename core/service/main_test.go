package service

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Folders of runs, for reading.
var residual, recovery, dreams, item string

func TestMain(m *testing.M) { os.Exit(withRuns(m)) }

// withRuns makes the runs, and fails the tests if one of them has left a native object or a goroutine alive.
func withRuns(m *testing.M) int {
	dir, err := os.MkdirTemp("", "recint-service-test-")
	defer os.RemoveAll(dir)
	for _, r := range []struct {
		folder *string
		name   string
		model  string
		kind   align.Kind
	}{
		{&residual, "residual", recommender.SASRec, align.MLP}, {&recovery, "recovery", recommender.SASRec, align.Positions},
		{&dreams, "dreams", recommender.DreamRec, align.MLP}, {&item, "item", recommender.DreamRec, align.Linear},
	} {
		if err == nil {
			*r.folder, err = testrun.Make(dir, r.name, r.model, r.kind)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := leak.Run(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// open opens a service that is closed at the end of the test.
func open(t testing.TB, dir string, opts Options) *Service {
	t.Helper()
	if opts.MaxTokens == 0 {
		opts.MaxTokens = 24
	}
	opts.Engine = testllm.Engine(t) // of one thread, which waits for no other one
	s, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Residual is the folder of a run for the examples.
func Residual() string { return residual }
