package cgo

// #include "recint.h"
// #cgo nocallback ri_adapter_forward
// #cgo noescape ri_adapter_forward
// #cgo nocallback ri_adapter_regress
// #cgo noescape ri_adapter_regress
// #cgo nocallback ri_adapter_classify
// #cgo noescape ri_adapter_classify
import "C"

import (
	"errors"
	"runtime"
	"unsafe"
)

// AdapterParams are the kind and the sizes of an adapter. A kind takes Hidden, Mixed, Entries and
// LookUps or not; those that it does not take are 0.
type AdapterParams struct {
	Kind    string  // a name of native/src/adapters/registry.cpp
	In      int     // width of an input: a state, or with Mixed the states of all positions side by side
	Hidden  int     // units of the hidden layer
	Mixed   int     // positions whose states are mixed; In is a multiple
	Entries int     // entries that are looked up, one for each item
	LookUps int     // entries whose soft tokens an input gets one after the other
	Tokens  int     // K, soft tokens for each input; with LookUps a multiple of it
	Embd    int     // E
	RMS     float64 // root mean square of the soft tokens that first values give, which TensorInfo.Scale follows; 0: 1
}

// native gives the C struct; the pinner keeps its name in place.
func (p AdapterParams) native(op string, pin *runtime.Pinner) (C.ri_adapter_params, error) {
	n := C.ri_adapter_params_default()
	if err := checkInt32(op, p.In, p.Hidden, p.Mixed, p.Entries, p.LookUps, p.Tokens, p.Embd); err != nil {
		return n, err
	}
	kind, err := cString(op, "Kind", p.Kind)
	if err != nil {
		return n, err
	}
	pin.Pin(kind)
	n.kind = (*C.char)(unsafe.Pointer(kind))
	n.n_in, n.n_hidden, n.n_mixed = C.int32_t(p.In), C.int32_t(p.Hidden), C.int32_t(p.Mixed)
	n.n_entries, n.n_lookups = C.int32_t(p.Entries), C.int32_t(p.LookUps)
	n.n_tokens, n.n_embd = C.int32_t(p.Tokens), C.int32_t(p.Embd)
	if p.RMS != 0 {
		n.rms = C.double(p.RMS)
	}
	return n, nil
}

// AdapterLayout gives the tensors of an adapter, in their order, without making it. ErrInvalid: the
// sizes make no adapter.
func AdapterLayout(params AdapterParams) ([]TensorInfo, error) {
	const op = "lay out adapter"
	var pin runtime.Pinner
	defer pin.Unpin()
	p, err := params.native(op, &pin)
	if err != nil {
		return nil, err
	}
	infos := make([]C.ri_tensor_info, 16)
	var n C.size_t
	err = try(op, func(err *C.ri_error) C.ri_status {
		return C.ri_adapter_layout(&p, unsafe.SliceData(infos), C.size_t(len(infos)), &n, err)
	})
	if err != nil {
		return nil, err
	}
	if int(n) > len(infos) {
		return nil, invalid(op, "an adapter has %d tensors; at most %d are read", n, len(infos))
	}
	layout := make([]TensorInfo, n)
	for i := range layout {
		layout[i] = tensorInfo(&infos[i])
	}
	return layout, nil
}

// Adapter turns states into soft tokens.
type Adapter struct {
	Model
	params AdapterParams
}

// NewAdapter makes an adapter of zeros.
func NewAdapter(engine *Engine, params AdapterParams) (*Adapter, error) {
	const op = "make adapter"
	var pin runtime.Pinner
	defer pin.Unpin()
	p, err := params.native(op, &pin)
	if err != nil {
		return nil, err
	}
	a := &Adapter{params: params}
	err = a.create(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_adapter_create(e, &p, m, err)
	})
	if err != nil {
		return nil, err
	}
	return a, nil
}

// check refuses slices that do not hold n states and their soft tokens.
func (a *Adapter) check(op string, states []float32, tokensName string, tokens []float32, n int) error {
	if err := checkLength(op, "states", len(states), n, a.params.In); err != nil {
		return err
	}
	return checkLength(op, tokensName, len(tokens), n, a.params.Tokens, a.params.Embd)
}

// SoftTokens writes the soft tokens of states [n, In] to dst [n, K, E]. ErrNumeric: a state holds
// NaN or infinity.
func (a *Adapter) SoftTokens(dst, states []float32, n int) error {
	const op = "make soft tokens"
	return a.use(op, func(p *C.ri_model) error {
		if err := a.check(op, states, "dst", dst, n); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_adapter_forward(p, data[C.float](states), C.size_t(n), data[C.float](dst), e)
		})
	})
}

// Regress adds the gradient of the mean squared error between the soft tokens of states [n, In] and
// targets [n, K, E] to the adapter's, and gives that error.
func (a *Adapter) Regress(states, targets []float32, n int) (loss float64, err error) {
	const op = "regress adapter"
	err = a.use(op, func(p *C.ri_model) error {
		if err := a.check(op, states, "targets", targets, n); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_adapter_regress(p, data[C.float](states), data[C.float](targets), C.size_t(n),
				(*C.double)(&loss), e)
		})
	})
	return loss, err
}

// Classify adds the gradient of the mean cross-entropy of soft tokens over words to the adapter's,
// and gives that mean: scores are the products of the soft tokens of states [n, In] with all words
// [V, E], and targets [n, K] are numbers of words.
func (a *Adapter) Classify(states, words []float32, targets []int32, n int) (loss float64, err error) {
	const op = "classify by adapter"
	err = a.use(op, func(p *C.ri_model) error {
		count := len(words) / a.params.Embd
		if err := errors.Join(checkLength(op, "states", len(states), n, a.params.In), checkLength(op, "words", len(words), count, a.params.Embd),
			checkLength(op, "targets", len(targets), n, a.params.Tokens)); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_adapter_classify(p, data[C.float](states), data[C.float](words), C.size_t(count), data[C.int32_t](targets),
				C.size_t(n), (*C.double)(&loss), e)
		})
	})
	return loss, err
}
