package run

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/recommender"
)

// Parts is what a run stands on, opened.
type Parts struct {
	Data        *dataset.Dataset
	Split       dataset.Split // as the data set says, by the default protocol
	Recommender *recommender.Recommender
	GGUF        *cgo.GGUF
	Prompt      *prompt.Prompt
	Hashes      align.Provenance // of the three files, with the template

	engine *cgo.Engine
}

// openParts opens what the spec names and refuses pieces that do not belong together.
func openParts(engine *cgo.Engine, s Spec) (*Parts, error) {
	p := &Parts{engine: engine}
	if err := p.open(s); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Parts) open(s Spec) (err error) {
	if p.Data, err = dataset.Load(s.Dataset); err != nil {
		return err
	}
	if p.Split, err = p.Data.Split(dataset.DefaultProtocol()); err != nil {
		return err
	}
	if p.Recommender, err = recommender.Load(p.engine, s.Recommender); err != nil {
		return err
	}
	if err := p.Recommender.TrainedOn(p.Data); err != nil {
		return err
	}
	if p.GGUF, err = cgo.OpenGGUF(s.LLM); err != nil {
		return err
	}
	info, err := p.GGUF.Describe()
	if err != nil {
		return err
	}
	if info.Architecture != "llama" {
		return fmt.Errorf("run: %s has the architecture %q; give a GGUF of the architecture \"llama\"", s.LLM, info.Architecture)
	}
	if p.Prompt, err = prompt.Compile(p.GGUF, s.Template, s.Tokens); err != nil {
		return err
	}
	p.Hashes = align.Provenance{Recommender: p.Recommender.Hash(), Dataset: p.Data.Hash(), Template: s.Template}
	p.Hashes.LLM, err = artifact.HashFile(s.LLM)
	return err
}

// Close releases what is open. A second Close does nothing.
func (p *Parts) Close() error {
	var err error
	if p.GGUF != nil {
		err = p.GGUF.Close()
	}
	if p.Recommender != nil {
		err = errors.Join(err, p.Recommender.Close())
	}
	return err
}

// Titles gives the clean titles of items.
func (p *Parts) Titles(items []int32) []string {
	titles := make([]string, len(items))
	for i, item := range items {
		titles[i] = p.Data.Items[item].Title
	}
	return titles
}

// next gives the item to predict of each sequence.
func next(sequences []dataset.Sequence) []int32 {
	items := make([]int32, len(sequences))
	for i, s := range sequences {
		items[i] = s.Next
	}
	return items
}

// trainable refuses prompts other than the residual one, which is the one that can be trained so far.
func (p *Parts) trainable() error {
	slots := p.Prompt.Slots()
	if !slices.Contains(slots, prompt.SlotBefore) || !slices.Contains(slots, prompt.SlotAfter) {
		return fmt.Errorf("run: template %q lacks {%s} or {%s}; the answer is the item between these two states, so give one "+
			"with both", p.Hashes.Template.Name, prompt.SlotBefore, prompt.SlotAfter)
	}
	return nil
}

// samples makes training samples of sequences: the states that the prompt asks for, answered by the title of the item
// between them.
func (p *Parts) samples(ctx context.Context, sequences []dataset.Sequence) ([]prompt.Sample, error) {
	return align.Samples(p.GGUF, p.Prompt.Slots(), recommender.Extended(sequences), p.Titles(next(sequences)),
		p.Recommender.Encode(ctx))
}
