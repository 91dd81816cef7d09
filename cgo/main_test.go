package cgo_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// TestMain fails when a test has left a native object alive. Cleanups run on a goroutine of their
// own after a collection, so they are given a while.
func TestMain(m *testing.M) {
	code := m.Run()
	if live := cgo.Settle(); live != (cgo.LiveCounts{}) {
		fmt.Fprintf(os.Stderr, "native objects left alive: %+v\n", live)
		code = 1
	}
	os.Exit(code)
}
