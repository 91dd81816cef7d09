package main

import (
	"context"
	"sync"

	"github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
)

func init() {
	register.DoFn3x1[context.Context, []byte, func(int64), error](&list{})
	register.DoFn2x1[context.Context, int64, error](&answer{})
	register.Emitter1[int64]()
}

// Counters of the pipeline.
const (
	partsThere    = "parts"
	partsAnswered = "parts answered"
	rowsAnswered  = "rows"
	deadLetters   = "dead letters"
	workersKilled = "workers killed"
)

func count(ctx context.Context, name string, n int64) { beam.NewCounter("recint", name).Inc(ctx, n) }

// build makes the pipeline: the numbers of all parts, spread over the workers.
func (j job) build(s beam.Scope) {
	numbers := beam.ParDo(s, &list{Job: j}, beam.Impulse(s))
	beam.ParDo0(s, &answer{Job: j}, beam.Reshuffle(s, numbers))
}

// list gives the numbers of the parts. It opens the run for that, so that a job that cannot be done
// fails here.
type list struct{ Job job }

func (l *list) ProcessElement(ctx context.Context, _ []byte, emit func(int64)) error {
	var parts int64
	died, err := insist(func() error {
		p, err := l.Job.start()
		if err != nil {
			return err
		}
		parts = p.parts
		return p.end()
	})
	for number := range parts {
		emit(number)
	}
	count(ctx, partsThere, parts)
	count(ctx, workersKilled, died)
	return err
}

// answer answers parts.
type answer struct {
	Job  job
	pool *pool
}

func (a *answer) Setup() {
	pools.Lock()
	defer pools.Unlock()
	key := a.Job.key()
	if pools.of[key] == nil {
		pools.of[key] = newPool(a.Job)
	}
	a.pool = pools.of[key]
	a.pool.users++
}

func (a *answer) Teardown() error {
	pools.Lock()
	defer pools.Unlock()
	if a.pool.users--; a.pool.users > 0 {
		return nil
	}
	delete(pools.of, a.Job.key())
	return a.pool.end()
}

func (a *answer) ProcessElement(ctx context.Context, number int64) error {
	part, killed, err := a.pool.answer(number)
	count(ctx, workersKilled, killed)
	if err == nil && part.Rows > 0 {
		count(ctx, partsAnswered, 1)
		count(ctx, rowsAnswered, part.Rows)
		count(ctx, deadLetters, part.Wrong)
	}
	return err
}

// pools has the processes of each job. Beam makes a DoFn for each bundle that runs at the same
// time; they share what their machine has room for.
var pools = struct {
	sync.Mutex
	of map[string]*pool
}{of: map[string]*pool{}}
