package align

import (
	"fmt"
	"math"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Config is how an adapter is trained. It is part of every checkpoint, and a checkpoint resumes
// only under the configuration that it was made with.
type Config struct {
	Seed uint64 `json:"seed"`

	// Samples is the length of the run, repetitions counted. When it is 0, Minutes gives the length
	// instead: the speed of the first steps is measured, and the number of steps that fit is fixed
	// from then on.
	Samples int     `json:"samples,omitempty"`
	Minutes float64 `json:"minutes,omitempty"`

	BatchSize     int      `json:"batch_size"`     // samples in one update
	PassPositions int      `json:"pass_positions"` // positions of one pass through the LLM, behind the prompt's beginning
	LearningRate  float64  `json:"learning_rate"`  // at its highest
	WarmupSteps   int      `json:"warmup_steps"`   // updates during which the rate rises
	Schedule      Schedule `json:"schedule"`       // of the rate afterwards
	WeightDecay   float64  `json:"weight_decay"`   // decoupled
	MaxNorm       float64  `json:"max_norm"`       // the gradient's L2 norm is cut down to this; 0: never
	// Noise is the largest standard deviation of Gaussian noise on the numbers of a standardised
	// state during training, in the warm start too: an adapter that cannot rely on the exact state
	// of an item reads what it shares with its neighbours (Bishop 1995). Each sample has its own,
	// drawn evenly from 0, so that little is lost near the states of seen items.
	Noise float64 `json:"noise,omitempty"`

	WarmSteps int     `json:"warm_steps"` // updates of the warm start; 0: none
	WarmBatch int     `json:"warm_batch"` // samples in one of them
	WarmRate  float64 `json:"warm_rate"`  // learning rate, falling to 0
	// WarmMicroBatch is how many samples of an update of the warm start one rank computes. 0: each
	// rank computes all.
	WarmMicroBatch int `json:"warm_micro_batch,omitempty"`

	ValidateEvery     int `json:"validate_every"`     // updates between validation losses; 0: only at the end
	ValidationSamples int `json:"validation_samples"` // at most this many
	Patience          int `json:"patience,omitempty"` // training ends after so many validations without a lower loss; 0: never early
	CheckpointEvery   int `json:"checkpoint_every"`   // updates between checkpoints at most; one is written each minute besides
}

// Schedule is how the learning rate falls once it has risen.
type Schedule string

// The schedules.
const (
	LinearDecay Schedule = "linear"   // in a straight line to 0
	CosineDecay Schedule = "cosine"   // along half a cosine to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983)
	Constant    Schedule = "constant" // not at all
)

// Schedules are all of them.
var Schedules = []Schedule{LinearDecay, CosineDecay, Constant}

// DefaultConfig is the configuration of the demo, without a length.
func DefaultConfig() Config {
	return Config{
		Seed: 1, BatchSize: 64, PassPositions: 512, LearningRate: 3e-4, WarmupSteps: 20, Schedule: LinearDecay, WeightDecay: 0.01, MaxNorm: 1,
		WarmSteps: 2000, WarmBatch: 256, WarmRate: 1e-3,
		ValidateEvery: 100, ValidationSamples: 128, CheckpointEvery: 25,
	}
}

// Validate reports what is wrong with the configuration, or nil.
func (c Config) Validate() error {
	bad := func(name string, value any, want string) error {
		return fmt.Errorf("align: config: %w", &artifact.FieldError{Field: name, Value: value, Want: want})
	}
	switch {
	case c.Samples < 0 || c.Samples > 1<<40:
		return bad("samples", c.Samples, "0 to 2^40")
	case !(c.Minutes >= 0 && c.Minutes < 1e7):
		return bad("minutes", c.Minutes, "0 or more, and less than ten million")
	case (c.Samples == 0) == (c.Minutes == 0):
		return fmt.Errorf("align: config: give the length of the run either in samples or in minutes")
	case c.BatchSize < 1 || c.BatchSize > 1<<20:
		return bad("batch_size", c.BatchSize, "1 to 2^20")
	case c.PassPositions < 1 || c.PassPositions > 1<<24:
		return bad("pass_positions", c.PassPositions, "1 to 2^24")
	case !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0):
		return bad("learning_rate", c.LearningRate, "above 0 and finite")
	case c.WarmupSteps < 0:
		return bad("warmup_steps", c.WarmupSteps, "0 or more")
	case c.Minutes > 0 && c.WarmupSteps < minMeasured:
		return bad("warmup_steps", c.WarmupSteps, fmt.Sprintf("at least %d when the length is given in minutes, "+
			"because the speed is measured while the rate rises", minMeasured))
	case !slices.Contains(Schedules, c.Schedule):
		return bad("schedule", fmt.Sprintf("%q", c.Schedule), fmt.Sprintf("one of %q", Schedules))
	case !(c.WeightDecay >= 0):
		return bad("weight_decay", c.WeightDecay, "0 or more")
	case !(c.MaxNorm >= 0):
		return bad("max_norm", c.MaxNorm, "0 or more")
	case !(c.Noise >= 0 && c.Noise <= 10):
		return bad("noise", c.Noise, "0 to 10")
	case c.WarmSteps < 0:
		return bad("warm_steps", c.WarmSteps, "0 or more")
	case c.WarmSteps > 0 && c.WarmBatch < 1:
		return bad("warm_batch", c.WarmBatch, "at least 1")
	case c.WarmSteps > 0 && !(c.WarmRate > 0):
		return bad("warm_rate", c.WarmRate, "above 0")
	case c.WarmMicroBatch < 0:
		return bad("warm_micro_batch", c.WarmMicroBatch, "0 or more")
	case c.ValidateEvery < 0:
		return bad("validate_every", c.ValidateEvery, "0 or more")
	case c.ValidationSamples < 0:
		return bad("validation_samples", c.ValidationSamples, "0 or more")
	case c.Patience < 0:
		return bad("patience", c.Patience, "0 or more")
	case c.Patience > 0 && (c.ValidateEvery == 0 || c.ValidationSamples == 0):
		return bad("patience", c.Patience, "0 where validate_every or validation_samples is 0: nothing would be waited for")
	case c.CheckpointEvery < 0:
		return bad("checkpoint_every", c.CheckpointEvery, "0 or more")
	}
	return nil
}

// minMeasured is the fewest updates from which a run's speed is judged.
const minMeasured = 4

// rate is the learning rate of update number step, 0-based, of a run of plan updates: it rises over
// the first WarmupSteps and then follows the schedule. While the plan is unknown (0) the run is
// still rising.
func (c Config) rate(step, plan int) float64 {
	if step < c.WarmupSteps && (plan == 0 || plan > c.WarmupSteps) {
		return c.LearningRate * float64(step+1) / float64(c.WarmupSteps)
	}
	rise := c.WarmupSteps
	if plan <= rise {
		rise = 0
	}
	left := float64(plan-step) / float64(plan-rise)
	switch c.Schedule {
	case CosineDecay:
		left = (1 - math.Cos(math.Pi*left)) / 2
	case Constant:
		left = 1
	}
	return c.LearningRate * left
}

// steps is the number of updates that see Samples samples.
func (c Config) steps() int { return (c.Samples + c.BatchSize - 1) / c.BatchSize }

// adamW is the optimiser's setting for its update number step, 1-based.
func (c Config) adamW(rate float64, step int) cgo.AdamW {
	return cgo.AdamW{
		LearningRate: float32(rate), Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8,
		WeightDecay: float32(c.WeightDecay), MaxNorm: float32(c.MaxNorm), Step: int64(step),
	}
}
