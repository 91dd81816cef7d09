package probe

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/align"
)

// Config says what a probe is and how it learns. AdamW's rate falls linearly to 0.
type Config struct {
	Hidden       int     `json:"hidden"` // units of the hidden layer; 0: the probe is linear
	Epochs       int     `json:"epochs"`
	BatchSize    int     `json:"batch_size"`
	LearningRate float64 `json:"learning_rate"` // of the first step
	WeightDecay  float64 `json:"weight_decay"`  // decoupled, of matrices
	Seed         uint64  `json:"seed"`          // of initialisation and order
}

// Examples are inputs, each with the item that a probe is to name.
type Examples struct {
	Inputs  []float32 // [n, width]
	Targets []int32   // [n]
}

// Data holds the examples to learn from, to choose by and to report on.
type Data struct {
	Train, Validation, Test Examples
}

// standardise shifts and scales every coordinate by what the training examples show.
func (d *Data) standardise(width int) error {
	standard, err := align.FitStandard(d.Train.Inputs, width)
	if err != nil {
		return err
	}
	for _, e := range []Examples{d.Train, d.Validation, d.Test} {
		standard.Apply(e.Inputs, e.Inputs)
	}
	return nil
}

// probe is a classifier under way.
type probe struct {
	model           *cgo.Model
	width, items    int
	inputs          []float32 // of a batch
	targets         []int32
	scores          []float32
	tensors         []cgo.TensorInfo
	best            [][]float32
	chosen, correct int
}

// Train learns to name one of that many items from the inputs, and gives the accuracy on the examples to report on of the epoch that was
// best on those to choose by, of equal ones the first. Inputs are standardised in place.
func Train(ctx context.Context, engine *cgo.Engine, d Data, items int, c Config, step func()) (Accuracy, error) {
	if len(d.Train.Targets) == 0 || len(d.Validation.Targets) == 0 || len(d.Test.Targets) == 0 {
		return Accuracy{}, fmt.Errorf("probe: none")
	}
	width := len(d.Train.Inputs) / len(d.Train.Targets)
	if err := d.standardise(width); err != nil {
		return Accuracy{}, err
	}
	model, err := cgo.NewProbe(engine, cgo.ProbeParams{In: width, Hidden: c.Hidden, Classes: items})
	if err != nil {
		return Accuracy{}, err
	}
	defer model.Close()
	tensors, err := model.Tensors()
	if err != nil {
		return Accuracy{}, err
	}
	p := probe{model: model, width: width, items: items, tensors: tensors,
		inputs: make([]float32, 0, c.BatchSize*width), targets: make([]int32, 0, c.BatchSize), scores: make([]float32, c.BatchSize*items)}
	random := rand.New(rand.NewPCG(c.Seed, 0))
	if c.Hidden > 0 {
		w := make([]float32, tensors[0].Elements())
		for i := range w {
			w[i] = float32(random.NormFloat64() * math.Sqrt(2/float64(width)))
		}
		if err := model.Write(0, cgo.Value, w); err != nil {
			return Accuracy{}, err
		}
	}
	n := len(d.Train.Targets)
	steps := (n + c.BatchSize - 1) / c.BatchSize
	p.correct = -1
	for epoch := range c.Epochs {
		order := random.Perm(n)
		sum := 0.0
		for s := range steps {
			if err := ctx.Err(); err != nil {
				return Accuracy{}, err
			}
			p.gather(d.Train, order[s*c.BatchSize:min(n, (s+1)*c.BatchSize)])
			loss, err := model.ProbeBackward(p.inputs, p.targets)
			if err != nil {
				return Accuracy{}, err
			}
			sum += loss
			done := float64(epoch*steps+s) / float64(c.Epochs*steps)
			if _, err := model.Update(cgo.AdamW{LearningRate: float32(c.LearningRate * (1 - done)), Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8,
				WeightDecay: float32(c.WeightDecay), Step: int64(epoch*steps + s + 1)}); err != nil {
				return Accuracy{}, err
			}
			if step != nil {
				step()
			}
		}
		correct, err := p.count(ctx, d.Validation)
		if err != nil {
			return Accuracy{}, err
		}
		if Debug {
			fmt.Printf("   epoch %d loss %.4f val %.4f\n", epoch+1, sum/float64(steps), float64(correct)/float64(len(d.Validation.Targets)))
		}
		if correct > p.correct {
			p.correct, p.chosen = correct, epoch+1
			p.best = p.best[:0]
			for i, t := range tensors {
				v := make([]float32, t.Elements())
				if err := model.Read(v, i, cgo.Value); err != nil {
					return Accuracy{}, err
				}
				p.best = append(p.best, v)
			}
		}
	}
	for i, v := range p.best {
		if err := model.Write(i, cgo.Value, v); err != nil {
			return Accuracy{}, err
		}
	}
	hits, err := p.count(ctx, d.Test)
	return Accuracy{Epoch: p.chosen, Validation: float64(p.correct) / float64(len(d.Validation.Targets)), Test: float64(hits) / float64(len(d.Test.Targets))}, err
}

var Debug bool

type Accuracy struct {
	Epoch            int
	Validation, Test float64
}

func (p *probe) gather(e Examples, rows []int) {
	p.inputs, p.targets = p.inputs[:0], p.targets[:0]
	for _, r := range rows {
		p.inputs = append(p.inputs, e.Inputs[r*p.width:(r+1)*p.width]...)
		p.targets = append(p.targets, e.Targets[r])
	}
}

// count gives the number of examples whose item has a higher score than every other.
func (p *probe) count(ctx context.Context, e Examples) (correct int, err error) {
	atOnce := cap(p.targets)
	for from := 0; from < len(e.Targets); from += atOnce {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		to := min(from+atOnce, len(e.Targets))
		scores := p.scores[:(to-from)*p.items]
		if err := p.model.ProbeScores(scores, e.Inputs[from*p.width:to*p.width], to-from); err != nil {
			return 0, err
		}
		for i, target := range e.Targets[from:to] {
			row := scores[i*p.items:][:p.items]
			right := true
			for k, s := range row {
				if !(s < row[target]) && k != int(target) {
					right = false
					break
				}
			}
			if right {
				correct++
			}
		}
	}
	return correct, nil
}
