package ranks_test

import (
	"context"
	"fmt"
	"log"

	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// The same program trains alone and under mpirun: training in the context is shared by all ranks,
// and rank 0 writes the files.
func Example() {
	ctx := context.Background()
	group, err := ranks.Join(ctx)
	if err != nil {
		log.Fatal(err)
	}
	ctx = ranks.With(ctx, group)
	// recommender.Train(ctx, …) and align.Train(ctx, …) use the ranks of ctx.
	if g := ranks.Of(ctx); g.Writes() {
		fmt.Println("rank", g.Rank(), "of", g.Size())
	}
	if err := group.Leave(err); err != nil {
		log.Fatal(err)
	}
	// Output: rank 0 of 1
}
