package states

import (
	"cmp"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/states/statestest"
)

// BenchmarkRead reads all rows of a Parquet file of states. RECINT_STATES names one, for a
// comparison with bench/peers/read_states.py; else 200,000 states of 64 numbers are written for it.
// The rate is that of a core: bytes of floats for each second of CPU time.
func BenchmarkRead(b *testing.B) {
	path := cmp.Or(os.Getenv("RECINT_STATES"), filepath.Join(b.TempDir(), "states.parquet"))
	if os.Getenv("RECINT_STATES") == "" {
		err := statestest.WriteParquet(path, "SELECT 's' || (i // 10) AS sequence, i % 10 AS position, 'a' AS item, "+
			"list_transform(range(64), lambda k: random()::FLOAT) AS state FROM range(200000) r(i)")
		if err != nil {
			b.Fatal(err)
		}
	}
	cpu := func() float64 {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	}
	numbers, began := 0, cpu()
	for b.Loop() {
		s, err := open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		all := make([]float32, 0, numbers)
		err = s.each(b.Context(), func(r *row) error {
			all = append(all, r.state...)
			return finite("state", r.state, len(r.state))
		})
		if s.close(); err != nil {
			b.Fatal(err)
		}
		numbers = len(all)
	}
	b.ReportMetric(float64(b.N)*4*float64(numbers)/1e6/(cpu()-began), "MB/s-of-a-core")
}
