package cgo

// #include <stdlib.h>
// #include "recint.h"
// #cgo nocallback ri_recommender_states
// #cgo noescape ri_recommender_states
// #cgo nocallback ri_recommender_scores
// #cgo noescape ri_recommender_scores
// #cgo nocallback ri_recommender_score_states
// #cgo noescape ri_recommender_score_states
// #cgo nocallback ri_recommender_backward
// #cgo noescape ri_recommender_backward
import "C"

import (
	"maps"
	"runtime"
	"slices"
	"unsafe"
)

// Recommender gives a state after each item of a history, and scores all items by states.
type Recommender struct {
	Model
	info RecommenderInfo
}

// RecommenderParams name a recommender's model, layout and settings; native/src/recommenders lists
// them.
type RecommenderParams struct {
	Model    string
	Layout   string               // "": the model's own
	Settings map[string][]float64 // by name
}

// NewRecommender makes a recommender of zeros. Its tensors have the names of the layout.
func NewRecommender(engine *Engine, params RecommenderParams) (*Recommender, error) {
	op := "make " + params.Model
	var pin runtime.Pinner
	defer pin.Unpin()
	var texts []*C.char
	defer func() {
		for _, text := range texts {
			C.free(unsafe.Pointer(text))
		}
	}()
	text := func(s string) *C.char {
		texts = append(texts, C.CString(s))
		return texts[len(texts)-1]
	}
	settings := make([]C.ri_setting, 0, len(params.Settings))
	for _, name := range slices.Sorted(maps.Keys(params.Settings)) {
		values := params.Settings[name]
		pinned(&pin, values)
		settings = append(settings, C.ri_setting{
			name: text(name), n_values: C.size_t(len(values)), values: data[C.double](values),
		})
	}
	r := &Recommender{}
	err := r.create(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_recommender_create(e, text(params.Model), text(params.Layout), unsafe.SliceData(settings),
			C.size_t(len(settings)), m, err)
	})
	if err != nil {
		return nil, err
	}
	var info C.ri_recommender_info
	err = r.use(op, func(p *C.ri_model) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_recommender_describe(p, &info, err) })
	})
	if err != nil {
		r.Close()
		return nil, err
	}
	r.info = RecommenderInfo{
		Items: int(info.n_items), Width: int(info.width), StateWidth: int(info.state_width), Positions: int(info.n_positions),
		Generates: info.generates != 0,
	}
	return r, nil
}

// RecommenderInfo sizes what goes into a recommender and comes out of it.
type RecommenderInfo struct {
	Items      int // V
	Width      int // D: of a vector that stands for an item
	StateWidth int // W: of a state
	Positions  int // T
	Generates  bool
}

// Diffusion is the recommender as one that generates oracles; nil if it does not.
func (r *Recommender) Diffusion() *Diffusion {
	if !r.info.Generates {
		return nil
	}
	return &Diffusion{r}
}

// Info tells the sizes of the recommender.
func (r *Recommender) Info() RecommenderInfo { return r.info }

// Histories are B sequences of items, oldest first.
type Histories struct {
	Items   []int32   // [B, T]: ids, right-padded with V; or -1-j for row j of Vectors
	Lengths []int32   // [B]: 1..T
	Vectors []float32 // [n, D], or nil: each row stands for an item; not in training
	Times   []int64   // [B, T]: of the items, in any unit; nil unless the recommender reads times
}

// check compares the histories with the recommender.
func (h Histories) check(op string, r *Recommender) error {
	if err := checkLength(op, "Items", len(h.Items), len(h.Lengths), r.info.Positions); err != nil {
		return err
	}
	if h.Times != nil && len(h.Times) != len(h.Items) {
		return checkLength(op, "Times", len(h.Times), len(h.Lengths), r.info.Positions)
	}
	return checkLength(op, "Vectors", len(h.Vectors), len(h.Vectors)/r.info.Width, r.info.Width)
}

// native is the C form, whose memory is pinned.
func (h Histories) native(pin *runtime.Pinner, r *Recommender) C.ri_histories {
	pinned(pin, h.Items)
	pinned(pin, h.Lengths)
	pinned(pin, h.Vectors)
	pinned(pin, h.Times)
	return C.ri_histories{
		n_sequences: C.size_t(len(h.Lengths)), items: data[C.int32_t](h.Items), lengths: data[C.int32_t](h.Lengths),
		vectors: data[C.float](h.Vectors), n_vectors: C.size_t(len(h.Vectors) / r.info.Width), times: data[C.int64_t](h.Times),
	}
}

// pinned keeps a slice in its place while C knows where it is. A slice without elements has no
// place.
func pinned[T any](pin *runtime.Pinner, s []T) {
	if len(s) > 0 {
		pin.Pin(unsafe.SliceData(s))
	}
}

// encode runs a function that gives numbers of that shape. It is the way of every request to a
// service, and allocates nothing.
func (r *Recommender) encode(op string, dst []float32, h Histories,
	call func(p *C.ri_model, h C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status, shape ...int) error {
	return r.use(op, func(p *C.ri_model) error {
		if err := h.check(op, r); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), shape...); err != nil {
			return err
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		histories := h.native(&pin, r)
		return try(op, func(e *C.ri_error) C.ri_status { return call(p, histories, data[C.float](dst), e) })
	})
}

// States writes the state after the last item of each history, dst [B, W]; with allPositions the
// state after each item, dst [B, T, W], zero at padding. Where the recommender generates, states
// guide it.
func (r *Recommender) States(dst []float32, h Histories, allPositions bool) error {
	const op = "encode histories"
	if allPositions {
		return r.encode(op, dst, h, func(p *C.ri_model, h C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
			return C.ri_recommender_states(p, &h, 1, dst, err)
		}, len(h.Lengths), r.info.Positions, r.info.StateWidth)
	}
	return r.encode(op, dst, h, func(p *C.ri_model, h C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
		return C.ri_recommender_states(p, &h, 0, dst, err)
	}, len(h.Lengths), r.info.StateWidth)
}

// Scores writes the scores of all items after the last item of each history, dst [B, V].
// ErrUnsupported if the recommender generates: it scores oracles.
func (r *Recommender) Scores(dst []float32, h Histories) error {
	return r.encode("score items", dst, h, func(p *C.ri_model, h C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
		return C.ri_recommender_scores(p, &h, dst, err)
	}, len(h.Lengths), r.info.Items)
}

// ScoreStates writes the scores of all items from states [n, W], or from oracles [n, D]: dst [n,
// V].
func (r *Recommender) ScoreStates(dst, states []float32, n int) error {
	const op = "score items"
	return r.use(op, func(p *C.ri_model) error {
		if err := checkLength(op, "states", len(states), n, r.info.StateWidth); err != nil {
			return err
		}
		if err := checkLength(op, "dst", len(dst), n, r.info.Items); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_recommender_score_states(p, data[C.float](states), C.size_t(n), data[C.float](dst), e)
		})
	})
}

// Rank writes the rank of items[i] among all items by their scores from states[i] [n, W]: 1 + the
// number of items that score higher + half the number of others that score the same. Scores are
// computed block by block, never all at once.
func (r *Recommender) Rank(ranks []float64, states []float32, items []int32) error {
	const op = "rank items"
	return r.use(op, func(p *C.ri_model) error {
		if err := checkLength(op, "states", len(states), len(items), r.info.StateWidth); err != nil {
			return err
		}
		if err := checkLength(op, "ranks", len(ranks), len(items), 1); err != nil {
			return err
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_recommender_rank(p, data[C.float](states), C.size_t(len(items)), data[C.int32_t](items), data[C.double](ranks), e)
		})
	})
}

// RecommenderBatch is what one step learns from.
type RecommenderBatch struct {
	Histories
	Targets   []int32 // [B, T]: the item to predict at each position, or -1
	Negatives []int32 // [B, T, n]: items that did not follow, read at targets only; nil: the full softmax
	Dropout   float32 // probability, at least 0 and below 1
	Seed      uint64  // of this batch's dropout masks

	// A sampled softmax, in place of negatives: items that every target is compared with, and what
	// is added to the score of each, minus the logarithm of how often it is expected among so many
	// draws.
	Shared        []int32
	SharedOffsets []float32

	TargetDiscount float32 // with negatives: by how much less than a negative a target counts, 0 to 1
}

// Backward adds a gradient to the model's and gives the loss: over the targets, the mean of the
// full-softmax cross-entropy; or with negatives of -(1 - TargetDiscount) log σ(score of the target)
// - Σ log(1 - σ(score of a negative)); or with shared items of the cross-entropy over the target
// and those of them that are not the target. ErrUnsupported if the recommender generates: it learns
// to denoise.
func (r *Recommender) Backward(b RecommenderBatch) (loss float64, err error) {
	const op = "train recommender"
	err = r.use(op, func(p *C.ri_model) error {
		if err := b.check(op, r); err != nil {
			return err
		}
		if err := checkLength(op, "Targets", len(b.Targets), len(b.Lengths), r.info.Positions); err != nil {
			return err
		}
		negatives := len(b.Negatives) / max(len(b.Targets), 1)
		if err := checkLength(op, "Negatives", len(b.Negatives), len(b.Targets), negatives); err != nil {
			return err
		}
		if err := checkLength(op, "SharedOffsets", len(b.SharedOffsets), len(b.Shared), 1); err != nil {
			return err
		}
		var pin runtime.Pinner
		defer pin.Unpin()
		pinned(&pin, b.Targets)
		pinned(&pin, b.Negatives)
		pinned(&pin, b.Shared)
		pinned(&pin, b.SharedOffsets)
		batch := C.ri_recommender_batch{
			histories: b.native(&pin, r), targets: data[C.int32_t](b.Targets), negatives: data[C.int32_t](b.Negatives),
			n_negatives: C.size_t(negatives), dropout: C.float(b.Dropout), seed: C.uint64_t(b.Seed),
			shared: data[C.int32_t](b.Shared), shared_offsets: data[C.float](b.SharedOffsets), n_shared: C.size_t(len(b.Shared)),
			target_discount: C.float(b.TargetDiscount),
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_recommender_backward(p, &batch, (*C.double)(&loss), e)
		})
	})
	return loss, err
}
