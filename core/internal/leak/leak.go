// Package leak lets the tests of a package fail when one of them has left a native object alive.
package leak

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Main runs the tests of a package and ends the process: what its TestMain calls.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run runs the tests of a package and gives the exit code, for a TestMain that has something to
// tidy up.
func Run(m *testing.M) int {
	code := m.Run()
	if live := cgo.Settle(); live != (cgo.LiveCounts{}) {
		fmt.Fprintf(os.Stderr, "native objects left alive: %+v\n", live)
		code = 1
	}
	return code
}

// Goroutines gives the exit code of tests that are over, or 1 if they have left a goroutine alive.
func Goroutines(code int) int {
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
