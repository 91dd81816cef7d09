package recommender

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/recinterpreter/recinterpreter/cgo"
	"github.com/recinterpreter/recinterpreter/core/artifact"
)

// initStream keeps the random numbers of the first weights apart from those of the epochs, whose streams are their
// numbers, counted from 1.
const initStream = 0

// initialise gives the model its first weights, the same for the same seed: embeddings normal, matrices and biases
// uniform in ±1/√(fan-in) as in PyTorch, of a GRU ±1/√(units), norms one, and the embedding of padding zero. DreamRec's
// embeddings are what its noise of variance 1 is added to, so they have that variance too. Biases of Caser's filters are
// zero: embeddings are small at first, so that a filter whose bias is negative would never pass its ReLU, and never learn.
func initialise(model *cgo.Model, c Config) error {
	tensors, err := model.Tensors()
	if err != nil {
		return err
	}
	spread := 0.02
	if c.Model == DreamRec {
		spread = 1
	}
	random := rand.New(rand.NewPCG(c.Seed, initStream))
	limit := 0.0 // a bias follows the matrix that it belongs to
	for i, t := range tensors {
		values := make([]float32, t.Elements())
		switch {
		case isEmbedding(t.Name):
			for k := range values {
				values[k] = float32(random.NormFloat64() * spread)
			}
			if len(values) == (c.Items+1)*c.Width {
				clear(values[c.Items*c.Width:])
			}
		case isNorm(t.Name):
			if strings.HasSuffix(t.Name, ".weight") {
				for k := range values {
					values[k] = 1
				}
			}
		case c.Model == Caser && isFilterBias(t.Name):
		default:
			if strings.HasPrefix(t.Name, "gru") {
				limit = 1 / math.Sqrt(float64(c.Hidden))
			} else if len(t.Shape) > 1 {
				limit = 1 / math.Sqrt(float64(t.Elements()/t.Shape[0]))
			}
			for k := range values {
				values[k] = float32((2*random.Float64() - 1) * limit)
			}
		}
		if err := model.Write(i, cgo.Value, values); err != nil {
			return err
		}
	}
	return nil
}

func isEmbedding(name string) bool {
	return strings.Contains(name, "_emb.") || strings.Contains(name, "_embedding")
}

// isFilterBias says whether a tensor is the bias of a convolution of Caser, in the authors' or in RecBole's layout.
func isFilterBias(name string) bool {
	return strings.HasSuffix(name, ".bias") && (strings.Contains(name, "_cnn") || strings.HasPrefix(name, "conv_"))
}

func isNorm(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "ln_") || strings.Contains(name, "layer_norm") || strings.Contains(name, "layernorm")
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
