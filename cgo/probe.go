package cgo

// #include "recint.h"
// #cgo nocallback ri_probe_backward
// #cgo noescape ri_probe_backward
// #cgo nocallback ri_probe_scores
// #cgo noescape ri_probe_scores
import "C"

// ProbeParams sizes a probe, a classifier of vectors.
type ProbeParams struct {
	In      int // numbers in an input
	Hidden  int // units of the hidden layer (GELU); 0: none, the probe is linear
	Classes int // C
}

// NewProbe makes a probe of zeros. Its tensors are weight [C, In], bias [C]; with a hidden layer w1 [Hidden, In],
// b1 [Hidden], w2 [C, Hidden], b2 [C].
func NewProbe(engine *Engine, params ProbeParams) (*Model, error) {
	const op = "make probe"
	if engine == nil {
		return nil, closed(op)
	}
	if err := checkInt32(op, params.In, params.Hidden, params.Classes); err != nil {
		return nil, err
	}
	p := C.ri_probe_params{n_in: C.int32_t(params.In), n_hidden: C.int32_t(params.Hidden), n_classes: C.int32_t(params.Classes)}
	var native *C.ri_model
	err := engine.use(op, func(e *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_probe_create(e, &p, &native, err) })
	})
	if err != nil {
		return nil, err
	}
	return (&Model{probe: params}).adopt(native)
}

// checkProbe refuses another model, and inputs that are not n vectors.
func (m *Model) checkProbe(op string, inputs []float32, n int) error {
	if m.probe.In == 0 {
		return invalid(op, "the model is not a probe")
	}
	return checkLength(op, "inputs", len(inputs), n, m.probe.In)
}

// ProbeBackward adds to the probe's gradient that of the mean full-softmax cross-entropy of targets [n, each], classes of
// 0..C-1, given inputs [n, In], and gives that mean, in nats. -1 behind an input's first target is no target. ErrNumeric: an
// input holds NaN or infinity.
func (m *Model) ProbeBackward(inputs []float32, targets []int32, n int) (loss float64, err error) {
	const op = "train probe"
	err = m.use(op, func(p *C.ri_model) error {
		if err := m.checkProbe(op, inputs, n); err != nil {
			return err
		}
		each := len(targets) / max(1, n)
		if err := checkLength(op, "targets", len(targets), n, each); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_probe_backward(p, data[C.float](inputs), data[C.int32_t](targets), C.size_t(each),
				C.size_t(n), (*C.double)(&loss), e)
		})
	})
	return loss, err
}

// ProbeScores writes the scores of all classes, before the softmax, from inputs [n, In] to dst [n, C]. ErrNumeric: an
// input holds NaN or infinity.
func (m *Model) ProbeScores(dst, inputs []float32, n int) error {
	const op = "score with probe"
	return m.use(op, func(p *C.ri_model) error {
		if err := m.checkProbe(op, inputs, n); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), n, m.probe.Classes); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_probe_scores(p, data[C.float](inputs), C.size_t(n), data[C.float](dst), e)
		})
	})
}
