package align

import (
	"slices"
	"time"
)

// Cursor is where a run stands: all of a checkpoint but the adapter's and the optimiser's numbers.
type Cursor struct {
	Step    int `json:"step"`    // batches taken, skipped ones included
	Plan    int `json:"plan"`    // batches to take; 0 while the speed is being measured
	Updates int `json:"updates"` // batches that moved the adapter
	Skipped int `json:"skipped"` // batches whose gradient was not finite
	InARow  int `json:"in_a_row"`

	Loss        float64      `json:"loss"`        // of training: exponential mean over about 20 batches
	Warming     bool         `json:"warming"`     // the warm start is not over
	WarmSteps   int          `json:"warm_steps"`  // updates of the warm start so far
	WarmFirst   float64      `json:"warm_first"`  // warm start's error at its first update, over the mean square
	WarmLast    float64      `json:"warm_last"`   // and at its last
	Validations []Validation `json:"validations"` // in order

	Seconds  float64   `json:"seconds"`   // spent, warm start and validation included
	Pace     []float64 `json:"pace"`      // seconds of each batch until the plan was made
	LogBytes int64     `json:"log_bytes"` // length of the log at this point
}

// Validation is one validation loss.
type Validation struct {
	Step    int     `json:"step"` // batches taken before it
	Loss    float64 `json:"loss"` // nats for each answer token
	Seconds float64 `json:"seconds"`
}

// Best is the validation with the lowest loss, the earliest of equals, whose adapter is kept; nil
// before the first.
func (at *Cursor) Best() *Validation {
	var best *Validation
	for i := range at.Validations {
		if best == nil || at.Validations[i].Loss < best.Loss {
			best = &at.Validations[i]
		}
	}
	return best
}

// finished says whether the plan is fulfilled, or patience is at its end.
func (r *run) finished() bool {
	if patience, best := r.job.Config.Patience, r.Best(); patience > 0 && best != nil {
		since := 0
		for _, v := range r.Validations {
			if v.Step > best.Step {
				since++
			}
		}
		if since >= patience {
			return true
		}
	}
	return r.Plan > 0 && r.Step >= r.Plan
}

// learned takes one batch's loss into the running mean.
func (at *Cursor) learned(loss float64) {
	if at.Updates == 1 {
		at.Loss = loss
	}
	at.Loss += (loss - at.Loss) / 20
}

// took counts a batch that needed the time d, and says whether it was the one after which the plan
// was made: the last one of those during which the rate rises or, where there is no time for them
// even at the fastest pace so far, an earlier one.
func (r *run) took(d time.Duration) bool {
	r.Step++
	r.Seconds += d.Seconds()
	if r.Plan > 0 {
		return false
	}
	r.Pace = append(r.Pace, d.Seconds())
	c := r.job.Config
	if r.Step < c.WarmupSteps && (r.Step < minMeasured || r.planFor(c, slices.Min(r.Pace)) > c.WarmupSteps) {
		return false
	}
	r.Plan, r.Pace = r.planFor(c, median(r.Pace)), nil
	return true
}

// planFor is the number of batches that fit into the run's minutes if each takes these seconds
// and, now and then, a validation.
func (at *Cursor) planFor(c Config, each float64) int {
	left := 60*c.Minutes - at.Seconds
	if n := len(at.Validations); n > 0 {
		left -= at.Validations[n-1].Seconds
		if c.ValidateEvery > 0 {
			each += at.Validations[n-1].Seconds / float64(c.ValidateEvery)
		}
	}
	return at.Step + max(1, int(left/each))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
