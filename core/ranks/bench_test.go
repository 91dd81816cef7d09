package ranks_test

import (
	"fmt"
	"testing"

	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// BenchmarkSum measures how long a step takes beside computing: leaves of an adapter of 1.3 million
// numbers, 4 on each rank, are gathered, added up and spread. Every rank makes as many steps, so
// give their number:
//
//	go test -c -o ranks.test ./core/ranks && mpirun -n 4 ./ranks.test -test.run '^$' -test.bench Sum -test.benchtime 20x
func BenchmarkSum(b *testing.B) {
	group, err := ranks.Join(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	m := &model{make([]float32, 1_300_000)}
	leaves := make([]ranks.Leaf, 4*group.Size())
	for i := range leaves {
		leaves[i].Weight = 0.5 // also alone they are added up here, not in the model
	}
	if _, err := group.First(b.Context(), 0); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := group.Sum(b.Context(), m, leaves, func(leaf int) (float64, error) { return 0, nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(leaves)), "leaves")
	if err := group.Leave(nil); err != nil {
		b.Fatal(fmt.Errorf("leaving: %w", err))
	}
}
