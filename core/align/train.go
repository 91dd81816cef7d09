package align

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
	"github.com/recinterpreter/recinterpreter/core/prompt"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Job is one training run.
type Job struct {
	Engine  *cgo.Engine
	GGUF    *cgo.GGUF
	LLM     *cgo.LLM           // of the same file; frozen
	Prompts [][]*prompt.Prompt // of each task the wordings; each pass draws one, validation uses the first
	Shape   Shape              // Tokens and Embd fit the prompts and the LLM

	Train, Validation []prompt.Sample // states as the recommender gives them
	Warm              []Pair          // training pairs of the warm start
	// Tell gives the answers that name items, in their order. Only an adapter that shows
	// several entries needs it, and the samples' items: see retell.
	Tell func(items [][]int32) ([][]int32, error)

	Config     Config
	Provenance Provenance // the hashes and the template; Train fills in the rest

	Dir      string      // for checkpoint.safetensors, log.jsonl and at the end adapter.safetensors
	Progress func(Event) // may be nil

	now     func() time.Time // nil: time.Now; tests have their own
	mayLose time.Duration    // to a kill; 0: a minute; tests have their own
}

// clock is the time.
func (j Job) clock() time.Time {
	if j.now != nil {
		return j.now()
	}
	return time.Now()
}

// Event is one line of the log, and what Progress is told.
type Event struct {
	Phase   string  `json:"phase"` // "warm start", "training", "validation" or "skipped"
	Step    int     `json:"step"`
	Plan    int     `json:"plan"` // steps of this phase; 0 while the speed is being measured
	Samples int     `json:"samples"`
	Loss    float64 `json:"loss"` // nats for each answer token; of the warm start, see run.warmStart
	Rate    float64 `json:"rate,omitempty"`
	Norm    float64 `json:"grad_norm,omitempty"`
	Speed   float64 `json:"samples_per_second,omitempty"`
	Padding float64 `json:"padding,omitempty"` // share of the rows that went through the LLM; none on the CPU
	Seconds float64 `json:"seconds"`           // of training so far, earlier sittings included
	Problem string  `json:"problem,omitempty"`
}

// Result is what a finished run leaves.
type Result struct {
	Adapter    *Adapter // takes states as the recommender gives them
	Provenance Provenance
	Cursor     Cursor
}

// maxSkipped is how many updates in a row may fail for NaN or infinity before the run is given up.
const maxSkipped = 3

// Train trains an adapter, or continues from the checkpoint in job.Dir as if it had never stopped:
// for the same plan and machine the result is the same bit for bit. When ctx ends it saves a
// checkpoint and returns ctx's error. The ranks of ctx share the work, and rank 0 writes.
func Train(ctx context.Context, job Job) (*Result, error) {
	r, err := open(ctx, job)
	if err != nil {
		return nil, err
	}
	defer r.close()
	c := r.job.Config
	batches := order{seed: c.Seed, n: len(r.job.Train)}
	for !r.finished() {
		if c.ValidateEvery > 0 && r.Step%c.ValidateEvery == 0 {
			if err := r.validate(ctx); err != nil {
				return nil, r.stopped(err)
			}
			if r.finished() { // this validation was the last that patience allowed
				break
			}
		}
		start := r.job.clock()
		rate := c.rate(r.Step, r.Plan)
		event := Event{Phase: "training", Rate: rate}
		batch := r.standard.standardised(batches.batch(r.job.Train, r.Step, c.BatchSize))
		err = r.update(ctx, disturbed(batch, c.Noise, rand.New(rand.NewPCG(c.Seed, streamNoise+uint64(r.Step)))), &event)
		switch {
		case errors.Is(err, cgo.ErrNumeric):
			event = Event{Phase: "skipped", Rate: rate, Problem: err.Error()}
			r.Skipped++
			r.InARow++
		case err != nil:
			return nil, r.stopped(err)
		default:
			r.Updates++
			r.InARow = 0
			r.learned(event.Loss)
		}
		if r.InARow == maxSkipped {
			return nil, fmt.Errorf("align: %d updates in a row up to step %d were not finite; lower the learning rate "+
				"or check the recommender's states. The last: %w", maxSkipped, r.Step+1, err)
		}
		took, err := r.timed(ctx, start)
		if err != nil { // the update is made but not counted, so the last checkpoint stays as it is
			return nil, artifact.Resumable(err)
		}
		planned := r.took(took)
		event.Speed = float64(c.BatchSize) / took.Seconds()
		if err := r.log(event); err != nil {
			return nil, err
		}
		if planned || c.CheckpointEvery > 0 && r.Step%c.CheckpointEvery == 0 {
			err = r.save()
		} else {
			err = r.saveBefore(took)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := r.validate(ctx); err != nil {
		return nil, r.stopped(err)
	}
	return r.finish()
}

// update runs one batch forwards and backwards in passes of samples of like length, then moves the
// adapter at the event's rate. It tells the event the batch's mean loss, the gradient's norm before
// clipping, and the share of padding.
func (r *run) update(ctx context.Context, batch []prompt.Sample, event *Event) (err error) {
	weight := 1 / float64(prompt.Targets(batch))
	c := r.job.Config
	micros := passes(r.job.Prompts, batch, c.PassPositions)
	leaves := make([]ranks.Leaf, len(micros))
	for i, micro := range micros {
		leaves[i].Cost = float64(len(micro) * positions(r.job.Prompts, micro[len(micro)-1])) // the last one is the longest
	}
	if event.Padding, err = padding(r.job.Engine, r.job.Prompts, micros); err != nil {
		return err
	}
	move, gradNorm := c.adamW(event.Rate, r.Updates+1), float32(0)
	parts, err := r.group.Sum(ctx, r.model, leaves, func(i int) (loss float64, err error) {
		wordings := r.job.Prompts[micros[i][0].Task]
		p := wordings[wording(c.Seed, r.Step*c.BatchSize+i, len(wordings))]
		laid, err := r.lay(p, micros[i], weight)
		if err = errors.Join(ctx.Err(), err); err != nil {
			return 0, err
		}
		if r.group.Size() == 1 && i+1 == len(micros) {
			loss, gradNorm, err = r.job.LLM.Step(r.prefixes[p], r.model, laid, move)
			return loss, err
		}
		return r.job.LLM.Backward(r.prefixes[p], r.model, laid)
	})
	if err != nil {
		return err
	}
	for _, part := range parts {
		event.Loss += part
	}
	if r.group.Size() > 1 {
		gradNorm, err = r.model.Update(move)
	}
	event.Norm = float64(gradNorm)
	return err
}

// lay lays out samples of one task for the LLM and the adapter.
func (r *run) lay(p *prompt.Prompt, samples []prompt.Sample, weight float64) (cgo.AlignBatch, error) {
	laid, err := p.Batch(samples, weight)
	laid.StateValues = r.job.Shape.appendInputs(nil, laid.StateValues, samples[0].Task)
	return cgo.AlignBatch(laid), err
}

// validate measures the mean loss over the fixed validation samples, unless that has been done at
// this step, and keeps the adapter if none before had a lower one.
func (r *run) validate(ctx context.Context) error {
	n := prompt.Targets(r.job.Validation)
	if n == 0 || len(r.Validations) > 0 && r.Validations[len(r.Validations)-1].Step == r.Step {
		return nil
	}
	if earlier := len(r.Validations); earlier > 0 {
		took := r.Validations[earlier-1].Seconds
		if err := r.saveBefore(time.Duration(took * float64(time.Second))); err != nil {
			return err
		}
	}
	start, sum := r.job.clock(), 0.0
	for _, micro := range passes(r.job.Prompts, r.standard.standardised(r.job.Validation), r.job.Config.PassPositions) {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := r.job.Prompts[micro[0].Task][0]
		laid, err := r.lay(p, micro, 1)
		if err != nil {
			return err
		}
		logProbs := make([]float32, prompt.Targets(micro))
		if err := r.job.LLM.LogProbs(logProbs, r.prefixes[p], r.model, laid); err != nil {
			return err
		}
		for _, logProb := range logProbs {
			sum -= float64(logProb)
		}
	}
	loss, err := r.group.First(ctx, sum/float64(n))
	if err != nil {
		return err
	}
	took, err := r.timed(ctx, start)
	if err != nil {
		return err
	}
	spent := took.Seconds()
	if best := r.Best(); best == nil || loss < best.Loss {
		values, err := readSlot(r.model, cgo.Value)
		if err != nil {
			return err
		}
		r.best = values
	}
	r.Seconds += spent
	r.Validations = append(r.Validations, Validation{Step: r.Step, Loss: loss, Seconds: spent})
	return r.log(Event{Phase: "validation", Loss: loss})
}
