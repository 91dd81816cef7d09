package recommender

import (
	"math/rand/v2"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// initStream keeps the random numbers of the first weights apart from those of the epochs, whose
// streams are their numbers, counted from 1.
const initStream = 0

// initialise gives the model its first weights, the same for the same seed. The native model says
// how each tensor's are drawn. The embedding of padding is zero.
func initialise(model *cgo.Model, c Config) error {
	tensors, err := model.Tensors()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(c.Seed, initStream))
	for i, t := range tensors {
		values := make([]float32, t.Elements())
		for k := range values {
			switch t.Initial {
			case cgo.One:
				values[k] = 1
			case cgo.Normal:
				values[k] = float32(random.NormFloat64() * t.Scale)
			case cgo.Uniform:
				values[k] = float32((2*random.Float64() - 1) * t.Scale)
			}
		}
		if t.Role == cgo.RoleItems {
			clear(values[c.Items*c.Width : (c.Items+1)*c.Width])
		}
		if err := model.Write(i, cgo.Value, values); err != nil {
			return err
		}
	}
	return nil
}
