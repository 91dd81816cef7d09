// Command catalogue measures SASRec on a large catalogue of synthetic histories: the steps of a
// sampled softmax, the ranking of held-out items among all items, and the best 10 of one history.
// bench/peers/catalogue.py does the same in PyTorch and NumPy. With a folder it also leaves there
// what other measurements need: titles, events, and the recommender.
//
//	go run ./bench/catalogue [-items N] [-sequences N] [-rank N] [-folder FOLDER] [-events N]
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	folder := flag.String("folder", "", "write items.csv, events.csv and sasrec.safetensors to this `FOLDER`")
	events := flag.Int("events", 10_000_000, "in events.csv")
	flag.Parse()
	var err error
	if *folder != "" {
		err = write(*folder, *items, *events)
	}
	if err == nil {
		err = measure(*items, *sequences, *ranked, *threads, *folder)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// popular draws an item; few are popular.
func popular(random *rand.Rand, items int) int32 {
	return int32(math.Pow(random.Float64(), 3) * float64(items))
}

// title names an item by words that no other item has.
func title(item int) string {
	const consonants, vowels = "bdfghklmnprstvz", "aeiou"
	syllable := func(n int) string {
		return string([]byte{consonants[n/len(vowels)], vowels[n%len(vowels)]})
	}
	const syllables = len(consonants) * len(vowels)
	const words = syllables * syllables
	word := func(n int) string {
		first := syllable(n / syllables)
		return strings.ToUpper(first[:1]) + first[1:] + syllable(n%syllables)
	}
	return word(item%words) + " " + word(item/words%words)
}

// write writes the titles of all items, and events in the order of their time.
func write(folder string, items, events int) error {
	random := rand.New(rand.NewPCG(2, 2))
	users := max(1, events/20)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	for name, lines := range map[string]func(io.Writer){
		"items.csv": func(w io.Writer) {
			fmt.Fprintln(w, "item_id,title")
			for item := range items {
				fmt.Fprintf(w, "%d,%s\n", item, title(item))
			}
		},
		"events.csv": func(w io.Writer) {
			fmt.Fprintln(w, "user_id,item_id,timestamp")
			for event := range events {
				fmt.Fprintf(w, "%d,%d,%d\n", random.IntN(users), popular(random, items), 1_500_000_000+event)
			}
		},
	} {
		file, err := os.Create(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		w := bufio.NewWriterSize(file, 1<<20)
		lines(w)
		if err := errors.Join(w.Flush(), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// draw makes histories of 10 items, of which few are popular.
func draw(items, n int) []dataset.Sequence {
	random := rand.New(rand.NewPCG(1, 1))
	item := func() int32 { return popular(random, items) }
	all := make([]dataset.Sequence, n)
	for i := range all {
		for range 10 {
			all[i].History = append(all[i].History, item())
		}
		all[i].Next = item()
	}
	return all
}

func measure(items, n, ranked, threads int, folder string) error {
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
	if folder != "" {
		if err := r.Save(filepath.Join(folder, "sasrec.safetensors")); err != nil {
			return err
		}
	}
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
