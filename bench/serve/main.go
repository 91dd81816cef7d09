// Command serve measures how fast a trained run is served, in process and over HTTP on this machine (docs/serving.md):
//
//	serve [-for 10s] RUN
//
// RUN is a residual run's folder. Nothing else should use the machine meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/recinterpreter/recinterpreter/core/recommender"
	"github.com/recinterpreter/recinterpreter/core/serve"
	"github.com/recinterpreter/recinterpreter/core/service"
)

func main() {
	length := flag.Duration("for", 10*time.Second, "how long each figure is measured")
	flag.Parse()
	if err := measure(flag.Arg(0), *length); err != nil {
		fmt.Fprintln(os.Stderr, "serve: "+err.Error())
		os.Exit(1)
	}
}

func measure(dir string, length time.Duration) error {
	s, err := service.Open(dir, service.Options{})
	if err != nil {
		return err
	}
	bodies := requests(s)
	err = errors.Join(inProcess(s, length), s.Close())
	if err != nil {
		return err
	}
	return overHTTP(dir, bodies, length)
}

// histories are random ones of 10 different items.
func histories(items int) func() []int32 {
	random := rand.New(rand.NewPCG(1, 1))
	return func() []int32 {
		history := make([]int32, 0, 10)
		for len(history) < 10 {
			if item := int32(random.IntN(items)); !slices.Contains(history, item) {
				history = append(history, item)
			}
		}
		return history
	}
}

// requests are bodies that ask for recommendations.
func requests(s *service.Service) (bodies [][]byte) {
	next := histories(s.Info().Items)
	for range 200 {
		var ids []string
		for _, item := range next() {
			ids = append(ids, s.Describe(item).ID)
		}
		bodies = append(bodies, []byte(`{"history":["`+strings.Join(ids, `","`)+`"]}`))
	}
	return bodies
}

// inProcess measures recommendations, single interpretations, and those of 16 callers at a time.
func inProcess(s *service.Service, length time.Duration) error {
	ctx, info := context.Background(), s.Info()
	next, best := histories(info.Items), make([]recommender.Scored, 0, 10)
	recommend, err := times(length, func() (err error) {
		best, err = s.Recommend(ctx, best[:0], next(), 10)
		return err
	})
	if err != nil {
		return err
	}
	show(fmt.Sprintf("encode + top 10 of %d items, in process", info.Items), recommend)

	ask := func(history []int32) error {
		_, err := s.Interpret(ctx, service.Question{History: history}, nil)
		return err
	}
	for range 5 { // warms up
		if err := ask(next()); err != nil {
			return err
		}
	}
	// One caller and many in turn, since a machine may be slower now than a moment ago.
	const callers, rounds = 16, 5
	var single, together []time.Duration
	var alone, all time.Duration // how long each went on
	before := s.Stats()
	singles := int64(0)
	for range rounds {
		begin := time.Now()
		one, err := times(length/rounds, func() error { return ask(next()) })
		if err != nil {
			return err
		}
		single, alone, singles = append(single, one...), alone+time.Since(begin), singles+int64(len(one))
		begin = time.Now()
		many, err := callersTimes(callers, length/rounds, next, ask)
		if err != nil {
			return err
		}
		together, all = append(together, many...), all+time.Since(begin)
	}
	show("interpretation, one caller", single)
	show(fmt.Sprintf("interpretation, %d callers", callers), together)
	rates := [2]float64{float64(len(single)) / alone.Seconds(), float64(len(together)) / all.Seconds()}
	after := s.Stats()
	fmt.Printf("%.1f interpretations/s alone, %.1f with %d callers: %.2f times as many; %.1f questions in a batch\n", rates[0], rates[1],
		callers, rates[1]/rates[0], float64(after.Asked-before.Asked-singles)/float64(after.Batches-before.Batches-singles))
	return nil
}

// callersTimes lets some callers ask at a time, and measures each question.
func callersTimes(callers int, length time.Duration, next func() []int32, ask func([]int32) error) ([]time.Duration, error) {
	each, failed := make([][]time.Duration, callers), make([]error, callers)
	var mu sync.Mutex // of next
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			each[i], failed[i] = times(length, func() error {
				mu.Lock()
				history := next()
				mu.Unlock()
				return ask(history)
			})
		})
	}
	all.Wait()
	return slices.Concat(each...), errors.Join(failed...)
}

// times repeats something and measures each time.
func times(length time.Duration, body func() error) (all []time.Duration, err error) {
	for end := time.Now().Add(length); time.Now().Before(end); {
		begin := time.Now()
		if err := body(); err != nil {
			return nil, err
		}
		all = append(all, time.Since(begin))
	}
	return all, nil
}

func show(what string, all []time.Duration) {
	slices.Sort(all)
	at := func(share float64) time.Duration { return all[int(share*float64(len(all)-1))].Round(time.Microsecond) }
	fmt.Printf("%-42s p50 %9v  p95 %9v  p99 %9v  n = %d\n", what, at(.5), at(.95), at(.99), len(all))
}

// overHTTP measures recommendations at 500 a second on loopback.
func overHTTP(dir string, bodies [][]byte, length time.Duration) error {
	server, err := serve.New([]serve.Run{{Name: "run", Dir: dir}}, serve.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer server.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	var targets []vegeta.Target
	for _, body := range bodies {
		targets = append(targets, vegeta.Target{Method: "POST", URL: "http://" + listener.Addr().String() + "/v1/recommend",
			Body: body, Header: http.Header{"Content-Type": {"application/json"}}})
	}
	var all []time.Duration
	var failed error
	rate := vegeta.Rate{Freq: 500, Per: time.Second}
	for result := range vegeta.NewAttacker().Attack(vegeta.NewStaticTargeter(targets...), rate, length, "") {
		if result.Code != http.StatusOK {
			failed = fmt.Errorf("%d %s", result.Code, result.Error)
		}
		all = append(all, result.Latency)
	}
	cancel()
	show("the same over HTTP, 500 requests/s", all)
	return errors.Join(failed, <-ended)
}
