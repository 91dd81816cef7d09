package run

import (
	"context"
	"errors"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Plan works out what Train would take for a run, in memory and in time. The LLM's weights are not
// loaded, and nothing is written.
func Plan(engine *cgo.Engine, s Spec) (align.Estimate, error) {
	parts, precision, err := openToTrain(engine, s)
	if err != nil {
		return align.Estimate{}, err
	}
	defer parts.Close()
	_, lessons, err := parts.lessonsAndExamples(&s)
	if err != nil {
		return align.Estimate{}, err
	}
	if err := parts.lengthenPasses(context.Background(), engine, "", precision, &s, lessons); err != nil {
		return align.Estimate{}, err
	}
	return parts.estimate(engine, s, precision, lessons)
}

// openToTrain opens the parts of a run that is to be trained, or refuses it.
func openToTrain(engine *cgo.Engine, s Spec) (*Parts, cgo.Precision, error) {
	if err := s.Validate(); err != nil {
		return nil, 0, err
	}
	precision, err := s.Precision.native()
	if err != nil {
		return nil, 0, err
	}
	parts, err := openParts(engine, engine, s)
	if err != nil {
		return nil, 0, err
	}
	if err := s.Adapter.Suits(len(parts.Data.Items)); err != nil {
		return nil, 0, errors.Join(err, parts.Close())
	}
	return parts, precision, nil
}

// lessonsAndExamples makes the sequences and the lessons that a run is trained on, and the examples
// that its questions lack, which the spec then has.
func (p *Parts) lessonsAndExamples(s *Spec) ([]dataset.Sequence, []lesson, error) {
	sequences := p.lessons(s.Drawn, s.Config.Seed)
	lessons, err := p.lessonsOf(sequences)
	if err != nil {
		return nil, nil, err
	}
	return sequences, lessons, p.makeExamples(s, lessons)
}

// lengthenPasses gives a spec with LongPasses, for a run in the folder dir, the passes that it asks
// for. Where the ranks of ctx share them they stay as they are.
func (p *Parts) lengthenPasses(ctx context.Context, engine *cgo.Engine, dir string, precision cgo.Precision, s *Spec, lessons []lesson) error {
	if !s.LongPasses || ranks.Of(ctx).Size() > 1 {
		return nil
	}
	if begun, err := Read(dir); err == nil && dir != "" {
		s.Config.PassPositions = begun.Config.PassPositions
		return nil
	}
	if info, err := engine.Describe(); err != nil || !info.OnGPU() {
		return err
	}
	job, lengths, err := p.job(*s, lessons)
	if err != nil {
		return err
	}
	s.Config.PassPositions, err = align.LongestPass(engine, p.GGUF, precision, job, lengths)
	return err
}

// estimate is what training a run on lessons will take.
func (p *Parts) estimate(engine *cgo.Engine, s Spec, precision cgo.Precision, lessons []lesson) (align.Estimate, error) {
	job, lengths, err := p.job(s, lessons)
	if err != nil {
		return align.Estimate{}, err
	}
	return align.NewEstimate(engine, p.GGUF, precision, job, lengths)
}

// job is what an estimate needs to know of a run that is trained on lessons.
func (p *Parts) job(s Spec, lessons []lesson) (align.Job, []align.Length, error) {
	info, err := p.GGUF.Describe()
	if err != nil {
		return align.Job{}, nil, err
	}
	job := align.Job{Prompts: p.trainedOn(), Shape: p.shape(s, info), Config: s.Config}
	if err := job.Shape.Validate(); err != nil {
		return job, nil, err
	}
	lengths := make([]align.Length, len(lessons))
	for i, l := range lessons {
		lengths[i].Answer, lengths[i].Task = len(l.answer), l.task
		for _, slot := range p.asked[l.task].prompts[0].SlotNames() {
			lengths[i].Counts = append(lengths[i].Counts, p.reads.Count(p.Source, slot, l.history))
		}
	}
	return job, lengths, nil
}

// shape is that of the run's adapter.
func (p *Parts) shape(s Spec, llm cgo.GGUFInfo) align.Shape {
	return s.shape(p.inputWidth(), llm.Embd, p.Source.Positions(), len(p.Data.Items)-len(p.held), p.lookUps())
}
