package run

import (
	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
)

// Plan works out what Train would take for a run, in memory and in time. The LLM's weights are not loaded, and nothing is
// written.
func Plan(engine *cgo.Engine, s Spec) (align.Estimate, error) {
	if err := s.Validate(); err != nil {
		return align.Estimate{}, err
	}
	precision, err := s.Precision.native()
	if err != nil {
		return align.Estimate{}, err
	}
	parts, err := openParts(engine, engine, s)
	if err != nil {
		return align.Estimate{}, err
	}
	defer parts.Close()
	histories, answers, err := parts.answers(parts.lessons(s.Drawn, s.Config.Seed))
	if err != nil {
		return align.Estimate{}, err
	}
	return parts.estimate(engine, s, precision, histories, answers)
}

// estimate is what training a run on histories with their answers will take.
func (p *Parts) estimate(engine *cgo.Engine, s Spec, precision cgo.Precision, histories, answers [][]int32) (align.Estimate, error) {
	info, err := p.GGUF.Describe()
	if err != nil {
		return align.Estimate{}, err
	}
	job := align.Job{Prompts: p.Prompts, Shape: p.shape(s, info), Config: s.Config}
	if err := job.Shape.Validate(); err != nil {
		return align.Estimate{}, err
	}
	lengths := make([]align.Length, len(histories))
	for i, history := range histories {
		lengths[i].Answer = len(answers[i])
		for _, slot := range p.Prompts[0].SlotNames() {
			lengths[i].Counts = append(lengths[i].Counts, p.kind.Count(p.Recommender, slot, history))
		}
	}
	return align.NewEstimate(engine, info, precision, job, lengths)
}

// shape is that of the run's adapter.
func (p *Parts) shape(s Spec, llm cgo.GGUFInfo) align.Shape {
	shape := align.Shape{Kind: s.Adapter, In: p.inputWidth(), Hidden: s.Hidden, Tokens: s.Tokens, Embd: llm.Embd}
	if s.Adapter == align.Mixture {
		shape.Mixed = p.Recommender.Positions()
	}
	if s.Adapter.HasEntries() {
		shape.Entries = len(p.Data.Items)
	}
	if s.Adapter == align.Recall {
		shape.LookUps, shape.Tokens = p.lookUps(), s.Tokens*p.lookUps()
	}
	return shape
}
