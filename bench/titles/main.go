// Command titles measures what the titles of a large catalogue cost: the grammar of restricted
// answers, the catalogue's index, and searches.
//
//	go run ./bench/titles -llm FILE.gguf [-titles N]
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/grammar"
)

func main() {
	n := flag.Int("titles", 1_000_000, "in the catalogue")
	llm := flag.String("llm", "", "the LLM's file, whose tokens titles are made of")
	flag.Parse()
	if err := measure(*n, *llm); err != nil {
		log.Fatal(err)
	}
}

var (
	words = strings.Fields("golden silent broken distant second winter orchard letter harbour mirror bridge river last first night " +
		"summer king queen house garden road city shadow light fire water stone secret story return dark little great old new " +
		"lost wild blue red black white long dream song war love death time world day man woman child brother sister")
	syllables = strings.Fields("ka ro mi ta an ter los ven el st or din ul qua bre xi mar sen tor lia")
)

// made gives n titles of frequent words and a made-up name, some of them with a year.
func made(n int) *dataset.Dataset {
	random, d := rand.New(rand.NewPCG(1, 1)), &dataset.Dataset{Name: "made"}
	any := func(of []string) string { return of[int(float64(len(of))*random.Float64()*random.Float64())] }
	for i := range n {
		name := ""
		for range 2 + random.IntN(3) {
			name += any(syllables)
		}
		title := any(words)
		for range random.IntN(3) {
			title += " " + any(words)
		}
		title = strings.ToUpper(title[:1]) + title[1:] + " of " + strings.ToUpper(name[:1]) + name[1:]
		raw := title
		if i%2 == 0 {
			raw, title = fmt.Sprintf("%s, The (%d)", title, 1950+random.IntN(70)), "The "+title
		}
		d.Items = append(d.Items, dataset.Item{ID: fmt.Sprint(i), Title: title, RawTitle: raw})
	}
	return d
}

// kept measures the time that something takes and the memory that its result keeps, for each title.
func kept[T any](what string, titles int, do func() (T, error)) (T, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	result, err := do()
	took := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&after)
	fmt.Printf("%s: %.2f s, %.0f bytes for each title\n", what, took.Seconds(), float64(after.HeapAlloc-before.HeapAlloc)/float64(titles))
	return result, err
}

func measure(n int, llm string) error {
	gguf, err := cgo.OpenGGUF(llm)
	if err != nil {
		return err
	}
	defer gguf.Close()
	d := made(n)
	titles := make([]string, n)
	for i, item := range d.Items {
		titles[i] = item.Title
	}
	for _, lines := range []int{1, 10} {
		g, err := kept(fmt.Sprintf("grammar of %d titles on %d lines", n, lines), n, func() (*grammar.Grammar, error) {
			return grammar.Titles(gguf, titles, lines)
		})
		if err != nil {
			return err
		}
		start := time.Now()
		steps := len(g.Next(g.Start()))
		fmt.Printf("%d tokens begin a title, %.1f ms; the longest has %d\n", steps, 1000*time.Since(start).Seconds(), g.Longest())
	}
	c, err := kept("index", n, func() (*dataset.Catalogue, error) { return d.Catalogue(), nil })
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(2, 2))
	for _, kind := range []struct {
		what  string
		query func(title string) string
	}{
		{"a name", func(title string) string { return title[strings.LastIndex(title, " ")+1:] }},
		{"the first letters of a name", func(title string) string { return title[strings.LastIndex(title, " ")+1:][:3] }},
		{"two words", func(title string) string {
			all := strings.Fields(title)
			return all[len(all)-3] + " " + all[len(all)-1]
		}},
		{"a frequent word", func(string) string { return words[random.IntN(len(words))] }},
		{"a year", func(string) string { return fmt.Sprint(1950 + random.IntN(70)) }},
		{"a title with a letter too many", func(title string) string { return title + "w" }},
		{"a title with two letters exchanged", func(title string) string {
			return title[:len(title)-2] + title[len(title)-1:] + title[len(title)-2:len(title)-1]
		}},
		{"nonsense", func(string) string { return "wpfj zzkq" }},
	} {
		var took []float64
		for range 50 {
			query := kind.query(titles[random.IntN(n)])
			start := time.Now()
			c.Search(query, 10)
			took = append(took, 1000*time.Since(start).Seconds())
		}
		slices.Sort(took)
		fmt.Printf("search for %s: p50 %.1f ms, p95 %.1f ms\n", kind.what, took[len(took)/2], took[len(took)*95/100])
	}
	return nil
}
