// Command catalogue measures SASRec on a large catalogue of synthetic histories: the steps of a
// sampled softmax, the ranking of held-out items among all items, and the best 10 of one history.
// bench/peers/catalogue.py does the same in PyTorch and NumPy.
//
//	go run ./bench/catalogue [-items N] [-sequences N] [-rank N]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

func main() {
	items := flag.Int("items", 1_000_000, "in the catalogue")
	sequences := flag.Int("sequences", 20_000, "to train on, once")
	ranked := flag.Int("rank", 10_000, "histories to rank all items for")
	threads := flag.Int("threads", 0, "0: all processors")
	flag.Parse()
	if err := measure(*items, *sequences, *ranked, *threads); err != nil {
		log.Fatal(err)
	}
}

// draw makes histories of 10 items, of which few are popular.
func draw(items, n int) []dataset.Sequence {
	random := rand.New(rand.NewPCG(1, 1))
	item := func() int32 { return int32(math.Pow(random.Float64(), 3) * float64(items)) }
	all := make([]dataset.Sequence, n)
	for i := range all {
		for range 10 {
			all[i].History = append(all[i].History, item())
		}
		all[i].Next = item()
	}
	return all
}

func measure(items, n, ranked, threads int) error {
	engine, err := cgo.NewEngine(cgo.EngineParams{Threads: threads})
	if err != nil {
		return err
	}
	defer engine.Close()
	c, err := recommender.Default("sasrec", items)
	if err != nil {
		return err
	}
	c.MaxEpochs = 1
	ctx, train := context.Background(), draw(items, n)
	var start time.Time
	var rate float64
	trained, err := recommender.Train(ctx, engine, c, dataset.Split{Train: train, Validation: train[:1]},
		recommender.Options{Progress: func(p recommender.Progress) {
			switch p.Step {
			case 2: // the first ones build the graph
				start = time.Now()
			case p.Steps:
				rate = float64((p.Steps-2)*c.BatchSize) / time.Since(start).Seconds()
			}
		}})
	if err != nil {
		return err
	}
	defer trained.Close()
	fmt.Printf("items %d, drawn for each batch %d\ntraining: %.0f sequences/s, %.0f ms/step\n", items, c.Sampled, rate,
		1000*float64(c.BatchSize)/rate)

	r := trained.Best
	start = time.Now()
	if _, err := recommender.Evaluate(ctx, r, draw(items, ranked), nil); err != nil {
		return err
	}
	fmt.Printf("ranking %d histories among all items: %.2f s\n", ranked, time.Since(start).Seconds())

	encoder, took := r.Encoder(), []float64(nil)
	for _, s := range train[:min(100, len(train))] {
		start = time.Now()
		if _, err := encoder.Recommend(nil, s.History, 10); err != nil {
			return err
		}
		took = append(took, time.Since(start).Seconds())
	}
	slices.Sort(took)
	fmt.Printf("top 10 of one history: p50 %.1f ms, p95 %.1f ms\n", 1000*took[len(took)/2], 1000*took[len(took)*95/100])
	return nil
}
