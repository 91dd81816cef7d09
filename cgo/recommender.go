package cgo

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
	"runtime"
	"unsafe"
)

// Layout says whose weights a recommender is laid out for: the names of its tensors and what differs in its formulas.
type Layout int32

// The layouts.
const (
	Authors         Layout = C.RI_LAYOUT_AUTHORS           // of RecInterpreter
	RecBole         Layout = C.RI_LAYOUT_RECBOLE           // RecBole 1.2
	Pmixer          Layout = C.RI_LAYOUT_PMIXER            // SASRec.pytorch, normalised behind each residual: SASRec only
	PmixerNormFirst Layout = C.RI_LAYOUT_PMIXER_NORM_FIRST // its --norm_first: SASRec only
	PmixerOriginal  Layout = C.RI_LAYOUT_PMIXER_ORIGINAL   // before it had that: SASRec only
)

// Recommender gives a state after each item of a history, and scores all items by states.
type Recommender struct {
	Model
	info      RecommenderInfo
	generates bool
}

// SASRecParams sizes a SASRec (Kang and McAuley 2018, arXiv 1808.09781).
type SASRecParams struct {
	Layout    Layout
	Items     int // V; ids 0..V-1, V is padding
	Width     int // D
	Positions int // T
	Blocks    int // attention blocks
	Heads     int // heads of each block
	Inner     int // units of the feed-forward layers
}

func (p SASRecParams) native(op string) (C.ri_sasrec_params, error) {
	err := checkInt32(op, p.Items, p.Width, p.Positions, p.Blocks, p.Heads, p.Inner)
	return C.ri_sasrec_params{
		layout: C.ri_layout(p.Layout), n_items: C.int32_t(p.Items), width: C.int32_t(p.Width),
		n_positions: C.int32_t(p.Positions), n_blocks: C.int32_t(p.Blocks), n_heads: C.int32_t(p.Heads),
		n_inner: C.int32_t(p.Inner),
	}, err
}

// GRU4RecParams sizes a GRU4Rec (Hidasi et al. 2016, arXiv 1511.06939).
type GRU4RecParams struct {
	Layout    Layout // Authors or RecBole
	Items     int    // V; ids 0..V-1, V is padding
	Width     int    // D of the item embeddings
	Positions int    // T
	Hidden    int    // units of the GRU
	Layers    int
	Biases    bool // RecBole: the GRU has biases, which RecBole's own code leaves out; the authors' always has
}

// CaserParams sizes a Caser (Tang and Wang 2018, arXiv 1809.07426).
type CaserParams struct {
	Layout     Layout // Authors or RecBole
	Items      int    // V; ids 0..V-1, V is padding
	Width      int    // D of the item embeddings
	Positions  int    // T
	Heights    []int  // of the horizontal filters, at most 16, each 1..T
	Horizontal int    // filters of each height
	Vertical   int    // vertical filters
}

// NewSASRec makes a recommender of zeros. Its tensors have the names of the layout.
func NewSASRec(engine *Engine, params SASRecParams) (*Recommender, error) {
	const op = "make sasrec"
	p, err := params.native(op)
	if err != nil {
		return nil, err
	}
	return newRecommender(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_sasrec_create(e, &p, m, err)
	})
}

// NewGRU4Rec makes a recommender of zeros. Its tensors have the names of the layout.
func NewGRU4Rec(engine *Engine, params GRU4RecParams) (*Recommender, error) {
	const op = "make gru4rec"
	err := checkInt32(op, params.Items, params.Width, params.Positions, params.Hidden, params.Layers)
	if err != nil {
		return nil, err
	}
	p := C.ri_gru4rec_params{
		layout: C.ri_layout(params.Layout), n_items: C.int32_t(params.Items), width: C.int32_t(params.Width),
		n_positions: C.int32_t(params.Positions), n_hidden: C.int32_t(params.Hidden), n_layers: C.int32_t(params.Layers),
		biases: flag(params.Biases),
	}
	return newRecommender(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_gru4rec_create(e, &p, m, err)
	})
}

// NewCaser makes a recommender of zeros. Its tensors have the names of the layout.
func NewCaser(engine *Engine, params CaserParams) (*Recommender, error) {
	const op = "make caser"
	numbers := append([]int{params.Items, params.Width, params.Positions, params.Horizontal, params.Vertical}, params.Heights...)
	if err := checkInt32(op, numbers...); err != nil {
		return nil, err
	}
	p := C.ri_caser_params{
		layout: C.ri_layout(params.Layout), n_items: C.int32_t(params.Items), width: C.int32_t(params.Width),
		n_positions: C.int32_t(params.Positions), n_heights: C.int32_t(len(params.Heights)),
		n_horizontal: C.int32_t(params.Horizontal), n_vertical: C.int32_t(params.Vertical),
	}
	if len(params.Heights) > len(p.heights) {
		return nil, invalid(op, "%d heights, at most %d", len(params.Heights), len(p.heights))
	}
	for i, height := range params.Heights {
		p.heights[i] = C.int32_t(height)
	}
	return newRecommender(op, engine, func(e *C.ri_engine, m **C.ri_model, err *C.ri_error) C.ri_status {
		return C.ri_caser_create(e, &p, m, err)
	})
}

func newRecommender(op string, engine *Engine,
	create func(*C.ri_engine, **C.ri_model, *C.ri_error) C.ri_status) (*Recommender, error) {
	r := &Recommender{}
	if err := r.create(op, engine, create); err != nil {
		return nil, err
	}
	var info C.ri_recommender_info
	err := r.use(op, func(p *C.ri_model) error {
		return try(op, func(err *C.ri_error) C.ri_status { return C.ri_recommender_describe(p, &info, err) })
	})
	if err != nil {
		r.Close()
		return nil, err
	}
	r.info = RecommenderInfo{
		Items: int(info.n_items), Width: int(info.width), StateWidth: int(info.state_width), Positions: int(info.n_positions),
	}
	return r, nil
}

// RecommenderInfo sizes what goes into a recommender and comes out of it.
type RecommenderInfo struct {
	Items      int // V
	Width      int // D: of a vector that stands for an item
	StateWidth int // W: of a state
	Positions  int // T
}

// Diffusion is the recommender as one that generates oracles; nil if it does not.
func (r *Recommender) Diffusion() *Diffusion {
	if !r.generates {
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
}

// check compares the histories with the recommender.
func (h Histories) check(op string, r *Recommender) error {
	if err := checkLength(op, "Items", len(h.Items), len(h.Lengths), r.info.Positions); err != nil {
		return err
	}
	return checkLength(op, "Vectors", len(h.Vectors), len(h.Vectors)/r.info.Width, r.info.Width)
}

// native is the C form, whose memory is pinned.
func (h Histories) native(pin *runtime.Pinner, r *Recommender) C.ri_histories {
	pinned(pin, h.Items)
	pinned(pin, h.Lengths)
	pinned(pin, h.Vectors)
	return C.ri_histories{
		n_sequences: C.size_t(len(h.Lengths)), items: data[C.int32_t](h.Items), lengths: data[C.int32_t](h.Lengths),
		vectors: data[C.float](h.Vectors), n_vectors: C.size_t(len(h.Vectors) / r.info.Width),
	}
}

// pinned keeps a slice in its place while C knows where it is. A slice without elements has no place.
func pinned[T any](pin *runtime.Pinner, s []T) {
	if len(s) > 0 {
		pin.Pin(unsafe.SliceData(s))
	}
}

// encode runs a function that gives numbers of that shape. It is the way of every request to a service, and allocates nothing.
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

// States writes the state after the last item of each history, dst [B, W]; with allPositions the state after each item,
// dst [B, T, W], zero at padding. Of DreamRec the guidance.
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

// Scores writes the scores of all items after the last item of each history, dst [B, V]. ErrUnsupported for DreamRec,
// which scores oracles.
func (r *Recommender) Scores(dst []float32, h Histories) error {
	return r.encode("score items", dst, h, func(p *C.ri_model, h C.ri_histories, dst *C.float, err *C.ri_error) C.ri_status {
		return C.ri_recommender_scores(p, &h, dst, err)
	}, len(h.Lengths), r.info.Items)
}

// ScoreStates writes the scores of all items from states [n, W], or from DreamRec's oracles [n, D]: dst [n, V].
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

// RecommenderBatch is what one step learns from.
type RecommenderBatch struct {
	Histories
	Targets   []int32 // [B, T]: the item to predict at each position, or -1
	Negatives []int32 // [B, T, n]: items that did not follow, read at targets only; nil: the full softmax
	Dropout   float32 // probability, at least 0 and below 1
	Seed      uint64  // of this batch's dropout masks
}

// Backward adds a gradient to the model's and gives the loss: over the targets, the mean of the full-softmax
// cross-entropy, or with negatives of -log σ(score of the target) - Σ log(1 - σ(score of a negative)). ErrUnsupported for
// DreamRec, which learns to denoise.
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
		var pin runtime.Pinner
		defer pin.Unpin()
		pinned(&pin, b.Targets)
		pinned(&pin, b.Negatives)
		batch := C.ri_recommender_batch{
			histories: b.native(&pin, r), targets: data[C.int32_t](b.Targets), negatives: data[C.int32_t](b.Negatives),
			n_negatives: C.size_t(negatives), dropout: C.float(b.Dropout), seed: C.uint64_t(b.Seed),
		}
		return try(op, func(e *C.ri_error) C.ri_status {
			return C.ri_recommender_backward(p, &batch, (*C.double)(&loss), e)
		})
	})
	return loss, err
}
