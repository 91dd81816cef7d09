package recommender

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// initStream keeps the random numbers of the first weights apart from those of the epochs, whose streams are their
// numbers, counted from 1.
const initStream = 0

// initialise gives the model its first weights, the same for the same seed. The native model says how each tensor's are
// drawn. The embedding of padding is zero.
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

// readSlot copies one slot of all tensors into safetensors form, under their names with a prefix.
func readSlot(model *cgo.Model, slot cgo.Slot, prefix string) ([]artifact.Tensor, error) {
	infos, err := model.Tensors()
	if err != nil {
		return nil, err
	}
	tensors := make([]artifact.Tensor, len(infos))
	for i, info := range infos {
		values := make([]float32, info.Elements())
		if err := model.Read(values, i, slot); err != nil {
			return nil, err
		}
		tensors[i] = artifact.Tensor{Name: prefix + info.Name, DType: "F32", Shape: info.Shape, F32: values}
	}
	return tensors, nil
}

// writeSlot fills one slot of all tensors from a file, which must have each under its name with the prefix. The two 1×1
// convolutions of the authors' files have shape [D, D, 1], which is a matrix here.
func writeSlot(model *cgo.Model, slot cgo.Slot, file *artifact.File, prefix string) error {
	infos, err := model.Tensors()
	if err != nil {
		return err
	}
	for i, info := range infos {
		tensor, err := file.Find(prefix + info.Name)
		if err != nil {
			return err
		}
		shape := tensor.Shape
		for len(shape) > len(info.Shape) && shape[len(shape)-1] == 1 {
			shape = shape[:len(shape)-1]
		}
		if !slices.Equal(shape, info.Shape) {
			return fmt.Errorf("tensor %q has shape %v, the model needs %v", tensor.Name, tensor.Shape, info.Shape)
		}
		values, err := file.Float32(tensor.Name)
		if err != nil {
			return err
		}
		if err := model.Write(i, slot, values); err != nil {
			return err
		}
	}
	return nil
}
