package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/interpret"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Run is a trained run, open for questions. It is not safe for concurrent use.
type Run struct {
	*Parts
	Spec       Spec
	Provenance align.Provenance // what the adapter was made from, and how long it trained

	interpreter *interpret.Interpreter
	hash        string // of the adapter's file
}

// Open opens a trained run. An adapter that was trained with another recommender, LLM or data set than those that run.json
// names is refused.
func Open(engine *cgo.Engine, dir string, opts interpret.Options) (*Run, error) {
	s, err := Read(dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, align.AdapterFile)
	adapter, provenance, err := align.LoadAdapter(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run: %s has no %s: its training has not ended; the same recint align command goes on with it",
			dir, align.AdapterFile)
	}
	if err != nil {
		return nil, err
	}
	parts, err := openParts(engine, s)
	if err != nil {
		return nil, err
	}
	r := &Run{Parts: parts, Spec: s, Provenance: provenance}
	if err := r.open(adapter, path, opts); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Run) open(adapter *align.Adapter, path string, opts interpret.Options) error {
	err := r.Provenance.Check(r.Hashes.Recommender, r.Hashes.LLM, r.Hashes.Dataset)
	if err != nil {
		return err
	}
	info, err := r.GGUF.Describe()
	if err != nil {
		return err
	}
	if err := adapter.Fits(r.Recommender.StateWidth(), info.Embd); err != nil {
		return err
	}
	if r.hash, err = artifact.HashFile(path); err != nil {
		return err
	}
	r.interpreter, err = interpret.New(r.engine, r.GGUF, adapter, r.Prompt, opts)
	return err
}

// Close releases what is open. A second Close does nothing.
func (r *Run) Close() error {
	var err error
	if r.interpreter != nil {
		err = r.interpreter.Close()
	}
	return errors.Join(err, r.Parts.Close())
}

// Interpret puts the recommender's states of histories (dense item ids, oldest first) into words, as the run's prompt asks:
// with the residual prompt, what the last item was.
func (r *Run) Interpret(ctx context.Context, histories [][]int32) ([]interpret.Answer, error) {
	states, err := align.States(r.Prompt.Slots(), histories, r.Recommender.Encode(ctx))
	if err != nil {
		return nil, err
	}
	return r.interpreter.Answer(ctx, states)
}

// EvaluateResidual asks for the next item of test sequences (n of them drawn by the seed; all if n is 0) and counts the right
// answers. opts.Label is set here.
func (r *Run) EvaluateResidual(ctx context.Context, n int, opts evaluate.Options) (*evaluate.Result, error) {
	chosen := draw(len(r.Split.Test), n, opts.Seed)
	sequences := make([]dataset.Sequence, len(chosen))
	for i, at := range chosen {
		sequences[i] = r.Split.Test[at]
	}
	states, err := align.States(r.Prompt.Slots(), recommender.Extended(sequences), r.Recommender.Encode(ctx))
	if err != nil {
		return nil, err
	}
	titles := r.Titles(next(sequences))
	samples := make([]evaluate.Sample, len(sequences))
	width := len(states) / max(len(sequences), 1)
	for i := range samples {
		samples[i] = evaluate.Sample{ID: fmt.Sprintf("test-%d", chosen[i]), States: states[i*width : (i+1)*width],
			Title: titles[i]}
	}
	catalogue := make([]string, len(r.Data.Items))
	for i, item := range r.Data.Items {
		catalogue[i] = item.Title
	}
	opts.Label = fmt.Sprintf("adapter %s, data set %s", r.hash, r.Hashes.Dataset)
	return evaluate.Residual(ctx, samples, catalogue, r.interpreter.Answer, opts)
}

// draw chooses n of all numbers below total, in order, the same for the same seed; all of them if n is 0 or too many.
func draw(total, n int, seed uint64) []int {
	chosen := rand.New(rand.NewPCG(seed, 0)).Perm(total)
	if n > 0 && n < total {
		chosen = chosen[:n]
	}
	slices.Sort(chosen)
	return chosen
}
