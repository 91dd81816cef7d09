package cgo

// #include "recint.h"
// #cgo nocallback ri_recommender_states
// #cgo noescape ri_recommender_states
// #cgo nocallback ri_recommender_scores
// #cgo noescape ri_recommender_scores
// #cgo nocallback ri_recommender_backward
// #cgo noescape ri_recommender_backward
import "C"

import (
	"runtime"
	"unsafe"
)

// SASRecParams sizes a SASRec (Kang and McAuley 2018, arXiv 1808.09781).
type SASRecParams struct {
	Items     int // V; ids 0..V-1, V is padding
	Width     int // D
	Positions int // T
	Blocks    int // attention blocks
	Heads     int // heads of each block
}

// NewSASRec makes a recommender of zeros. Its tensors have the names of the authors' published weights.
func NewSASRec(engine *Engine, params SASRecParams) (*Model, error) {
	const op = "make sasrec"
	if engine == nil {
		return nil, closed(op)
	}
	err := checkInt32(op, params.Items, params.Width, params.Positions, params.Blocks, params.Heads)
	if err != nil {
		return nil, err
	}
	p := C.ri_sasrec_params{
		n_items: C.int32_t(params.Items), width: C.int32_t(params.Width), n_positions: C.int32_t(params.Positions),
		n_blocks: C.int32_t(params.Blocks), n_heads: C.int32_t(params.Heads),
	}
	var native *C.ri_model
	err = engine.use(op, func(e *C.ri_engine) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_sasrec_create(e, &p, &native, err) })
	})
	if err != nil {
		return nil, err
	}
	return (&Model{recommender: params}).adopt(native)
}

// Histories are B sequences of items, oldest first.
type Histories struct {
	Items   []int32 // [B, T]: ids, right-padded with V
	Lengths []int32 // [B]: 1..T
}

// check holds the histories against the model.
func (h Histories) check(op string, m *Model) error {
	if m.recommender.Items == 0 {
		return invalid(op, "the model is not a recommender")
	}
	return checkLength(op, "Items", len(h.Items), len(h.Lengths), m.recommender.Positions)
}

// native is the C form, whose memory is pinned.
func (h Histories) native(pin *runtime.Pinner) C.ri_histories {
	pin.Pin(unsafe.SliceData(h.Items))
	pin.Pin(unsafe.SliceData(h.Lengths))
	return C.ri_histories{
		n_sequences: C.size_t(len(h.Lengths)), items: data[C.int32_t](h.Items), lengths: data[C.int32_t](h.Lengths),
	}
}

// encode runs a function that gives numbers of that shape for each history.
func (m *Model) encode(op string, dst []float32, h Histories, shape []int,
	call func(p *C.ri_model, h *C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status) error {
	return m.use(op, func(p *C.ri_model) error {
		if err := h.check(op, m); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), append([]int{len(h.Lengths)}, shape...)...); err != nil {
			return err
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		histories := h.native(&pin)
		return try(op, func(e *C.ri_error) C.ri_status { return call(p, &histories, data[C.float](dst), e) })
	})
}

// States writes the state after the last item of each history, dst [B, D]; with allPositions the state after each item,
// dst [B, T, D], zero at padding.
func (m *Model) States(dst []float32, h Histories, allPositions bool) error {
	shape := []int{m.recommender.Width}
	if allPositions {
		shape = []int{m.recommender.Positions, m.recommender.Width}
	}
	return m.encode("encode histories", dst, h, shape,
		func(p *C.ri_model, h *C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
			return C.ri_recommender_states(p, h, flag(allPositions), dst, err)
		})
}

// Scores writes the scores of all items after the last item of each history, dst [B, V].
func (m *Model) Scores(dst []float32, h Histories) error {
	return m.encode("score items", dst, h, []int{m.recommender.Items},
		func(p *C.ri_model, h *C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
			return C.ri_recommender_scores(p, h, dst, err)
		})
}

// RecommenderBatch is what one step learns from.
type RecommenderBatch struct {
	Histories
	Targets []int32 // [B, T]: the item to predict at each position, or -1
	Dropout float32 // probability, at least 0 and below 1
	Seed    uint64  // of this batch's dropout masks
}

// RecommenderBackward adds the gradient of the mean full-softmax cross-entropy over the targets to the model's, and
// gives that mean.
func (m *Model) RecommenderBackward(b RecommenderBatch) (loss float64, err error) {
	const op = "train recommender"
	err = m.use(op, func(p *C.ri_model) error {
		if err := b.check(op, m); err != nil {
			return err
		}
		if err := checkLength(op, "Targets", len(b.Targets), len(b.Lengths), m.recommender.Positions); err != nil {
			return err
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		pin.Pin(unsafe.SliceData(b.Targets))
		batch := C.ri_recommender_batch{
			histories: b.native(&pin), targets: data[C.int32_t](b.Targets), dropout: C.float(b.Dropout),
			seed: C.uint64_t(b.Seed),
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_recommender_backward(p, &batch, (*C.double)(&loss), e)
		})
	})
	return loss, err
}
