package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// score times one sample's probabilities of all titles of a data set, and says what speed the LLM's matrices run at: 2 FLOP for each
// number of them and each different beginning of a title, whatever is computed beside or twice.
func score(i *interpret.Interpreter, gguf *cgo.GGUF, sample prompt.States, data string, rounds int) (err error) {
	d, err := dataset.Load(data)
	if err != nil {
		return err
	}
	var titles []string
	for _, item := range d.Items {
		titles = append(titles, item.Title)
	}
	answers, err := prompt.Answers(gguf, titles)
	if err != nil {
		return err
	}
	beginnings := map[string]bool{}
	for _, answer := range answers {
		for n := range answer { // with the empty one, without the end token
			beginnings[fmt.Sprint(answer[:n])] = true
		}
	}
	info, err := gguf.Describe()
	if err != nil {
		return err
	}
	attention, forward := 2*(info.Heads+info.HeadsKV)*info.HeadDim, 3*info.FF
	flop := 2 * float64(info.Embd*(info.Layers*(attention+forward)+info.Vocab)) * float64(len(beginnings))
	s, err := i.NewScorer(titles, cgo.BF16)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for round := range rounds + 1 {
		start := time.Now()
		if _, err := s.Scores(context.Background(), []prompt.States{sample}); err != nil {
			return err
		}
		seconds := time.Since(start).Seconds()
		if round == 0 { // the warm-up
			continue
		}
		err := json.NewEncoder(os.Stdout).Encode(map[string]float64{"samples_per_s": 1 / seconds, "seconds": seconds,
			"beginnings": float64(len(beginnings)), "flop_per_s": flop / seconds})
		if err != nil {
			return err
		}
	}
	return nil
}
