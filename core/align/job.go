package align

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/prompt"
)

// validate reports what is wrong with the job, naming the sample where it is one of them.
func (j Job) validate(info cgo.GGUFInfo) error {
	if err := j.Config.Validate(); err != nil {
		return err
	}
	if err := j.Shape.Validate(); err != nil {
		return err
	}
	switch {
	case j.Shape.Embd != int(info.Embd):
		return fmt.Errorf("align: an adapter for embeddings of width %d; the LLM's are %d wide", j.Shape.Embd, info.Embd)
	case len(j.Prompts) == 0 || slices.ContainsFunc(j.Prompts, func(wordings []*prompt.Prompt) bool { return len(wordings) == 0 }):
		return errors.New("align: there is no prompt")
	case len(j.Shape.Questions) > 0 && len(j.Shape.Questions) != len(j.Prompts):
		return fmt.Errorf("align: an adapter of %d questions for %d", len(j.Shape.Questions), len(j.Prompts))
	case len(j.Train) == 0:
		return errors.New("align: there are no training samples")
	case j.Shape.LookUps > 0 && j.Config.WarmSteps == 0:
		return fmt.Errorf("align: a %s adapter learns what to look up in the warm start alone; set warm_steps above 0", j.Shape.Kind)
	case j.Shape.LookUps > 0 && j.Tell == nil:
		return fmt.Errorf("align: a %s adapter answers in the order of what it finds, and nothing tells it how; give Tell", j.Shape.Kind)
	case j.Shape.LookUps > 0 && j.Prompts[0][0].Slots() != 1:
		return fmt.Errorf("align: a %s adapter reads one vector; the prompt has %d slots", j.Shape.Kind, j.Prompts[0][0].Slots())
	case j.Config.WarmSteps > 0 && len(j.Warm) == 0:
		return errors.New("align: a warm start without pairs of state and title; give some, or set warm_steps to 0")
	}
	for _, p := range slices.Concat(j.Prompts...) {
		if j.Shape.Tokens != p.TokensPerState() {
			return fmt.Errorf("align: an adapter of %d soft tokens for a prompt with %d", j.Shape.Tokens, p.TokensPerState())
		}
	}
	for i, s := range j.Train {
		if err := j.check(s, int(info.Context)); err != nil {
			return fmt.Errorf("align: training sample %d: %w", i, err)
		}
	}
	for i, s := range j.Validation {
		if err := j.check(s, int(info.Context)); err != nil {
			return fmt.Errorf("align: validation sample %d: %w", i, err)
		}
	}
	for i, pair := range j.Warm {
		if len(pair.State) != j.Shape.Width() {
			return fmt.Errorf("align: warm start pair %d: a state of %d numbers; the adapter reads %d", i, len(pair.State),
				j.Shape.Width())
		}
		for at, x := range pair.State {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return fmt.Errorf("align: warm start pair %d: value %d of its state is NaN or infinite", i, at)
			}
		}
		if n := len(pair.Items); n < 1 || n > max(1, j.Shape.LookUps) || n != len(pair.Titles) {
			return fmt.Errorf("align: warm start pair %d: %d items with %d titles; an adapter of kind %s learns 1 to %d", i, n,
				len(pair.Titles), j.Shape.Kind, max(1, j.Shape.LookUps))
		}
		if pair.Question < 0 || pair.Question >= len(j.Prompts) {
			return fmt.Errorf("align: warm start pair %d: question %d; there are %d", i, pair.Question, len(j.Prompts))
		}
		for at, item := range pair.Items {
			if j.Shape.Entries > 0 && (item < 0 || int(item) >= j.Shape.Entries) {
				return fmt.Errorf("align: warm start pair %d: item %d; the adapter has %d entries", i, item, j.Shape.Entries)
			}
			if len(pair.Titles[at]) == 0 {
				return fmt.Errorf("align: warm start pair %d: the title has no tokens", i)
			}
		}
	}
	return nil
}

func (j Job) check(s prompt.Sample, context int) error {
	if len(s.Answer) == 0 {
		return errors.New("the answer is empty")
	}
	if j.Shape.LookUps > 0 && len(s.Items) == 0 {
		return fmt.Errorf("it has no items, which a %s adapter is taught by", j.Shape.Kind)
	}
	if s.Task < 0 || s.Task >= len(j.Prompts) {
		return fmt.Errorf("it is of task %d; there are %d", s.Task, len(j.Prompts))
	}
	for _, p := range j.Prompts[s.Task] {
		if err := p.Check(s.States, j.Shape.Width()); err != nil {
			return err
		}
		if n := p.Positions(s.Counts, len(s.Answer)); n > context {
			return fmt.Errorf("prompt and answer take %d positions; the LLM's context has %d", n, context)
		}
	}
	return nil
}

// standardised gives samples with their states standardised, which share nothing of these with
// them: all samples of a run are in memory once, as they are.
func (s Standard) standardised(samples []prompt.Sample) []prompt.Sample {
	done := slices.Clone(samples)
	for i := range done {
		done[i].Values = make([]float32, len(samples[i].Values))
		s.Apply(done[i].Values, samples[i].Values)
	}
	return done
}

func (j Job) statesOfTraining() [][]float32 {
	all := make([][]float32, len(j.Train))
	for i, s := range j.Train {
		all[i] = s.Values
	}
	return all
}

// pick chooses at most n samples, the same for the same seed.
func pick(samples []prompt.Sample, n int, seed uint64) []prompt.Sample {
	perm := rand.New(rand.NewPCG(seed, streamValidation)).Perm(len(samples))
	var picked []prompt.Sample
	for _, i := range perm[:min(n, len(perm))] {
		picked = append(picked, samples[i])
	}
	return picked
}

// fingerprint is the hash of the numbers that the job trains on.
func (j Job) fingerprint() string {
	hash := sha256.New()
	number := func(n int) { binary.Write(hash, binary.LittleEndian, int64(n)) }
	tokens := func(t []int32) { number(len(t)); binary.Write(hash, binary.LittleEndian, t) }
	values := func(v []float32) { number(len(v)); binary.Write(hash, binary.LittleEndian, v) }
	for task, wordings := range j.Prompts {
		first := slices.IndexFunc(j.Train, func(s prompt.Sample) bool { return s.Task == task })
		for _, p := range wordings {
			tokens(p.Prefix())
			if first >= 0 {
				tokens(p.Suffix(j.Train[first].Counts))
			}
		}
	}
	for _, samples := range [][]prompt.Sample{j.Train, j.Validation} {
		number(len(samples))
		for _, s := range samples {
			for _, count := range s.Counts {
				number(count)
			}
			values(s.Values)
			tokens(s.Answer)
			tokens(s.Items)
			if s.Task > 0 {
				number(s.Task)
			}
		}
	}
	if j.Config.Noise > 0 {
		number(1) // each sample draws its own deviation; before, all had the same
	}
	number(len(j.Warm))
	for _, pair := range j.Warm {
		values(pair.State)
		tokens(pair.Items)
		if pair.Question > 0 {
			number(pair.Question)
		}
		for _, title := range pair.Titles {
			tokens(title)
		}
	}
	return hex.EncodeToString(hash.Sum(nil))
}
