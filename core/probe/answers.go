package probe

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// MaxClasses bounds the distinct answers that a probe tells apart. Where there are more, nearly
// every answer is its own, and a probe has nothing to learn.
const MaxClasses = 4096

// Told are inputs, each with the lines of its true answer.
type Told struct {
	Inputs  []float32 // [n, width]
	Answers [][]string
}

// Answers is a probe that answers questions whose true answers are lines from a closed set. Each
// distinct answer is a class, and the probability of a line is that of all classes that have it.
type Answers struct {
	probe     *probe
	classes   [][]string
	threshold float64 // the lines that are at least so likely are the answer; if none is, the likeliest one
}

// NewAnswers trains a probe. If all training answers have one line, so have its own. Otherwise it
// answers with the lines above a threshold, the one with the highest micro-F1 on the validation
// examples, which also choose the epoch and the learning rate.
func NewAnswers(ctx context.Context, engine *cgo.Engine, train, validation Told, c Config) (*Answers, error) {
	a, number := &Answers{}, map[string]int32{}
	classOf := func(answer []string) int32 {
		lines := slices.Sorted(slices.Values(answer))
		key := strings.Join(lines, "\n")
		class, known := number[key]
		if !known {
			class = int32(len(a.classes))
			number[key], a.classes = class, append(a.classes, lines)
		}
		return class
	}
	var d Data
	for _, part := range []struct {
		to   *Examples
		from Told
	}{{&d.Train, train}, {&d.Validation, validation}} {
		part.to.Inputs = part.from.Inputs
		for _, answer := range part.from.Answers {
			part.to.Targets = append(part.to.Targets, classOf(answer))
		}
	}
	d.Test = d.Validation
	if _, err := d.check(len(a.classes)); err != nil {
		return nil, err
	}
	if len(a.classes) > MaxClasses {
		return nil, fmt.Errorf("probe: %d distinct answers; a probe tells at most %d apart", len(a.classes), MaxClasses)
	}
	var err error
	if a.probe, err = fit(ctx, engine, d, len(a.classes), c, nil, nil); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(train.Answers, func(answer []string) bool { return len(answer) != 1 }) {
		a.threshold = math.Inf(1)
		return a, nil
	}
	return a, a.choose(ctx, validation)
}

// Close releases the probe.
func (a *Answers) Close() error { return a.probe.model.Close() }

// choose sets the threshold.
func (a *Answers) choose(ctx context.Context, validation Told) error {
	const steps = 19
	var made, right [steps]int
	asked := 0
	err := a.likely(ctx, validation.Inputs, func(i int, lines map[string]float64) {
		truth := validation.Answers[i]
		asked += len(truth)
		for step := range steps {
			for _, line := range above(lines, float64(step+1)/(steps+1)) {
				made[step]++
				if slices.Contains(truth, line) {
					right[step]++
				}
			}
		}
	})
	best := 0.0
	for step := range steps {
		if f1 := 2 * float64(right[step]) / float64(made[step]+asked); f1 > best {
			best, a.threshold = f1, float64(step+1)/(steps+1)
		}
	}
	return err
}

// likely tells the probability of each line for each input.
func (a *Answers) likely(ctx context.Context, inputs []float32, tell func(input int, lines map[string]float64)) error {
	return a.probe.score(ctx, inputs, func(input int, scores []float32) {
		lines, top, sum := map[string]float64{}, float64(slices.Max(scores)), 0.0
		for _, score := range scores {
			sum += math.Exp(float64(score) - top)
		}
		for class, score := range scores {
			for _, line := range a.classes[class] {
				lines[line] += math.Exp(float64(score)-top) / sum
			}
		}
		tell(input, lines)
	})
}

// above gives the lines that are at least so likely, the likeliest first; the likeliest one in any
// case.
func above(lines map[string]float64, threshold float64) (chosen []string) {
	best := ""
	for line, p := range lines {
		if p >= threshold {
			chosen = append(chosen, line)
		}
		if best == "" || p > lines[best] || p == lines[best] && line < best {
			best = line
		}
	}
	if len(chosen) == 0 {
		return []string{best}
	}
	slices.SortFunc(chosen, func(x, y string) int {
		if lines[x] != lines[y] {
			return int(math.Copysign(1, lines[y]-lines[x]))
		}
		return strings.Compare(x, y)
	})
	return chosen
}

// Answer gives the lines of the answer to each input [n, width].
func (a *Answers) Answer(ctx context.Context, inputs []float32) (answers [][]string, err error) {
	err = a.likely(ctx, inputs, func(_ int, lines map[string]float64) { answers = append(answers, above(lines, a.threshold)) })
	return answers, err
}
