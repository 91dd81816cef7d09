package run

import (
	"errors"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/dataset"
)

// Plan works out what Train would take for a run, in memory and in time. The LLM's weights are not
// loaded, and nothing is written.
func Plan(engine *cgo.Engine, s Spec) (align.Estimate, error) {
	parts, precision, err := openToTrain(engine, s)
	if err != nil {
		return align.Estimate{}, err
	}
	defer parts.Close()
	_, lessons, err := parts.prepare(&s)
	if err != nil {
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

// prepare makes the sequences and the lessons that a run is trained on, and gives its questions the
// examples that they lack.
func (p *Parts) prepare(s *Spec) ([]dataset.Sequence, []lesson, error) {
	sequences := p.lessons(s.Drawn, s.Config.Seed)
	lessons, err := p.lessonsOf(sequences)
	if err != nil {
		return nil, nil, err
	}
	return sequences, lessons, p.exemplify(s, lessons)
}

// estimate is what training a run on lessons will take.
func (p *Parts) estimate(engine *cgo.Engine, s Spec, precision cgo.Precision, lessons []lesson) (align.Estimate, error) {
	info, err := p.GGUF.Describe()
	if err != nil {
		return align.Estimate{}, err
	}
	job := align.Job{Prompts: p.trainedOn(), Shape: p.shape(s, info), Config: s.Config}
	if err := job.Shape.Validate(); err != nil {
		return align.Estimate{}, err
	}
	lengths := make([]align.Length, len(lessons))
	for i, l := range lessons {
		lengths[i].Answer, lengths[i].Task = len(l.answer), l.task
		for _, slot := range p.asked[l.task].prompts[0].SlotNames() {
			lengths[i].Counts = append(lengths[i].Counts, p.reads.Count(p.Source, slot, l.history))
		}
	}
	return align.NewEstimate(engine, p.GGUF, precision, job, lengths)
}

// shape is that of the run's adapter.
func (p *Parts) shape(s Spec, llm cgo.GGUFInfo) align.Shape {
	return s.shape(p.inputWidth(), llm.Embd, p.Source.Positions(), len(p.Data.Items)-len(p.held), p.lookUps())
}
