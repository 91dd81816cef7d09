// Command recommenders is our side of the comparison of recommenders with PyTorch and ONNX Runtime (bench/README.md). It
// speaks the language of peers/time_recommender.py: the same split and weights in, the same JSON lines out.
//
//	recommenders epoch  SPLIT.json   trains; a line for each epoch but the first
//	recommenders sample SPLIT.json   DreamRec: draws 1000 oracles in 200 steps
//	recommenders state  SPLIT.json   one history, one state: 50th, 95th and 99th percentile
//	recommenders states SPLIT.json   256 histories at once
//	recommenders split  FOLDER       prints the split of a data set folder as peers/split.py does
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// timer is what the command line says.
type timer struct {
	model, weights                             string
	threads, repetitions, batch, calls, rounds int
	scores, check                              bool

	engine *cgo.Engine
	items  int
	split  dataset.Split
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) (err error) {
	modes := map[string]func(*timer) error{"epoch": (*timer).epoch, "sample": (*timer).sample, "state": (*timer).state,
		"states": (*timer).states}
	if len(args) == 2 && args[0] == "split" {
		return writeSplit(args[1])
	}
	if len(args) == 0 || modes[args[0]] == nil {
		return fmt.Errorf("usage: recommenders epoch|sample|state|states …; the comment at the top of main.go says what they do")
	}
	var t timer
	flags := flag.NewFlagSet("recommenders "+args[0], flag.ExitOnError)
	flags.StringVar(&t.model, "model", "", "gru4rec, caser, sasrec or dreamrec")
	flags.StringVar(&t.weights, "weights", "", "safetensors file; without it the weights are new")
	flags.IntVar(&t.threads, "threads", 0, "0: all")
	flags.IntVar(&t.repetitions, "repetitions", 5, "lines to print")
	flags.IntVar(&t.batch, "batch", 0, "histories at once; 0: 256, oracles: 1000")
	flags.IntVar(&t.calls, "calls", 20000, "calls in a repetition of state")
	flags.IntVar(&t.rounds, "rounds", 500, "batches in a repetition of states")
	flags.BoolVar(&t.scores, "scores", false, "the scores of all items, too")
	flags.BoolVar(&t.check, "check", false, "print sums over what is computed instead")
	_ = flags.Parse(args[1:])
	if t.batch == 0 {
		t.batch = map[bool]int{false: 256, true: 1000}[args[0] == "sample"]
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("name one SPLIT.json, behind all flags")
	}
	if t.items, t.split, err = readSplit(flags.Arg(0)); err != nil {
		return err
	}
	if t.engine, err = cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: t.threads}); err != nil {
		return err
	}
	defer t.engine.Close()
	return modes[args[0]](&t)
}

// readSplit reads what peers/split.py wrote.
func readSplit(path string) (items int, split dataset.Split, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, split, err
	}
	var file struct {
		Items                   int
		Train, Validation, Test []pair
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return 0, split, fmt.Errorf("%s: %w", path, err)
	}
	return file.Items, dataset.Split{Train: sequences(file.Train), Validation: sequences(file.Validation),
		Test: sequences(file.Test)}, nil
}

// writeSplit prints the sequences of a data set folder.
func writeSplit(folder string) error {
	d, err := dataset.Load(folder)
	if err != nil {
		return err
	}
	split, err := d.Split(dataset.DefaultProtocol())
	if err != nil {
		return err
	}
	pairs := func(sequences []dataset.Sequence) []pair {
		all := make([]pair, len(sequences))
		for i, s := range sequences {
			all[i] = pair{s.History, s.Next}
		}
		return all
	}
	return json.NewEncoder(os.Stdout).Encode(struct {
		Items      int    `json:"items"`
		Train      []pair `json:"train"`
		Validation []pair `json:"validation"`
		Test       []pair `json:"test"`
	}{len(d.Items), pairs(split.Train), pairs(split.Validation), pairs(split.Test)})
}

// pair is [[history], next].
type pair struct {
	history []int32
	next    int32
}

// MarshalJSON writes a list of two values of different kinds.
func (p pair) MarshalJSON() ([]byte, error) { return json.Marshal([]any{p.history, p.next}) }

// UnmarshalJSON reads a list of two values of different kinds.
func (p *pair) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&p.history, &p.next})
}

func sequences(pairs []pair) []dataset.Sequence {
	all := make([]dataset.Sequence, len(pairs))
	for i, p := range pairs {
		all[i] = dataset.Sequence{History: p.history, Next: p.next}
	}
	return all
}

// config is the model's own default, but DreamRec's loss that of its authors, as the peer's is.
func (t *timer) config() (recommender.Config, error) {
	name := t.model
	if i := slices.IndexFunc(recommender.Models, func(m string) bool { return strings.EqualFold(m, name) }); i >= 0 {
		name = recommender.Models[i]
	}
	c, err := recommender.Default(name, t.items)
	if c.Diffusion != nil {
		c.Diffusion.Rounding, c.Diffusion.Strength = 0, 2
	}
	return c, err
}

// open loads the weights, or makes new ones.
func (t *timer) open() (*recommender.Recommender, error) {
	if t.weights != "" {
		return recommender.Load(t.engine, t.weights)
	}
	c, err := t.config()
	if err != nil {
		return nil, err
	}
	return recommender.New(t.engine, c)
}

// histories are the first n of the test part.
func (t *timer) histories(n int) [][]int32 {
	all := recommender.Histories(t.split.Test)
	return all[:min(n, len(all))]
}

func say(line map[string]any) error { return json.NewEncoder(os.Stdout).Encode(line) }

var background = context.Background()
