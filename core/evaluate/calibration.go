package evaluate

import "math"

// Calibration compares the probability of answers with how often they are right.
type Calibration struct {
	ECE  float64       `json:"ece"` // expected calibration error: mean distance of a bin's accuracy from its confidence (Guo et al. 2017, arXiv 1706.04599)
	Bins []Reliability `json:"bins"`
}

// Reliability is a bin of answers with about the same probability.
type Reliability struct {
	N          int     `json:"n"`
	Confidence float64 `json:"confidence"` // mean probability
	Accuracy   float64 `json:"accuracy"`
}

// bins is the number of bins, of equal width; empty ones are omitted.
const bins = 10

// Calibrate summarises answers' log-probabilities (nats) and which answers are right.
func Calibrate(logProbs []float64, right []bool) Calibration {
	var all [bins]Reliability
	for i, logProb := range logProbs {
		p := math.Exp(min(0, logProb))
		bin := &all[min(bins-1, int(p*bins))]
		bin.N++
		bin.Confidence += p
		if right[i] {
			bin.Accuracy++
		}
	}
	c := Calibration{Bins: []Reliability{}}
	for _, bin := range all {
		if bin.N > 0 {
			c.ECE += math.Abs(bin.Accuracy-bin.Confidence) / float64(len(logProbs))
			bin.Confidence, bin.Accuracy = bin.Confidence/float64(bin.N), bin.Accuracy/float64(bin.N)
			c.Bins = append(c.Bins, bin)
		}
	}
	return c
}
