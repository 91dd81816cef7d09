package service

import (
	"fmt"
	"os"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/internal/leak"
	"github.com/recinterpreter/recinterpreter/core/internal/testllm"
	"github.com/recinterpreter/recinterpreter/core/internal/testrun"
)

// Folders of runs, for reading.
var residual, recovery, dreams, item, popularity string

func TestMain(m *testing.M) { os.Exit(withRuns(m)) }

// withRuns makes the runs, and fails the tests if one of them has left a native object or a
// goroutine alive.
func withRuns(m *testing.M) int {
	dir, err := os.MkdirTemp("", "recint-service-test-")
	defer os.RemoveAll(dir)
	var folders map[string]string
	if err == nil {
		folders, err = testrun.All(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	residual, recovery, dreams, item, popularity = folders["residual"], folders["recovery"], folders["dreams"], folders["item"], folders["popularity"]
	return leak.Goroutines(leak.Run(m))
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
