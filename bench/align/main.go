// Command align is our side of the comparison of adapter training with PyTorch (bench/README.md). It speaks the peers'
// language: the same workload folder in, the same JSON lines out.
//
//	align make -recommender FILE -data FOLDER -llm FILE [-prompt NAME] OUT   makes a workload of real training samples
//	align generate [-check] [-slots N] [-tokens N] [-titles DATA] MODEL.gguf FOLDER    answers a residual workload's questions
//	align decode [-slots N] [-tokens N] MODEL.gguf FOLDER    generates behind its prefix, as llama-batched-bench does
//	align time [-check] [-repetitions N] MODEL.gguf FOLDER    trains on it, with nothing timed before a warm-up
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: align make|time|generate|decode …; the comment at the top of bench/align/main.go says how"))
	}
	flags := flag.NewFlagSet("align "+os.Args[1], flag.ExitOnError)
	var err error
	switch os.Args[1] {
	case "make":
		var m maker
		flags.StringVar(&m.recommender, "recommender", "", "weights of the recommender")
		flags.StringVar(&m.data, "data", "", "folder of the data set")
		flags.StringVar(&m.llm, "llm", "", "GGUF of the LLM")
		flags.StringVar(&m.prompt, "prompt", "residual", "residual or recovery")
		flags.IntVar(&m.samples, "samples", 512, "how many samples")
		flags.IntVar(&m.prefix, "prefix", 0, "so many tokens of the prompt's beginning, the last ones; 0: all")
		flags.IntVar(&m.batch, "batch", 64, "samples of one update")
		_ = flags.Parse(os.Args[2:])
		err = m.make(flags.Arg(0))
	case "time":
		var t timer
		flags.BoolVar(&t.check, "check", false, "print loss and gradient norm of the first batch instead")
		flags.BoolVar(&t.f32, "float32", false, "the exact mode")
		flags.IntVar(&t.repetitions, "repetitions", 1, "how often all batches are taken")
		flags.IntVar(&t.threads, "threads", 0, "0: all")
		flags.IntVar(&t.micro, "micro", 16, "samples of one pass")
		_ = flags.Parse(os.Args[2:])
		err = t.time(flags.Arg(0), flags.Arg(1))
	case "generate":
		var g generator
		flags.BoolVar(&g.check, "check", false, "print the tokens of the first answers instead")
		flags.StringVar(&g.titles, "titles", "", "folder of a data set: time the probabilities of all its titles instead")
		flags.IntVar(&g.slots, "slots", 32, "samples answered side by side")
		flags.IntVar(&g.tokens, "tokens", 10, "tokens of an answer")
		flags.IntVar(&g.threads, "threads", 0, "0: all")
		_ = flags.Parse(os.Args[2:])
		err = g.run(flags.Arg(0), flags.Arg(1))
	case "decode":
		var d decoder
		flags.IntVar(&d.slots, "slots", 32, "samples side by side")
		flags.IntVar(&d.tokens, "tokens", 10, "tokens of each")
		flags.IntVar(&d.threads, "threads", 0, "0: all")
		_ = flags.Parse(os.Args[2:])
		err = d.run(flags.Arg(0), flags.Arg(1))
	default:
		err = fmt.Errorf("there is no %q; align make, time, generate or decode", os.Args[1])
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
