package cgo

// #include "recint.h"
// #cgo nocallback ri_probe_backward
// #cgo noescape ri_probe_backward
// #cgo nocallback ri_probe_scores
// #cgo noescape ri_probe_scores
import "C"

// ProbeParams sizes a probe.
type ProbeParams struct {
	In      int // numbers in an input
	Hidden  int // units of the hidden layer (GELU); 0: none, the probe is linear
	Classes int // C
}

// Probe is a classifier of vectors.
type Probe struct {
	Model
	params ProbeParams
}

// NewProbe makes a probe of zeros. Its tensors are weight [C, In], bias [C]; with a hidden layer w1
// [Hidden, In], b1 [Hidden], w2 [C, Hidden], b2 [C].
func NewProbe(engine *Engine, params ProbeParams) (*Probe, error) {
	const op = "make probe"
	if err := checkInt32(op, params.In, params.Hidden, params.Classes); err != nil {
		return nil, err
	}
	p := C.ri_probe_params_default()
	p.n_in, p.n_hidden, p.n_classes = C.int32_t(params.In), C.int32_t(params.Hidden), C.int32_t(params.Classes)
	probe := &Probe{params: params}
	err := probe.create(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_probe_create(e, &p, m, err)
	})
	if err != nil {
		return nil, err
	}
	return probe, nil
}

// Backward adds to the probe's gradient that of the mean full-softmax cross-entropy of targets [n,
// each], classes of 0..C-1, given inputs [n, In], and gives that mean, in nats. -1 behind an
// input's first target is no target. ErrNumeric: an input holds NaN or infinity.
func (p *Probe) Backward(inputs []float32, targets []int32, n int) (loss float64, err error) {
	const op = "train probe"
	err = p.use(op, func(m *C.ri_model) error {
		if err := checkLength(op, "inputs", len(inputs), n, p.params.In); err != nil {
			return err
		}
		each := len(targets) / max(1, n)
		if err := checkLength(op, "targets", len(targets), n, each); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_probe_backward(m, data[C.float](inputs), data[C.int32_t](targets), C.size_t(each),
				C.size_t(n), (*C.double)(&loss), e)
		})
	})
	return loss, err
}

// Scores writes the scores of all classes, before the softmax, from inputs [n, In] to dst [n, C].
// ErrNumeric: an input holds NaN or infinity.
func (p *Probe) Scores(dst, inputs []float32, n int) error {
	const op = "score with probe"
	return p.use(op, func(m *C.ri_model) error {
		if err := checkLength(op, "inputs", len(inputs), n, p.params.In); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), n, p.params.Classes); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_probe_scores(m, data[C.float](inputs), C.size_t(n), data[C.float](dst), e)
		})
	})
}
