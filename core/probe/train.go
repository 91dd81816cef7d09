package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
	"github.com/recinterpreter/recinterpreter/core/checkpoint"
	"github.com/recinterpreter/recinterpreter/core/evaluate"
	"github.com/recinterpreter/recinterpreter/core/ranks"
)

// Random streams of a seed.
const (
	streamDraw = iota
	streamWeights
	streamOrder
)

// Config says what a probe is and how it is trained.
type Config struct {
	Hidden        int       // units of the hidden layer (GELU); 0: the probe is linear
	LearningRates []float64 // of AdamW's first step, falling linearly to 0: each is tried
	Epochs        int       // of each try
	BatchSize     int
	MicroBatch    int    // examples of a batch that are computed together, on one rank; 0: all
	Seed          uint64 // of the first weights and the order
}

// Linear and MLP are the probes of Measure. Their sizes and rates were chosen on the validation
// part of MovieLens-100K for three recommenders of the paper's authors; no one rate suits all
// three.
func Linear(seed uint64) Config {
	return Config{LearningRates: []float64{0.03, 0.2}, Epochs: 6, BatchSize: 256, Seed: seed}
}

// MLP: see Linear.
func MLP(seed uint64) Config {
	return Config{Hidden: 256, LearningRates: []float64{0.005, 0.02}, Epochs: 5, BatchSize: 256, Seed: seed}
}

// batches is the number of training batches for n examples.
func (c Config) batches(n int) int { return len(c.LearningRates) * c.Epochs * c.steps(n) }

// steps is the number of batches in an epoch.
func (c Config) steps(n int) int { return (n + c.BatchSize - 1) / c.BatchSize }

// Examples are inputs, each with the item that a probe is to name.
type Examples struct {
	Inputs  []float32 // [n, width]
	Targets []int32   // [n]
}

// Data holds the examples to learn from, to choose by and to report on.
type Data struct {
	Train, Validation, Test Examples
}

// check gives the width of the inputs, or says what is wrong with them.
func (d Data) check(items int) (width int, err error) {
	n := len(d.Train.Targets)
	if n == 0 || len(d.Validation.Targets) == 0 || len(d.Test.Targets) == 0 {
		return 0, fmt.Errorf("probe: %d sequences to learn from, %d to choose by and %d to report on; all three are needed",
			n, len(d.Validation.Targets), len(d.Test.Targets))
	}
	width = len(d.Train.Inputs) / n
	for name, e := range map[string]Examples{"training": d.Train, "validation": d.Validation, "test": d.Test} {
		if len(e.Inputs) != len(e.Targets)*width {
			return 0, fmt.Errorf("probe: %s: %d numbers are not %d inputs of width %d", name, len(e.Inputs), len(e.Targets), width)
		}
		for i, item := range e.Targets {
			if item < 0 || int(item) >= items {
				return 0, fmt.Errorf("probe: %s: sequence %d ends in item %d; the catalogue has items 0 to %d", name, i, item, items-1)
			}
		}
	}
	return width, nil
}

// Result is how well a probe names items. Its learning rate and epoch are those that were best on
// validation, of equal ones the first; then, and only then, the test examples were looked at.
type Result struct {
	Hidden       int            `json:"hidden"`
	Epochs       int            `json:"epochs"`
	Epoch        int            `json:"epoch"`         // the chosen one, counted from 1
	LearningRate float64        `json:"learning_rate"` // the chosen one
	Validation   evaluate.Share `json:"validation"`
	Test         evaluate.Share `json:"test"` // an item counts as named when its score is higher than every other's
}

// Train trains a probe that names one of so many items, by mean cross-entropy, and measures it.
// Inputs are standardised by the training examples. The context and progress, which may be nil,
// have their turn between batches. Inputs that are not finite are an error.
func Train(ctx context.Context, engine *cgo.Engine, d Data, items int, c Config, progress func()) (Result, error) {
	return train(ctx, engine, d, items, c, nil, progress)
}

// train is Train, which resumes from keep and saves to it.
func train(ctx context.Context, engine *cgo.Engine, d Data, items int, c Config, keep *keeper, progress func()) (Result, error) {
	if _, err := d.check(items); err != nil {
		return Result{}, err
	}
	p, err := fit(ctx, engine, d, items, c, keep, progress)
	if err != nil {
		return Result{}, err
	}
	defer p.model.Close()
	if p.result.Test, err = p.measure(ctx, d.Test); err != nil {
		return Result{}, p.stopped(ctx, err, keep)
	}
	return p.result, nil
}

// stopped saves a probe whose context has ended, and passes on the error.
func (p *probe) stopped(ctx context.Context, err error, keep *keeper) error {
	if ctx.Err() != nil || errors.Is(err, ranks.ErrLeft) {
		err = errors.Join(err, keep.save(p))
	}
	return err
}

// fit trains a probe and gives it the weights that are best on validation. The caller closes its
// model.
func fit(ctx context.Context, engine *cgo.Engine, d Data, items int, c Config, keep *keeper, progress func()) (_ *probe, err error) {
	width := len(d.Train.Inputs) / len(d.Train.Targets)
	standard, err := align.FitStandard([][]float32{d.Train.Inputs}, width)
	if err != nil {
		return nil, err
	}
	model, err := cgo.NewProbe(engine, cgo.ProbeParams{In: width, Hidden: c.Hidden, Classes: items})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			model.Close()
		}
	}()
	p := &probe{Config: c, model: model, width: width, items: items, standard: standard, inputs: make([]float32, c.BatchSize*width),
		targets: make([]int32, c.BatchSize), scores: make([]float32, c.BatchSize*items)}
	p.result = Result{Hidden: c.Hidden, Epochs: c.Epochs}
	if err := keep.resume(p); err != nil {
		return nil, err
	}
	for ; p.at.Rate < len(c.LearningRates); p.at = (cursor{Rate: p.at.Rate + 1}) {
		if err := p.try(ctx, d, c.LearningRates[p.at.Rate], keep, progress); err != nil {
			return nil, p.stopped(ctx, err, keep)
		}
	}
	return p, p.best.Restore(model)
}

// probe is a training under way.
type probe struct {
	Config
	model        *cgo.Probe
	width, items int
	standard     align.Standard
	inputs       []float32 // [BatchSize, width]
	targets      []int32   // [BatchSize]
	scores       []float32 // [BatchSize, items]
	best         checkpoint.Best
	result       Result
	at           cursor
}

// try trains with one learning rate, from the start or from where a checkpoint has left it, and
// keeps the weights and figures of an epoch that is better than all before it.
func (p *probe) try(ctx context.Context, d Data, rate float64, keep *keeper, progress func()) error {
	if p.at.Epoch == 0 && p.at.Step == 0 {
		if err := p.start(); err != nil {
			return err
		}
	}
	random := rand.New(rand.NewPCG(p.Seed, streamOrder))
	n := len(d.Train.Targets)
	all := p.Epochs * p.steps(n)
	for range p.at.Epoch {
		random.Perm(n) // the orders of earlier epochs
	}
	for ; p.at.Epoch < p.Epochs; p.at.Epoch, p.at.Step = p.at.Epoch+1, 0 {
		order := random.Perm(n)
		for ; p.at.Step < p.steps(n); p.at.Step++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := keep.saveIfDue(p); err != nil {
				return err
			}
			rows := order[p.at.Step*p.BatchSize : min(n, (p.at.Step+1)*p.BatchSize)]
			if err := p.backward(ctx, d.Train, rows); err != nil {
				return err
			}
			done := p.at.Epoch*p.steps(n) + p.at.Step
			_, err := p.model.Update(cgo.AdamW{LearningRate: float32(rate * float64(all-done) / float64(all)), Beta1: 0.9,
				Beta2: 0.999, Epsilon: 1e-8, Step: int64(done + 1)})
			if err != nil {
				return err
			}
			if progress != nil {
				progress()
			}
		}
		share, err := p.measure(ctx, d.Validation)
		if err != nil {
			return err
		}
		if p.result.Epoch > 0 && share.Hits <= p.result.Validation.Hits {
			continue
		}
		p.result.Validation, p.result.Epoch, p.result.LearningRate = share, p.at.Epoch+1, rate
		if err := p.best.Keep(p.model); err != nil {
			return err
		}
	}
	return nil
}

// backward adds the gradient of a batch, to which each rank contributes some micro-batches.
func (p *probe) backward(ctx context.Context, e Examples, rows []int) error {
	size := cmp.Or(p.MicroBatch, len(rows))
	leaves := make([]ranks.Leaf, (len(rows)+size-1)/size)
	part := func(i int) []int { return rows[i*size : min(len(rows), (i+1)*size)] }
	for i := range leaves {
		leaves[i].Cost = float64(len(part(i)))
		leaves[i].Weight = leaves[i].Cost / float64(len(rows))
	}
	_, err := ranks.Of(ctx).Sum(ctx, p.model, leaves, func(i int) (float64, error) {
		inputs, targets := p.batch(e, part(i))
		return p.model.Backward(inputs, targets, len(targets))
	})
	return err
}

// start sets the first weights: normal below a hidden layer (He et al. 2015, arXiv 1502.01852),
// else zero.
func (p *probe) start() error {
	random := rand.New(rand.NewPCG(p.Seed, streamWeights))
	if err := checkpoint.Clear(p.model, cgo.Moment1, cgo.Moment2); err != nil {
		return err
	}
	tensors, err := p.model.Tensors()
	if err != nil {
		return err
	}
	for i, t := range tensors {
		values := make([]float32, t.Elements())
		if t.Name == "w1" {
			for k := range values {
				values[k] = float32(random.NormFloat64() * math.Sqrt(2/float64(p.width)))
			}
		}
		if err := p.model.Write(i, cgo.Value, values); err != nil {
			return err
		}
	}
	return nil
}

// batch gives the examples with those numbers, standardised.
func (p *probe) batch(e Examples, rows []int) (inputs []float32, targets []int32) {
	inputs, targets = p.inputs[:len(rows)*p.width], p.targets[:len(rows)]
	for i, row := range rows {
		p.standard.Apply(inputs[i*p.width:], e.Inputs[row*p.width:(row+1)*p.width])
		targets[i] = e.Targets[row]
	}
	return inputs, targets
}

// measure gives the share of examples whose item has a higher score than every other.
func (p *probe) measure(ctx context.Context, e Examples) (evaluate.Share, error) {
	hits := 0
	err := p.score(ctx, e.Inputs, func(i int, scores []float32) {
		if names(scores, int(e.Targets[i])) {
			hits++
		}
	})
	return evaluate.NewShare(hits, len(e.Targets)), err
}

// score tells the scores of all items for each input, which are not to be kept.
func (p *probe) score(ctx context.Context, inputs []float32, tell func(input int, scores []float32)) error {
	for from, all := 0, len(inputs)/p.width; from < all; from += p.BatchSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(p.BatchSize, all-from)
		batch, scores := p.inputs[:n*p.width], p.scores[:n*p.items]
		p.standard.Apply(batch, inputs[from*p.width:][:len(batch)])
		if err := p.model.Scores(scores, batch, n); err != nil {
			return err
		}
		for i := range n {
			tell(from+i, scores[i*p.items:][:p.items])
		}
	}
	return nil
}

// names reports whether an item's score is higher than every other.
func names(scores []float32, item int) bool {
	for i, score := range scores {
		if i != item && !(score < scores[item]) {
			return false
		}
	}
	return true
}
