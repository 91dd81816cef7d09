package cgo_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// TestMain fails when a test has left a native object alive. Cleanups run on a goroutine of their own after a
// collection, so they are given a while.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 100 {
		if runtime.GC(); cgo.Live() == (cgo.LiveCounts{}) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if live := cgo.Live(); live != (cgo.LiveCounts{}) {
		fmt.Fprintf(os.Stderr, "native objects left alive: %+v\n", live)
		code = 1
	}
	os.Exit(code)
}
