package align

import "math"

// Sharing is what a run takes when ranks share it.
type Sharing struct {
	Ranks   int     `json:"ranks"`
	Memory  int64   `json:"bytes_per_rank"`     // of the device, as Estimate.Total
	Sums    int64   `json:"sum_bytes_per_rank"` // gradients that are being added up, in the computer's own memory
	Compute float64 `json:"compute_seconds"`    // of a step, by the rank with most passes
	Network float64 `json:"network_seconds"`    // of a step, where nothing of it hides behind computing
	Minutes float64 `json:"minutes"`            // of the run, whose warm start each rank repeats
	Share   float64 `json:"efficiency"`         // of the ranks' time in a step, what one rank would have needed
	Limit   string  `json:"bottleneck"`
}

// What limits a shared run.
const (
	LimitPasses  = "passes: ranks wait for the one with most; a larger --batch or a smaller --pass-positions makes them even"
	LimitNetwork = "network: a smaller adapter, a larger --batch or a faster network"
	LimitWarm    = "warm start, which every rank repeats: --warm-micro-batch divides it"
	LimitCompute = "computing: more ranks make it faster"
)

// Shared works out what ranks make of an estimate, over a network of so many bits per second.
func (e Estimate) Shared(c Config, ranks int, bits float64) Sharing {
	passes := float64(shareable(int(math.Ceil(e.Positions * float64(c.BatchSize) / float64(c.PassPositions)))))
	most := math.Ceil(passes / float64(ranks)) // of one rank
	step := float64(c.BatchSize) / e.Rate
	gradient := e.Optimiser / 4 // a slot of four
	s := Sharing{Ranks: ranks, Memory: e.Total(), Compute: step * most / passes}
	warm := e.Warm
	if ranks > 1 {
		// Each rank sends slices of its gradients to the ranks that add them, and receives those of
		// others; then sums go to all.
		s.Sums = int64(2*most+2) * gradient
		s.Network = 8 * (most + 1) * float64(gradient) * float64(ranks-1) / float64(ranks) / bits
		if c.WarmMicroBatch > 0 {
			warm /= float64(min(ranks, (c.WarmBatch+c.WarmMicroBatch-1)/c.WarmMicroBatch))
		}
	}
	s.Minutes = warm + float64(e.Samples/c.BatchSize)*(s.Compute+s.Network)/60
	s.Share = step / float64(ranks) / (s.Compute + s.Network)
	switch even := step / float64(ranks); {
	case ranks > 1 && warm*60 > float64(e.Samples/c.BatchSize)*(s.Compute+s.Network):
		s.Limit = LimitWarm
	case s.Network > 0.1*even && s.Network > s.Compute-even:
		s.Limit = LimitNetwork
	case s.Compute > 1.1*even:
		s.Limit = LimitPasses
	default:
		s.Limit = LimitCompute
	}
	return s
}

// Answering is how many hours answers about histories take on ranks that divide them: passes
// forward, which are half of a training pass, at the same speed. Each answers its shard alone.
func (e Estimate) Answering(histories, ranks int) (hours float64) {
	return float64(histories) / (2 * e.Rate * float64(ranks)) / 3600
}
