package ranks

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/recinterpreter/recinterpreter/cgo"
)

// Model is what is trained. *cgo.Recommender, *cgo.Adapter and *cgo.Probe are models.
type Model interface {
	Tensors() ([]cgo.TensorInfo, error)
	Read(dst []float32, index int, slot cgo.Slot) error
	Write(index int, slot cgo.Slot, src []float32) error
}

// Leaf is a part of a batch that one rank computes.
type Leaf struct {
	Cost   float64 // of computing it, relative to the others; 0: 1
	Weight float64 // its gradient's and loss's in the sum; 0: 1
}

// Sum computes the leaves of a batch, each on one rank: compute adds a leaf's gradient to the
// model's, which is zero, and gives its loss. In the end every rank's model has the sum of all
// gradients, added in the order of the leaves, and every rank knows all losses, weighted. The bits
// do not depend on the number of ranks. After an error the gradient is zero.
func (g *Group) Sum(ctx context.Context, model Model, leaves []Leaf, compute func(leaf int) (float64, error)) (losses []float64, err error) {
	gradient, err := gradientOf(model)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, gradient.clear())
		}
	}()
	losses = make([]float64, len(leaves))
	if g.Size() == 1 && unweighted(leaves) { // the model adds gradients itself, in the same way
		for i := range leaves {
			if losses[i], err = compute(i); err != nil {
				return nil, err
			}
		}
		return losses, nil
	}

	// Each rank adds up one slice of the gradient.
	first := func(rank int) int { return gradient.n * rank / g.Size() }
	own, sum := g.Rank(), make([]float32, first(g.Rank()+1)-first(g.Rank()))
	owner := share(leaves, g.Size())
	parts, computed := make([][]float32, len(leaves)), []float64(nil) // of this rank's leaves
	for i, leaf := range leaves {
		if owner[i] != own {
			continue
		}
		loss, err := compute(i)
		if err != nil {
			if g.Size() > 1 && errors.Is(err, cgo.ErrNumeric) { // the others could not skip this step, too
				err = fmt.Errorf("part %d of a step: %v", i+1, err)
			}
			return nil, err
		}
		all := make([]float32, gradient.n)
		if err := gradient.read(all); err != nil {
			return nil, err
		}
		if err := gradient.clear(); err != nil {
			return nil, err
		}
		computed = append(computed, loss*leaf.weight())
		for to := range g.Size() {
			part := all[first(to):first(to+1)]
			if to == own {
				parts[i] = part
			} else if err := g.send(to, encode(part)); err != nil {
				return nil, err
			}
		}
	}
	if err := g.tell(encode(computed)); err != nil {
		return nil, err
	}
	for i, leaf := range leaves {
		if owner[i] != own {
			message, err := g.next(ctx, owner[i])
			if err != nil {
				return nil, err
			}
			if parts[i], err = decode[float32](message, len(sum)); err != nil {
				return nil, err
			}
		}
		if len(sum) > 0 {
			blas32.Axpy(float32(leaf.weight()), vector(parts[i]), vector(sum))
		}
		parts[i] = nil
	}
	if err := g.tell(encode(sum)); err != nil {
		return nil, err
	}
	all := make([]float32, gradient.n)
	for from := range g.Size() {
		values, slice := computed, sum
		if from != own {
			n := 0
			for _, o := range owner {
				if o == from {
					n++
				}
			}
			if values, err = receive[float64](ctx, g, from, n); err != nil {
				return nil, err
			}
			if slice, err = receive[float32](ctx, g, from, first(from+1)-first(from)); err != nil {
				return nil, err
			}
		}
		copy(all[first(from):], slice)
		for i, o := range owner {
			if o == from {
				losses[i], values = values[0], values[1:]
			}
		}
	}
	return losses, gradient.write(all)
}

// Enough reports a batch without a micro-batch for each rank. A microBatch of 0 is the whole batch.
func Enough(g *Group, batch, microBatch int) error {
	parts := 1
	if microBatch > 0 {
		parts = (batch + microBatch - 1) / microBatch
	}
	if parts >= g.Size() {
		return nil
	}
	return fmt.Errorf("%d ranks share the micro-batches of a step, and a batch of %d has %d of them; choose a micro-batch of at most %d",
		g.Size(), batch, parts, max(1, batch/g.Size()))
}

func (l Leaf) weight() float64 { return cmp.Or(l.Weight, 1) }

func unweighted(leaves []Leaf) bool {
	for _, leaf := range leaves {
		if leaf.weight() != 1 {
			return false
		}
	}
	return true
}

func vector(values []float32) blas32.Vector {
	return blas32.Vector{N: len(values), Inc: 1, Data: values}
}

// tell sends a message to all others.
func (g *Group) tell(message []byte) error {
	for to := range g.Size() {
		if to == g.Rank() {
			continue
		}
		if err := g.send(to, message); err != nil {
			return err
		}
	}
	return nil
}

// receive waits for n numbers of a rank.
func receive[T float32 | float64](ctx context.Context, g *Group, from, n int) ([]T, error) {
	message, err := g.next(ctx, from)
	if err != nil {
		return nil, err
	}
	return decode[T](message, n)
}

// gradient is the accumulated gradient of a model's trainable tensors, one after the other.
type gradient struct {
	model   Model
	tensors []cgo.TensorInfo
	n       int
	zeros   []float32
}

func gradientOf(model Model) (*gradient, error) {
	tensors, err := model.Tensors()
	if err != nil {
		return nil, err
	}
	g := &gradient{model: model, tensors: tensors}
	return g, g.each(func(_, elements int) error {
		g.n += elements
		return nil
	})
}

// each visits the trainable tensors.
func (g *gradient) each(visit func(index, elements int) error) error {
	for i, t := range g.tensors {
		if !t.Trainable {
			continue
		}
		if err := visit(i, t.Elements()); err != nil {
			return err
		}
	}
	return nil
}

func (g *gradient) read(dst []float32) error {
	return g.each(func(index, elements int) error {
		values := dst[:elements]
		dst = dst[elements:]
		return g.model.Read(values, index, cgo.Gradient)
	})
}

func (g *gradient) write(src []float32) error {
	return g.each(func(index, elements int) error {
		values := src[:elements]
		src = src[elements:]
		return g.model.Write(index, cgo.Gradient, values)
	})
}

func (g *gradient) clear() error {
	if g.zeros == nil {
		g.zeros = make([]float32, g.n)
	}
	return g.write(g.zeros)
}
