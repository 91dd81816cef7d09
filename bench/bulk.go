package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/bulk"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/run"
)

// bulkRows is how many histories a job has: some groups of core/bulk.
const bulkRows = 1024

// jobs compares a bulk job with its LLM's generator alone, as Generate measures it, in turn. A row
// costs more than the tokens of its answer, since the question goes through the LLM, too. So the
// generator's rate is that of rows that take as many FLOP as the job's.
func (b *bed) jobs(context.Context) ([]work, error) {
	return []work{{
		Figure: Figure{Name: fmt.Sprintf("%d rows of a file, %d side by side", bulkRows, answerSlots), Unit: "rows", Asked: "0.95 × tokens alone"},
		open: func(ctx context.Context) (_ *ready, err error) {
			r, err := run.Open(b.engine, b.Run, interpret.Options{Slots: answerSlots})
			if err != nil {
				return nil, err
			}
			j := &bulkJob{engine: b.engine, run: r, bulk: bulk.Job{Run: r, In: b.path("rows.jsonl"), Out: b.path("answers.jsonl")}}
			defer func() {
				if err != nil {
					err = errors.Join(err, j.close())
				}
			}()
			if err := j.prepare(ctx); err != nil {
				return nil, err
			}
			alone := &side{program: Program + ", tokens alone", memory: func() int64 { return 0 }, close: func() error { return nil }, once: j.alone}
			return &ready{close: j.close, once: j.once, beside: alone}, nil
		},
	}}, nil
}

// bulkJob is a job that can be done again and again, and a generator of the same LLM.
type bulkJob struct {
	engine    *cgo.Engine
	run       *run.Run
	bulk      bulk.Job
	generator *cgo.Generator
	tokens    int     // of all answers, end tokens included
	perToken  float64 // FLOP of a token alone, as a part of those of a row
}

// prepare writes the rows, counts the tokens of their answers, and opens the generator.
func (j *bulkJob) prepare(ctx context.Context) error {
	if j.run.Live == nil {
		return errors.New("the run's states come from a file; name a run whose recommender encodes histories")
	}
	next := randomHistories(len(j.run.Data.Items))
	var rows bytes.Buffer
	var pasts [][]int32
	for range bulkRows {
		past := next()
		ids := make([]string, len(past))
		for i, item := range past {
			ids[i] = j.run.Data.Items[item].ID
		}
		if err := json.NewEncoder(&rows).Encode(map[string]any{"history": ids}); err != nil {
			return err
		}
		pasts = append(pasts, past)
	}
	if err := os.WriteFile(j.bulk.In, rows.Bytes(), 0o666); err != nil {
		return err
	}
	states, err := j.run.States(ctx, j.run.Source, pasts)
	if err != nil {
		return err
	}
	answers, err := j.run.Interpreter.Answer(ctx, states)
	if err != nil {
		return err
	}
	for _, a := range answers {
		j.tokens += len(a.LogProbs)
	}
	needs, err := cgo.EstimateTraining(j.engine, j.run.GGUF, cgo.TrainingSizes{})
	if err != nil {
		return err
	}
	each, question := float64(j.tokens)/bulkRows, float64(len(j.run.Prompts[0].Suffix(states[0].Counts)))
	j.perToken = needs.ForwardFLOP(1, 1) / needs.ForwardFLOP(question+each-1, each)
	prefix := j.run.Prompts[0].Prefix()
	if j.generator, err = cgo.NewGenerator(j.engine, j.run.GGUF, cgo.GeneratorParams{Slots: answerSlots, Context: len(prefix) + answerTokens}); err != nil {
		return err
	}
	return j.generator.Prefix(prefix)
}

// once does the job.
func (j *bulkJob) once(ctx context.Context) (measured, error) {
	m, err := timed(bulkRows, func() error {
		p, err := j.bulk.Do(ctx)
		if err == nil && p.Wrong > 0 {
			err = fmt.Errorf("%d rows have an error", p.Wrong)
		}
		return err
	})
	m.Tokens = float64(j.tokens) / m.Seconds
	return m, errors.Join(err, os.Remove(j.bulk.Out))
}

// alone generates tokens, and gives the rate of rows that are as much work.
func (j *bulkJob) alone(context.Context) (m measured, err error) {
	for range answerSamples / answerSlots {
		var first []int32 // of the prefix, which differ
		for slot, prefix := 0, j.run.Prompts[0].Prefix(); slot < answerSlots; slot++ {
			if err := j.generator.Reset(slot); err != nil {
				return m, err
			}
			first = append(first, prefix[slot%len(prefix)])
		}
		_, one, err := decode(j.generator, first)
		if err != nil {
			return m, err
		}
		m.Seconds += one.Seconds
	}
	m.Tokens = answerSamples * answerTokens / m.Seconds
	m.Rate = m.Tokens * j.perToken
	return m, nil
}

func (j *bulkJob) close() error {
	var err error
	if j.generator != nil {
		err = j.generator.Close()
	}
	return errors.Join(err, j.run.Close())
}
