package checkpoint

import (
	"fmt"
	"slices"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// Model is a model that can be stored. *cgo.Recommender, *cgo.Adapter and *cgo.Probe are models.
type Model interface {
	Tensors() ([]cgo.TensorInfo, error)
	Read(dst []float32, index int, slot cgo.Slot) error
	Write(index int, slot cgo.Slot, src []float32) error
}

// slots are the values stored of each tensor, under its name after these prefixes.
var slots = []struct {
	slot   cgo.Slot
	prefix string
}{{cgo.Value, "value."}, {cgo.Moment1, "moment1."}, {cgo.Moment2, "moment2."}}

// Put adds the values and moments of a model to a file.
func Put(file *artifact.File, m Model) error {
	for _, s := range slots {
		tensors, err := Read(m, s.slot, s.prefix)
		if err != nil {
			return err
		}
		file.Tensors = append(file.Tensors, tensors...)
	}
	return nil
}

// Take sets the values and moments of a model to those that Put added to a file.
func Take(file *artifact.File, m Model) error {
	for _, s := range slots {
		if err := Write(m, s.slot, file, s.prefix); err != nil {
			return err
		}
	}
	return nil
}

// Read copies one slot of all tensors, under their names after a prefix.
func Read(m Model, slot cgo.Slot, prefix string) ([]artifact.Tensor, error) {
	infos, err := m.Tensors()
	if err != nil {
		return nil, err
	}
	tensors := make([]artifact.Tensor, len(infos))
	for i, info := range infos {
		values := make([]float32, info.Elements())
		if err := m.Read(values, i, slot); err != nil {
			return nil, err
		}
		tensors[i] = artifact.Tensor{Name: prefix + info.Name, DType: "F32", Shape: info.Shape, F32: values}
	}
	return tensors, nil
}

// Write fills one slot of all tensors from a file, which must have each under its name after a
// prefix. Final dimensions of 1 that the model does not have are dropped: files of PyTorch hold 1×1
// convolutions [D, D, 1] that are matrices here.
func Write(m Model, slot cgo.Slot, file *artifact.File, prefix string) error {
	infos, err := m.Tensors()
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
		if err := m.Write(i, slot, values); err != nil {
			return err
		}
	}
	return nil
}

// Clear sets slots of all tensors to zero.
func Clear(m Model, slots ...cgo.Slot) error {
	infos, err := m.Tensors()
	if err != nil {
		return err
	}
	for i, info := range infos {
		zero := make([]float32, info.Elements())
		for _, slot := range slots {
			if err := m.Write(i, slot, zero); err != nil {
				return err
			}
		}
	}
	return nil
}

// Best are the values of a model at the best point of its training so far. A file holds them in
// addition to the tensors that Put adds.
type Best []artifact.Tensor

// bestPrefix is the prefix of the names of Best's tensors.
const bestPrefix = "best."

// Keep copies the values of a model.
func (b *Best) Keep(m Model) (err error) {
	*b, err = Read(m, cgo.Value, bestPrefix)
	return err
}

// Restore sets a model to these values.
func (b Best) Restore(m Model) error {
	return Write(m, cgo.Value, &artifact.File{Tensors: b}, bestPrefix)
}

// Take reads the values from a file, which must have all of them in the shapes of the model. It
// also sets the model to them.
func (b *Best) Take(file *artifact.File, m Model) error {
	if err := Write(m, cgo.Value, file, bestPrefix); err != nil {
		return err
	}
	return b.Keep(m)
}
