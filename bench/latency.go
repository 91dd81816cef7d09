package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/run"
	"github.com/recinterpreter/recinterpreter/core/serve"
	"github.com/recinterpreter/recinterpreter/core/service"
)

// The load of a service.
const (
	requestsPerSecond = 500
	callers           = 16
)

func (b *bed) latencies(context.Context) ([]work, error) {
	return []work{b.recommending(), b.recommendingHTTP(), b.interpreting(), b.interpretingTogether(), b.overloaded()}, nil
}

// load is how long a repetition with a service goes on: questions to an LLM take long.
func (b *bed) load() time.Duration { return 3 * b.Length }

// randomHistories gives ones of 10 different items.
func randomHistories(items int) func() []int32 {
	random := rand.New(rand.NewPCG(1, 1))
	return func() []int32 {
		history := make([]int32, 0, recommenderPositions)
		for len(history) < min(recommenderPositions, items) {
			if item := int32(random.IntN(items)); !slices.Contains(history, item) {
				history = append(history, item)
			}
		}
		return history
	}
}

func (b *bed) recommending() work {
	return work{
		Figure: Figure{Name: "state and top 10, in process", Unit: "requests", Asked: "p99 at most 200 µs"},
		open: func(ctx context.Context) (*ready, error) {
			s, err := service.Open(b.Run, service.Options{Engine: b.engine})
			if err != nil {
				return nil, err
			}
			next, best := randomHistories(s.Info().Items), make([]recommender.Scored, 0, 10)
			return &ready{close: s.Close, once: func(ctx context.Context) (measured, error) {
				return calls(b.load(), 1, func() (err error) {
					best, err = s.Recommend(ctx, best[:0], next(), 10)
					return err
				})
			}}, nil
		},
	}
}

// recommendingHTTP sends requests at a fixed rate over loopback.
func (b *bed) recommendingHTTP() work {
	return work{
		Figure: Figure{Name: fmt.Sprintf("state and top 10, over HTTP at %d requests/s", requestsPerSecond), Unit: "requests",
			Asked: "p99 at most 1 ms"},
		open: func(context.Context) (*ready, error) {
			spec, err := run.Read(b.Run)
			if err != nil {
				return nil, err
			}
			d, err := dataset.Load(spec.Dataset)
			if err != nil {
				return nil, err
			}
			bodies := requests(d)
			server, err := serve.New([]serve.Run{{Name: "run", Dir: b.Run}}, serve.Options{Log: slog.New(slog.DiscardHandler),
				Service: service.Options{Engine: b.engine}})
			if err != nil {
				return nil, err
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, errors.Join(err, server.Close())
			}
			var targets []vegeta.Target
			for _, body := range bodies {
				targets = append(targets, vegeta.Target{Method: "POST", URL: "http://" + listener.Addr().String() + "/v1/recommend",
					Body: body, Header: http.Header{"Content-Type": {"application/json"}}})
			}
			serving, stop := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(serving, listener) }()
			return &ready{
				close: func() error {
					stop()
					return errors.Join(<-ended, server.Close())
				},
				once: func(context.Context) (measured, error) { return attack(targets, b.load()) },
			}, nil
		},
	}
}

// attack sends the targets in turn at a fixed rate; everything must be answered well.
func attack(targets []vegeta.Target, length time.Duration) (measured, error) {
	var all []time.Duration
	var failed error
	rate := vegeta.Rate{Freq: requestsPerSecond, Per: time.Second}
	start := time.Now()
	for result := range vegeta.NewAttacker().Attack(vegeta.NewStaticTargeter(targets...), rate, length, "") {
		if result.Code != http.StatusOK {
			failed = fmt.Errorf("an answer has the status %d: %s", result.Code, result.Error)
		}
		all = append(all, result.Latency)
	}
	return latencies(all, 1, time.Since(start)), failed
}

// requests are the bodies of some for recommendations.
func requests(d *dataset.Dataset) (bodies [][]byte) {
	next := randomHistories(len(d.Items))
	for range 200 {
		var ids []string
		for _, item := range next() {
			ids = append(ids, d.Items[item].ID)
		}
		bodies = append(bodies, []byte(`{"history":["`+strings.Join(ids, `","`)+`"]}`))
	}
	return bodies
}

// asker gives a function that asks a service about a random history. Many goroutines may call it.
func asker(s *service.Service) func(context.Context) error {
	next := randomHistories(s.Info().Items)
	var mu sync.Mutex // of next
	return func(ctx context.Context) error {
		mu.Lock()
		history := next()
		mu.Unlock()
		_, err := s.Interpret(ctx, service.Question{History: history}, nil)
		return err
	}
}

func (b *bed) interpreting() work {
	return work{
		Figure: Figure{Name: "one interpretation at a time", Unit: "interpretations", Asked: "p50 at most 120 ms"},
		open: func(context.Context) (*ready, error) {
			s, err := service.Open(b.Run, service.Options{Engine: b.engine})
			if err != nil {
				return nil, err
			}
			ask := asker(s)
			return &ready{close: s.Close, once: func(ctx context.Context) (measured, error) {
				return calls(b.load(), 1, func() error { return ask(ctx) })
			}}, nil
		},
	}
}

// crowd lets so many ask at a time, each again and again, and sums up what was accepted. Who is
// refused, since the service has no room, asks again a little later; that time is not counted.
func (b *bed) crowd(s *service.Service, size int) func(context.Context) (measured, error) {
	ask := asker(s)
	return func(ctx context.Context) (measured, error) {
		var all sync.WaitGroup
		took, failed := make([][]time.Duration, size), make([]error, size)
		start := time.Now()
		for i := range size {
			all.Go(func() {
				for failed[i] == nil && time.Since(start) < b.load() {
					asked := time.Now()
					switch err := ask(ctx); {
					case err == nil:
						took[i] = append(took[i], time.Since(asked))
					case errors.Is(err, service.ErrBusy):
						time.Sleep(50 * time.Millisecond)
					default:
						failed[i] = err
					}
				}
			})
		}
		all.Wait()
		answered := slices.Concat(took...)
		if err := errors.Join(failed...); err != nil || len(answered) == 0 {
			return measured{}, errors.Join(err, fmt.Errorf("%d of %d callers were answered", len(answered), size))
		}
		return latencies(answered, 1, time.Since(start)), nil
	}
}

// crowded compares the work of one crowd with that of a smaller one, in the same rounds.
func (b *bed) crowded(name, asked string, size int, beside string, fewer int, opts service.Options) work {
	return work{
		Figure: Figure{Name: name, Unit: "interpretations", Asked: asked},
		open: func(context.Context) (*ready, error) {
			opts.Engine = b.engine
			s, err := service.Open(b.Run, opts)
			if err != nil {
				return nil, err
			}
			return &ready{close: s.Close, once: b.crowd(s, size), beside: &side{
				program: Program + ", " + beside, memory: func() int64 { return 0 }, close: func() error { return nil },
				once: b.crowd(s, fewer),
			}}, nil
		},
	}
}

func (b *bed) interpretingTogether() work {
	return b.crowded(fmt.Sprintf("interpretations for %d callers", callers), "3 × one caller", callers, "one caller", 1, service.Options{})
}

// overloaded has five times as many callers as the service has room for.
func (b *bed) overloaded() work {
	const slots, queue = callers / 2, callers / 2
	return b.crowded(fmt.Sprintf("interpretations for %d callers where there is room for %d", 5*callers, callers),
		"the p99 of as many callers as there is room for", 5*callers, fmt.Sprintf("%d callers", callers), callers,
		service.Options{Slots: slots, Queue: queue})
}
