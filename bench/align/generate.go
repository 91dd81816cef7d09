package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// generator answers the questions of a residual workload.
type generator struct {
	check                  bool
	titles                 string // of this data set, weighed instead of answered
	slots, tokens, threads int
}

func (g generator) run(model, folder string) (err error) {
	engine, err := cgo.NewEngine(cgo.EngineParams{Backend: "cpu", Threads: g.threads})
	if err != nil {
		return err
	}
	defer engine.Close()
	j, err := read(folder)
	if err != nil {
		return err
	}
	gguf, err := cgo.OpenGGUF(model)
	if err != nil {
		return err
	}
	defer gguf.Close()
	if j.n != 2 {
		return errors.New("generation is measured with the residual prompt")
	}
	// What stands between the last soft token and the answer.
	question := j.Samples[0].Tokens[j.n*j.TokensPerState:]
	for at, target := range j.Samples[0].Targets[j.n*j.TokensPerState:] {
		if target >= 0 {
			question = question[:at+1]
			break
		}
	}
	p, err := prompt.FromSegments([][]int32{j.Prefix, {}, question}, j.TokensPerState)
	if err != nil {
		return err
	}
	i, err := interpret.New(engine, gguf, j.adapter, p, interpret.Options{Slots: g.slots, MaxTokens: g.tokens})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	samples := make([]prompt.States, len(j.Samples))
	for s := range samples {
		samples[s] = prompt.States{Counts: []int{1, 1}, Values: j.states[s*j.each : (s+1)*j.each]}
	}
	if g.titles != "" {
		return score(i, gguf, samples[0], g.titles, 3)
	}
	if g.check {
		answers, err := i.Answer(context.Background(), samples[:g.slots])
		if err != nil {
			return err
		}
		var tokens [][]int32
		for _, a := range answers {
			tokens = append(tokens, a.Tokens)
		}
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"tokens": tokens})
	}
	if _, err := i.Answer(context.Background(), samples[:g.slots]); err != nil { // the warm-up
		return err
	}
	start := time.Now()
	answers, err := i.Answer(context.Background(), samples)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	// An answer that ends early is less work than the peer's, which goes on: samples are counted by their tokens.
	said := 0
	for _, a := range answers {
		said += len(a.Tokens)
		if a.Ended {
			said++
		}
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"samples_per_s": float64(said) / float64(g.tokens) / seconds, "seconds": seconds})
}
